//! Layers that must be what their manifest and config say.

use std::{fs, sync::Arc};

use ocicore::{Descriptor, Digest, MediaType, SizeLimits};
use repack::{
    Cx, Error,
    layer::{self, Declared},
};

use crate::{
    sinks::sinks,
    support::{
        chain, index_zip, path, text, write,
        zip::{Member, build},
    },
};

#[test]
fn only_the_declared_layer_is_indexed() {
    let tree = index_zip(build(&[Member::deflated("a", &text(90_000, 7))])).unwrap();
    let (cx, limits) = (Cx::default(), SizeLimits::default());
    let wrong = Digest::of(b"another");
    for (name, _, options) in sinks() {
        let (layer, written) = write(&tree, &options).unwrap();
        let right = Declared::by(&written.descriptor());
        let index = |declared: &Declared| {
            let source = Arc::new(bytes::Bytes::from(layer.clone()));
            layer::index(&cx, source, declared, &limits)
        };
        for declared in [&right, &right.clone().with_diff_id(written.diff_id)] {
            let tree = index(declared).unwrap();
            assert!(tree.contains(&path("a")), "{name}");
        }
        let error = index(&right.clone().with_diff_id(wrong)).unwrap_err();
        assert!(
            matches!(&error, Error::Digest { what: "diff_id", expected, actual }
            if (**expected, **actual) == (wrong, written.diff_id)),
            "{name}: {error}"
        );
        let media_type = written.media_type.clone();
        let declare =
            |digest, size| Declared::by(&Descriptor::new(media_type.clone(), digest, size));
        let error = index(&declare(wrong, written.size)).unwrap_err();
        assert!(
            matches!(&error, Error::Digest { what: "digest", expected, actual }
            if (**expected, **actual) == (wrong, written.digest)),
            "{name}: {error}"
        );
        for size in [written.size - 1, written.size + 1] {
            let error = index(&declare(written.digest, size)).unwrap_err();
            assert!(matches!(error, Error::Size { .. }), "{name}: {error}");
        }
    }
    // Whatever else is wrong with it, that it is another says more.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layer");
    fs::write(&file, "no layer").unwrap();
    let declared = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b"layer"), 8);
    let error = layer::open(&cx, &file, &Declared::by(&declared), &limits).unwrap_err();
    insta::assert_snapshot!(chain(&error), @"digest of the layer is `sha256:05e8661ee12457d03e7baf0e0d0b3dc118de5f3d4eb06432b0f2a10b9dfd22a6`, declared is `sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85`");
    let cut = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b"layer"), 9);
    let error = layer::open(&cx, &file, &Declared::by(&cut), &limits).unwrap_err();
    insta::assert_snapshot!(chain(&error), @"size of the layer is 8 bytes, declared is 9");
}
