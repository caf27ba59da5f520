//! Layers: what is in them, and that the same tree gives the same bytes.

use std::{num::NonZero, sync::Arc};

use bytes::Bytes;
use ocicore::{Digest, MediaType};
use repack::{
    Content, Cx, Device, Entry, Error, Kind, Mtime, Pattern, Tree, into_layer,
    layer::{self, Compression, Deflated, Options},
};
use tar::EntryType;

use crate::support::{
    deflate, entries, gunzip, gzip, index_tar, index_zip, path, text, write,
    zip::{Member, build},
};

/// Sizes around all thresholds of the plan.
const SIZES: &[usize] = &[
    0,
    1,
    511,
    512,
    513,
    (20 << 10) - 1,
    20 << 10,
    (20 << 10) + 1,
    100_000,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    3_000_000,
];

fn of_all_sizes() -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut members = Vec::new();
    let mut files = Vec::new();
    for (seed, &size) in (0..).zip(SIZES) {
        let content = text(size, seed);
        let names = [
            format!("deflated/{size:08}"),
            format!("stored/{size:08}"),
            format!("stored/{size:08}.jar"),
        ];
        members.push(Member::deflated(&names[0], &content));
        members.push(Member::stored(&names[1], &content));
        members.push(Member::stored(&names[2], &content));
        files.extend(names.map(|name| (name, content.clone())));
    }
    files.sort();
    (build(&members), files)
}

fn files(raw: &[u8]) -> Vec<(String, Vec<u8>)> {
    let all = entries(raw).into_iter();
    let files = all.filter(|entry| entry.kind == EntryType::Regular);
    files.map(|entry| (entry.name, entry.content)).collect()
}

/// A stream of blocks that are empty, and of one with the text (RFC 1951 §3.2.4).
fn long_stream(text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    let mut stream = [0, 0, 0, 0xff, 0xff].repeat(900_000);
    stream.push(1);
    stream.extend(len.to_le_bytes());
    stream.extend((!len).to_le_bytes());
    stream.extend(text);
    stream
}

#[test]
fn a_stream_may_be_longer_than_what_it_inflates_to() {
    let long = text(30_000, 1);
    let mut tree = Tree::new();
    let insert = |tree: &mut Tree, name: &str, text: &[u8], stream: Vec<u8>| {
        let mut crc = flate2::Crc::new();
        crc.update(text);
        let (compressed, size) = (stream.len() as u64, text.len() as u64);
        let source = Arc::new(Bytes::from(stream));
        let content = Content::deflated(source, 0, compressed, size, crc.sum());
        tree.insert(path(name), Entry::file(content)).unwrap();
    };
    insert(&mut tree, "1-small", b"hello", long_stream(b"hello"));
    insert(&mut tree, "2-large", &long, long_stream(&long));
    let expected = [("1-small", &b"hello"[..]), ("2-large", &long)];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_vec()));
    let (packed, _) = write(&tree, &Options::default()).unwrap();
    assert_eq!(files(&gunzip(&packed)), expected);
    assert!(packed.len() > 4_500_000, "the large one is copied");

    // One that lies is found out as any other.
    let mut stream = long_stream(b"hello");
    stream.push(0);
    insert(&mut tree, "1-small", b"hello", stream);
    let error = write(&tree, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("1-small"), "{error}");
}

#[test]
fn content_of_any_size_arrives() {
    let (zip, expected) = of_all_sizes();
    let tree = index_zip(zip).unwrap();
    let plain = Options::default().with_compression(Compression::None);
    let (raw, written) = write(&tree, &plain).unwrap();
    assert_eq!(files(&raw), expected);
    assert_eq!(written.media_type, MediaType::OCI_LAYER);
    assert_eq!(written.diff_id, written.digest);
    for options in [
        Options::default(),
        Options::default().with_deflated(Deflated::Recompress),
        Options::default().with_level(12),
    ] {
        let (packed, written) = write(&tree, &options).unwrap();
        assert!(gunzip(&packed) == raw, "the same tar: {options:?}");
        assert_eq!(written.diff_id, Digest::of(&raw));
        assert_eq!(written.media_type, MediaType::OCI_LAYER_GZIP);
    }
}

