#![no_main]

use std::io::Read;

use flate2::read::MultiGzDecoder;
use ocicore::Digest;
use repack::{
    Cx, layer,
    layer::{Compression, Options},
};
use serde_json::Value;

// Whatever a tar becomes as eStargz: the footer leads to the index, and the index to each file.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(tree) = gantry_fuzz::index_tar(gantry_fuzz::with_checksums(bytes)) else {
        return;
    };
    let options = Options::default().with_compression(Compression::Estargz);
    let mut out = Vec::new();
    let Ok(written) = layer::write(&Cx::default(), &tree, &options, &mut out) else {
        return;
    };
    let footer = &out[out.len() - 51..];
    let place = str::from_utf8(&footer[16..32]).expect("a number");
    let at = usize::from_str_radix(place, 16).expect("a number");
    let mut archive = tar::Archive::new(MultiGzDecoder::new(&out[at..]));
    let mut entries = archive.entries().expect("a tar");
    let mut entry = entries.next().expect("an entry").expect("a header");
    let mut json = Vec::new();
    entry.read_to_end(&mut json).expect("the index");
    let digest = &written.annotations["containerd.io/snapshot/stargz/toc.digest"];
    assert_eq!(*digest, Digest::of(&json).to_string());
    let toc: Value = serde_json::from_slice(&json).expect("JSON");
    for entry in toc["entries"].as_array().expect("entries") {
        let size = entry["size"].as_u64().unwrap_or(0);
        if entry["type"] != "reg" || size == 0 {
            continue;
        }
        let mut content = Vec::new();
        let offset = usize::try_from(entry["offset"].as_u64().expect("an offset"));
        MultiGzDecoder::new(&out[offset.expect("small")..])
            .take(size)
            .read_to_end(&mut content)
            .expect("a member begins there");
        assert_eq!(entry["chunkDigest"], Digest::of(&content).to_string());
    }
    let mut raw = Vec::new();
    MultiGzDecoder::new(&*out)
        .read_to_end(&mut raw)
        .expect("a gzip");
    assert_eq!(Digest::of(&raw), written.diff_id);
});
