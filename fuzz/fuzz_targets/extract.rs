#![no_main]

use std::{fs, sync::Arc};

use ocicore::SizeLimits;
use repack::{
    Cx,
    extract::{Durability, Options, extract},
    tar,
};

// Whatever the archive says: all of it is below the directory, or nothing is there.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = SizeLimits::default()
        .with_entries(100)
        .with_unpacked(1 << 20);
    let cx = Cx::default();
    let source = Arc::new(bytes::Bytes::copy_from_slice(bytes));
    let Ok(tree) = tar::index(&cx, source, &limits) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("root");
    let options = Options::default().with_durability(Durability::None);
    let left = match extract(&cx, &tree, &options, &to) {
        Ok(()) => 1,
        Err(_) => 0,
    };
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), left);
});
