#![no_main]

use std::{io, sync::Arc};

use ocicore::SizeLimits;
use repack::{Cx, layer, zip};

// Whatever the bytes are: a tree or an error; and what becomes a layer is read back the same.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = SizeLimits::default()
        .with_entries(1000)
        .with_unpacked(8 << 20);
    let (cx, options) = (Cx::default(), layer::Options::default());
    let source = Arc::new(bytes::Bytes::copy_from_slice(bytes));
    let Ok(tree) = zip::index(&cx, source, &limits) else {
        return;
    };
    let mut out = Vec::new();
    let Ok(written) = layer::write(&cx, &tree, &options, &mut out) else {
        return;
    };
    let limits = SizeLimits::default();
    let back = repack::tar::index(&cx, Arc::new(bytes::Bytes::from(out)), &limits)
        .expect("our own layers are read");
    let again = layer::write(&cx, &back, &options, &mut io::sink()).expect("and written");
    assert_eq!(again.diff_id, written.diff_id);
});