#[test]
fn the_bytes_depend_neither_on_threads_nor_on_the_day() {
    let (zip, _) = of_all_sizes();
    let tree = index_zip(zip.clone()).unwrap();
    let first = gzip(&tree);
    for threads in [1, 2, 7] {
        let options = Options::default().with_threads(NonZero::new(threads).unwrap());
        let again = index_zip(zip.clone()).unwrap();
        assert!(write(&again, &options).unwrap().0 == first, "{threads}");
    }
}

#[test]
fn deflated_content_is_copied_unless_it_is_small_or_edited() {
    let content = text(50_000, 3);
    let stream = deflate(&content);
    let zip = build(&[
        Member::deflated("a.txt", &content),
        Member::deflated("small.txt", &content[..1000]),
    ]);
    let has = |layer: &[u8], stream: &[u8]| memchr::memmem::find(layer, stream).is_some();
    let mut tree = index_zip(zip).unwrap();
    let layer = gzip(&tree);
    assert!(has(&layer, &stream));
    assert!(!has(&layer, &deflate(&content[..1000])), "in a group");
    let options = Options::default().with_deflated(Deflated::Recompress);
    assert!(!has(&write(&tree, &options).unwrap().0, &stream));
    tree.edit(&path("a.txt"), 1 << 20, |text| {
        Ok::<_, String>([&text[..], b"!"].concat().into())
    })
    .unwrap();
    assert!(!has(&gzip(&tree), &stream));
}

#[test]
fn compressed_formats_stay_stored() {
    let content = text(50_000, 8);
    let zip = build(&[
        Member::stored("a.txt", &content),
        Member::stored("b.jar", &content),
        Member::stored("small.jar", &content[..1000]),
    ]);
    let tree = index_zip(zip).unwrap();
    for options in [
        Options::default(),
        Options::default().with_compression(Compression::Estargz),
    ] {
        let (layer, _) = write(&tree, &options).unwrap();
        let as_they_are = memchr::memmem::find_iter(&layer, &content).count();
        assert_eq!(as_they_are, 1, "of the jar, {options:?}");
        assert!(memchr::memmem::find(&layer, &content[..1000]).is_some());
        let again = index_tar(layer).unwrap();
        assert_eq!(again.read(&path("b.jar"), 1 << 20).unwrap(), content);
    }
}

#[test]
fn a_higher_level_is_smaller() {
    let (zip, _) = of_all_sizes();
    let tree = index_zip(zip).unwrap();
    let size = |level| {
        let options = Options::default()
            .with_deflated(Deflated::Recompress)
            .with_level(level);
        write(&tree, &options).unwrap().1.size
    };
    let sizes = [1, 3, 6].map(size);
    assert!(sizes.is_sorted_by(|more, less| more > less), "{sizes:?}");
    let usual = Options::default().with_deflated(Deflated::Recompress);
    assert_eq!(write(&tree, &usual).unwrap().1.size, sizes[1]);
}

#[test]
fn large_streams_are_copied_piece_by_piece() {
    let content = text(32 << 20, 5);
    let tree = index_zip(build(&[Member::deflated("big", &content)])).unwrap();
    let layer = gzip(&tree);
    assert!(memchr::memmem::find(&layer, &deflate(&content)).is_some());
    assert!(files(&gunzip(&layer)) == [("big".to_owned(), content)]);
}

#[test]
fn lies_about_large_streams_are_found_before_their_trailer() {
    let content = vec![7; 41 << 20];
    let good = Member::deflated("big", &content);
    let changed = |change: &dyn Fn(&mut Member)| good.clone().with(|member| change(member));
    let resized = |by: i64| changed(&|member| member.size = member.size.saturating_add_signed(by));
    let data = |change: &dyn Fn(&mut Vec<u8>)| {
        changed(&|member| {
            change(&mut member.data);
            member.compressed = member.data.len() as u64;
        })
    };
    let trailer = [good.crc.to_le_bytes(), (41_u32 << 20).to_le_bytes()].concat();
    let lines: Vec<_> = [
        ("crc", changed(&|member| member.crc ^= 1)),
        ("more than declared", resized(-1)),
        ("less than declared", resized(1)),
        ("a byte after the stream", data(&|data| data.push(0))),
        ("a trailer after it", data(&|data| data.extend(&trailer))),
        ("cut", data(&|data| data.truncate(data.len() - 1))),
        ("no stream", data(&|data| data[0] = 0xff)),
    ]
    .into_iter()
    .map(|(case, member)| {
        let tree = index_zip(build(&[member])).unwrap();
        let mut out = Vec::new();
        let options = Options::default();
        let error = layer::write(&Cx::default(), &tree, &options, &mut out).unwrap_err();
        format!("{case}:\n  {}", crate::support::chain(&error))
    })
    .collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(
        files(&gunzip(&gzip(&index_zip(build(&[good])).unwrap()))) == [("big".to_owned(), content)]
    );
}

