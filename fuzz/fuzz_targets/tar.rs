#![no_main]

use std::{io, sync::Arc};

use ocicore::SizeLimits;
use repack::{Cx, layer, tar};

// Whatever the bytes are: a tree or an error; and what is read is written.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = SizeLimits::default()
        .with_entries(1000)
        .with_unpacked(8 << 20);
    let cx = Cx::default();
    let source = Arc::new(bytes::Bytes::copy_from_slice(bytes));
    if let Ok(tree) = tar::index(&cx, source, &limits) {
        // Links to nowhere are refused only now.
        let _ = layer::write(&cx, &tree, &layer::Options::default(), &mut io::sink());
        let _ = tree.listing().to_string();
    }
});
