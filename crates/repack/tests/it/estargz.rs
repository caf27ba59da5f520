//! eStargz: a layer like any other, from which one file can be fetched by a range.

use std::{collections::BTreeMap, io::Read};

use flate2::read::MultiGzDecoder;
use ocicore::Digest;
use repack::{
    Entry, Kind, Tree,
    layer::{Compression, Options},
};
use serde_json::Value;

use crate::support::{
    deflate, gunzip, index_tar, index_zip, path, text, write,
    zip::{Member, build},
};

const LANDMARK: &str = ".no.prefetch.landmark";

fn options() -> Options {
    Options::default().with_compression(Compression::Estargz)
}

fn tree() -> Tree {
    let zip = build(&[
        Member::deflated("lib/a.jar", &text(90_000, 1)),
        Member::deflated("lib/small", &text(100, 2)),
        Member::deflated("empty", b""),
        Member::stored("stored", &text(3 << 20, 3)),
        Member::stored("stored.jar", &text(90_000, 4)),
        Member::deflated("big", &text(32 << 20, 5)),
        Member::stored("link", b"empty").with(|m| m.st_mode = 0o120_777),
        Member::stored("stargz.index.json", b"somebody else's"),
    ]);
    let mut tree = index_zip(zip).unwrap();
    tree.insert(path("a-hard-link"), Entry::hardlink(path("lib/a.jar")))
        .unwrap();
    tree.insert(path("fifo"), Entry::new(Kind::Fifo)).unwrap();
    tree
}

/// A reader of our own: the footer says where the index is, the index where the files are.
fn index(layer: &[u8]) -> (Value, Digest) {
    let footer = &layer[layer.len() - 51..];
    let place = str::from_utf8(&footer[16..32]).unwrap();
    assert_eq!(&footer[32..38], b"STARGZ");
    let at = usize::from_str_radix(place, 16).unwrap();
    let mut archive = tar::Archive::new(MultiGzDecoder::new(&layer[at..]));
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(&*entry.path_bytes(), b"stargz.index.json");
    let mut json = Vec::new();
    entry.read_to_end(&mut json).unwrap();
    (serde_json::from_slice(&json).unwrap(), Digest::of(&json))
}

#[test]
fn each_file_is_fetched_by_a_range() {
    let tree = tree();
    let (layer, written) = write(&tree, &options()).unwrap();
    let (toc, digest) = index(&layer);
    let annotated = &written.annotations["containerd.io/snapshot/stargz/toc.digest"];
    assert_eq!(*annotated, digest.to_string());
    assert_eq!(written.descriptor().annotations(), &written.annotations);
    assert_eq!(toc["version"], 1);
    let mut fetched = BTreeMap::new();
    for entry in toc["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let kind = entry["type"].as_str().unwrap();
        fetched.insert(name.to_owned(), kind.to_owned());
        if kind != "reg" || entry["size"].is_null() {
            continue;
        }
        let offset = usize::try_from(entry["offset"].as_u64().unwrap()).unwrap();
        let size = entry["size"].as_u64().unwrap();
        let mut content = Vec::new();
        let member = MultiGzDecoder::new(&layer[offset..]);
        member.take(size).read_to_end(&mut content).unwrap();
        assert_eq!(entry["digest"], Digest::of(&content).to_string(), "{name}");
        assert_eq!(entry["chunkDigest"], entry["digest"]);
        if name != LANDMARK {
            assert!(
                content == tree.read(&path(name), 1 << 30).unwrap(),
                "{name}"
            );
        }
    }
    let kinds: Vec<_> = fetched
        .iter()
        .map(|(name, kind)| format!("{kind} {name}"))
        .collect();
    insta::assert_snapshot!(kinds.join("\n"));
    assert!(
        memchr::memmem::find(&layer, &deflate(&text(90_000, 1))).is_some(),
        "spliced"
    );
}

#[test]
fn it_is_a_layer_like_any_other() {
    let tree = tree();
    let (layer, written) = write(&tree, &options()).unwrap();
    let raw = gunzip(&layer);
    assert_eq!(Digest::of(&raw), written.diff_id);
    assert!(
        write(&tree, &options()).unwrap().0 == layer,
        "two runs, same bytes"
    );
    let mut back = index_tar(layer).unwrap();
    assert_eq!(
        back.remove(&path("stargz.index.json")),
        1,
        "the index is a file, too"
    );
    assert_eq!(back.remove(&path(LANDMARK)), 1);
    let mut expected = tree;
    expected.remove(&path("stargz.index.json"));
    let diff = repack::diff::diff(&repack::Cx::default(), &expected, &back).unwrap();
    assert_eq!(diff.to_string(), "");
    // Written again, the index is a new one.
    let back = index_tar(raw).unwrap();
    let again = write(&back, &options()).unwrap().1;
    assert_eq!(again.unpacked_size, written.unpacked_size);
}
