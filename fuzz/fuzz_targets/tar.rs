#![no_main]

use std::{io, sync::Arc};

use ocicore::SizeLimits;
use repack::{Cx, layer};

// Whatever the bytes are: a tree or an error; and what becomes a layer is read back the same.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for tar in [bytes.to_vec(), gantry_fuzz::with_checksums(bytes)] {
        let Ok(tree) = gantry_fuzz::index_tar(tar) else {
            continue;
        };
        let _ = tree.listing().to_string();
        let (cx, options) = (Cx::default(), layer::Options::default());
        let mut out = Vec::new();
        // Links to nowhere are refused only now.
        let Ok(written) = layer::write(&cx, &tree, &options, &mut out) else {
            continue;
        };
        let source = Arc::new(bytes::Bytes::from(out));
        let back = repack::tar::index(&cx, source, &SizeLimits::default())
            .expect("our own layers are read");
        let again = layer::write(&cx, &back, &options, &mut io::sink()).expect("and written");
        assert_eq!(again.diff_id, written.diff_id);
    }
});
