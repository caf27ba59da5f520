#![no_main]

use std::{io::Read, sync::Arc};

use flate2::read::MultiGzDecoder;
use ocicore::Digest;
use repack::{Content, Cx, Entry, Tree, layer};

// A deflate stream with whatever is behind it: what is spliced is a gzip that others read alike.
libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, u32, u16)| {
    let (stream, crc, size) = input;
    let content = Content::deflated(
        Arc::new(bytes::Bytes::from(stream.clone())),
        0,
        stream.len() as u64,
        // More than what is grouped with its neighbors.
        u64::from(size) + (24 << 10) + 1,
        crc,
    );
    let mut tree = Tree::new();
    let path = "x".parse().expect("a path");
    tree.insert(path, Entry::file(content)).expect("an empty tree");
    let mut out = Vec::new();
    let options = layer::Options::default();
    if let Ok(written) = layer::write(&Cx::default(), &tree, &options, &mut out) {
        let mut raw = Vec::new();
        MultiGzDecoder::new(&*out)
            .read_to_end(&mut raw)
            .expect("a gzip");
        assert_eq!(Digest::of(&raw), written.diff_id);
    }
});
