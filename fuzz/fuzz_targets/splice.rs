#![no_main]

use std::{io::Read, sync::Arc};

use flate2::{Crc, Decompress, FlushDecompress, Status, read::MultiGzDecoder};
use ocicore::Digest;
use repack::{Content, Cx, Entry, Tree, layer};

/// Longest content that is looked at.
const LONGEST: usize = 1 << 20;

// A deflate stream with whatever is behind it, under what it really inflates to: it becomes a layer if it is
// used up, and else it is refused. What becomes a layer is read by others alike.
libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    let mut inflate = Decompress::new(false);
    let mut content = vec![0; LONGEST];
    let status = inflate.decompress(stream, &mut content, FlushDecompress::Finish);
    content.truncate(usize::try_from(inflate.total_out()).expect("it is in memory"));
    if content.len() == LONGEST {
        return;
    }
    let used_up = inflate.total_in() == stream.len() as u64;
    let is_sound = matches!(status, Ok(Status::StreamEnd)) && used_up;
    let (is_written, back) = spliced(stream, &content, 0);
    assert_eq!(is_written, is_sound);
    assert!(!is_written || back == content);
    // And never under a checksum that it does not have.
    assert!(!spliced(stream, &content, 1).0);
});

/// Whether it is written, and what another reader finds in the layer.
fn spliced(stream: &[u8], content: &[u8], wrong: u32) -> (bool, Vec<u8>) {
    let mut crc = Crc::new();
    crc.update(content);
    let (len, size) = (stream.len() as u64, content.len() as u64);
    let source = Arc::new(bytes::Bytes::copy_from_slice(stream));
    let mut tree = Tree::new();
    let deflated = Content::deflated(source, 0, len, size, crc.sum() ^ wrong);
    tree.insert("x".parse().expect("a path"), Entry::file(deflated))
        .expect("an empty tree");
    let mut out = Vec::new();
    let Ok(written) = layer::write(&Cx::default(), &tree, &layer::Options::default(), &mut out)
    else {
        return (false, Vec::new());
    };
    let mut raw = Vec::new();
    MultiGzDecoder::new(&*out)
        .read_to_end(&mut raw)
        .expect("a gzip");
    assert_eq!(Digest::of(&raw), written.diff_id);
    let back = raw[512..512 + content.len()].to_vec();
    (true, back)
}