#[test]
fn a_listing_of_every_kind() {
    let mut tree = Tree::new();
    let mut insert = |name: &str, entry: Entry| tree.insert(path(name), entry).unwrap();
    insert("dir/file", Entry::file("hello").with_mode(0o4755));
    insert("dir/link", Entry::symlink("../x"));
    insert("a-hard-link", Entry::hardlink(path("dir/file")));
    insert("fifo", Entry::new(Kind::Fifo));
    let device = Device { major: 1, minor: 3 };
    insert(
        "null",
        Entry::new(Kind::CharDevice(device)).with_mode(0o666),
    );
    insert(
        "sda",
        Entry::new(Kind::BlockDevice(Device { major: 8, minor: 0 })),
    );
    let long = "long/".repeat(60) + "name";
    insert(&long, Entry::file("x"));
    tree.set_owner(&"dir/**".parse().unwrap(), 1000, 1 << 30);
    let half = Mtime {
        seconds: 1_600_000_000,
        nanoseconds: 500_000_000,
    };
    tree.set_mtime(&"null".parse().unwrap(), half);
    let raw = gunzip(&gzip(&tree));
    let lines: Vec<_> = entries(&raw)
        .into_iter()
        .filter(|entry| !entry.name.starts_with("long/") || entry.kind.is_file())
        .map(|entry| {
            let (uid, gid) = entry.owner;
            let link = entry
                .link
                .map(|link| format!(" -> {link}"))
                .unwrap_or_default();
            let name = entry.name.replace(&"long/".repeat(60), "<long>/");
            format!(
                "{:?} {:04o} {uid}/{gid} {} {name}{link} {}",
                entry.kind,
                entry.mode,
                entry.mtime,
                entry.content.escape_ascii()
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    // And back: nothing is lost.
    let back = index_tar(raw.clone()).unwrap();
    assert_eq!(back.get(&path("null")).unwrap().metadata.mtime, half);
    assert_eq!(gunzip(&gzip(&back)), raw);
}

#[test]
fn content_comes_before_all_hard_links_to_it() {
    let mut tree = Tree::new();
    tree.insert(path("m"), Entry::file("x").with_mode(0o600))
        .unwrap();
    for link in ["z", "b", "a"] {
        tree.insert(path(link), Entry::hardlink(path("m"))).unwrap();
    }
    let seen: Vec<_> = entries(&gunzip(&gzip(&tree)))
        .into_iter()
        .map(|entry| (entry.name, entry.mode, entry.link, entry.content))
        .collect();
    let link = |name: &str| (name.to_owned(), 0o600, Some("a".to_owned()), vec![]);
    let first = ("a".to_owned(), 0o600, None, b"x".to_vec());
    assert_eq!(seen, [first, link("b"), link("m"), link("z")]);
}

#[test]
fn extended_attributes_go_there_and_back() {
    let mut tree = Tree::new();
    tree.insert(path("a"), Entry::file("x")).unwrap();
    let metadata = tree.metadata_mut(&path("a")).unwrap();
    metadata.xattrs.insert(
        (*b"security.capability").into(),
        Bytes::from_static(b"\x01\0\0\x02\0\n=\n"),
    );
    let expected = metadata.clone();
    let back = index_tar(gunzip(&gzip(&tree))).unwrap();
    assert_eq!(back.get(&path("a")).unwrap().metadata, expected);
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("layer.tar.gz");
    std::fs::write(&to, "old").unwrap();
    let content = text(50_000, 6);
    let bad = Member::deflated("bad", &content).with(|member| member.crc ^= 1);
    let members = [Member::deflated("a", &content), bad];
    let tree = index_zip(build(&members)).unwrap();
    let (cx, options) = (Cx::default(), Options::default());
    let error = into_layer(&cx, &tree, &options, &to).unwrap_err();
    assert!(matches!(error, Error::Entry { .. }), "{error}");
    cx.cancel();
    let good = index_zip(build(&members[..1])).unwrap();
    let error = into_layer(&cx, &good, &options, &to).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(std::fs::read(&to).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let written = into_layer(&Cx::default(), &good, &options, &to).unwrap();
    // Others may read it, as any file that is created.
    let other = dir.path().join("other");
    std::fs::write(&other, "").unwrap();
    let permissions = |path: &std::path::Path| path.metadata().unwrap().permissions();
    assert_eq!(permissions(&to), permissions(&other));
    std::fs::remove_file(other).unwrap();
    assert_eq!(Digest::of(&std::fs::read(&to).unwrap()), written.digest);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_cut_meanwhile_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let zip = dir.path().join("a.zip");
    std::fs::write(&zip, build(&[Member::deflated("a", &text(90_000, 7))])).unwrap();
    let cx = Cx::default();
    let tree = repack::zip::open(&cx, &zip, &ocicore::SizeLimits::default()).unwrap();
    let file = std::fs::File::options().write(true).open(&zip).unwrap();
    file.set_len(1000).unwrap();
    let error = write(&tree, &Options::default()).unwrap_err();
    insta::assert_snapshot!(crate::support::chain(&error));
    let to = dir.path().join("to");
    let error = repack::extract::extract(&cx, &tree, &Default::default(), &to).unwrap_err();
    insta::assert_snapshot!(crate::support::chain(&error), @r"
    entry `a` at byte 31 of the archive is refused
      it lies beyond the end of the archive
    ");
    assert!(!to.exists());

    // One that is too large to be in memory.
    let large = build(&[Member::deflated("a", &vec![7; 41 << 20])]);
    std::fs::write(&zip, large).unwrap();
    let tree = repack::zip::open(&cx, &zip, &ocicore::SizeLimits::default()).unwrap();
    let file = std::fs::File::options().write(true).open(&zip).unwrap();
    file.set_len(1000).unwrap();
    let error = write(&tree, &Options::default()).unwrap_err();
    assert_eq!(error.offset(), Some(31), "{error:?}");
    assert!(matches!(error, Error::Entry { .. }), "{error:?}");
}

#[test]
fn a_writer_that_fails_ends_all_threads() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            if self.0 < buffer.len() {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.0 -= buffer.len();
            Ok(buffer.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (zip, _) = of_all_sizes();
    let mut tree = index_zip(zip).unwrap();
    tree.set_mode(&Pattern::all(), 0o600);
    for room in [0, 1000, 1 << 20] {
        let (cx, options) = (Cx::default(), Options::default());
        let error = layer::write(&cx, &tree, &options, &mut Full(room)).unwrap_err();
        assert_eq!(error.class(), ocicore::Class::Exhausted, "{error}");
    }
}

#[cfg(feature = "zstd")]
#[test]
fn zstandard_there_and_back() {
    let (zip, expected) = of_all_sizes();
    let tree = index_zip(zip).unwrap();
    let options = Options::default().with_compression(Compression::Zstd);
    let (packed, written) = write(&tree, &options).unwrap();
    assert_eq!(written.media_type, MediaType::OCI_LAYER_ZSTD);
    let raw = zstd::decode_all(&*packed).unwrap();
    assert_eq!(Digest::of(&raw), written.diff_id);
    assert_eq!(files(&raw), expected);
    let back = index_tar(packed.clone()).unwrap();
    assert_eq!(write(&back, &options).unwrap().1.diff_id, written.diff_id);
    let error = index_tar(packed[..packed.len() - 1].to_vec()).unwrap_err();
    assert!(
        matches!(error, Error::Archive { format: "zstd", .. }),
        "{error}"
    );
    // What cannot be made smaller is there as it is, and damage of it only noticed by the checksum.
    let content: Vec<u8> = (0..5000_u32)
        .flat_map(|n| Digest::of(&n.to_le_bytes()).as_bytes().to_vec())
        .collect();
    let mut tree = Tree::new();
    tree.insert(path("x"), Entry::file(content.clone()))
        .unwrap();
    let (mut packed, _) = write(&tree, &options).unwrap();
    let at = memchr::memmem::find(&packed, &content[1000..2000]).unwrap();
    packed[at] ^= 1;
    let error = index_tar(packed).unwrap_err();
    assert!(
        matches!(error, Error::Archive { format: "zstd", .. }),
        "{error}"
    );
    assert!(error.offset().is_some());
    let error = write(&tree, &options.with_level(23)).unwrap_err();
    insta::assert_snapshot!(crate::support::chain(&error), @"there is no compression level 23, only 1 to 22");
}
