//! What holds for all archives.

use std::collections::BTreeMap;

use proptest::prelude::*;
use repack::{
    Cx, Entry, EntryPath, Keep, Mtime, Pattern, SizeLimits, Tree, dir, extract,
    layer::{Compression, Deflated, Options},
};
use tar::EntryType;

use crate::{
    sinks::OF_ESTARGZ,
    support::{
        entries, gunzip, gzip, index_tar, index_zip, path, text, write,
        zip::{Member, build},
    },
};

#[derive(Clone, Debug)]
struct File {
    mode: u32,
    content: Vec<u8>,
    stored: bool,
    descriptor: bool,
}

fn file() -> impl Strategy<Value = File> {
    let size = prop_oneof![8 => 0..64_usize, 4 => 15_000..18_000_usize, 1 => Just(1_100_000)];
    let content = (size, any::<u64>(), any::<bool>()).prop_map(|(size, seed, plain)| {
        let mut content = text(size, seed);
        if !plain {
            content
                .iter_mut()
                .for_each(|byte| *byte = byte.wrapping_mul(167));
        }
        content
    });
    (1..0o777_u32, content, any::<bool>(), any::<bool>()).prop_map(
        |(mode, content, stored, descriptor)| File {
            mode,
            content,
            stored,
            descriptor,
        },
    )
}

/// No name is a directory of another, since all have the same depth.
fn files() -> impl Strategy<Value = BTreeMap<String, File>> {
    let name = prop_oneof![
        "[a-z ]{1,8}/[a-zA-Z0-9._-]{0,12}x/[^/\\\\\0]{0,20}y",
        "[a-z]{90,120}/[a-z]{90,120}/[äöü]{50,60}",
    ];
    prop::collection::btree_map(name, file(), 0..12)
}

/// What the archives of one case have in them.
fn tree(files: &BTreeMap<String, File>, links: &BTreeMap<String, String>) -> Tree {
    let mut tree = Tree::new();
    for (name, file) in files {
        let entry = Entry::file(file.content.clone()).with_mode(file.mode | 0o600);
        tree.insert(path(name), entry).unwrap();
    }
    for (name, target) in links {
        let entry = Entry::symlink(target.clone());
        tree.insert(path(name), entry).unwrap();
    }
    same_owner_and_time(tree)
}

/// These differ between sources: not all of them have them.
fn same_owner_and_time(mut tree: Tree) -> Tree {
    tree.set_owner(&Pattern::all(), 0, 0);
    tree.set_mtime(&Pattern::all(), Mtime::from_seconds(1));
    tree
}

fn zip(files: &BTreeMap<String, File>, links: &BTreeMap<String, String>) -> Vec<u8> {
    let members = files.iter().map(|(name, file)| {
        let member = if file.stored {
            Member::stored(name, &file.content)
        } else {
            Member::deflated(name, &file.content)
        };
        member.with(|member| member.st_mode = 0o100_600 | file.mode)
    });
    let links = links.iter().map(|(name, target)| {
        Member::stored(name, target.as_bytes()).with(|member| member.st_mode = 0o120_777)
    });
    build(&members.chain(links).collect::<Vec<_>>())
}

/// All ways to write a layer.
pub(crate) fn sinks() -> Vec<Options> {
    let with = |compression| Options::default().with_compression(compression);
    vec![
        with(Compression::None),
        with(Compression::Gzip),
        with(Compression::Gzip).with_deflated(Deflated::Recompress),
        with(Compression::Estargz),
        #[cfg(feature = "zstd")]
        with(Compression::Zstd),
    ]
}

/// The tree as files, and these as a tree.
fn by_disk(tree: &Tree, to: &std::path::Path) -> Tree {
    let options = extract::Options::default()
        .with_durability(extract::Durability::None)
        .with_symlinks(extract::Symlinks::Any);
    extract::extract(&Cx::default(), tree, &options, to).unwrap();
    let options = dir::Options::default().with_attributes(dir::Attributes::OfDisk);
    let tree = dir::open(&Cx::default(), to, &options, &SizeLimits::default());
    same_owner_and_time(tree.unwrap())
}

/// Two halves, both of which have the first entry.
fn by_merge(tree: &Tree) -> Tree {
    let mut halves = [
        ("even".to_owned(), Tree::new()),
        ("odd".to_owned(), Tree::new()),
    ];
    for (at, (path, entry)) in tree
        .iter()
        .filter(|(_, entry)| !entry.kind.is_dir())
        .enumerate()
    {
        for (half, (_, tree)) in halves.iter_mut().enumerate() {
            if at == 0 || at % 2 == half {
                tree.insert(path.clone(), entry.clone()).unwrap();
            }
        }
    }
    let merged = repack::merge(&Cx::default(), halves, &mut |_| Keep::Neither);
    same_owner_and_time(merged.unwrap().tree)
}

fn foreign_gzip(raw: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let level = flate2::Compression::new(6);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn all_sources_to_all_sinks_and_back(
        files in files(),
        links in prop::collection::btree_map("link/[a-z]{1,8}", "[a-z/.]{1,30}", 0..3),
    ) {
        let expected = tree(&files, &links);
        let differs = |tree: &Tree| {
            let diff = repack::diff::diff(&Cx::default(), &expected, tree).unwrap();
            diff.changes
        };
        let disk = tempfile::tempdir().unwrap();
        let raw = write(&expected, &Options::default().with_compression(Compression::None)).unwrap().0;
        let mut sources = vec![
            ("zip", index_zip(zip(&files, &links)).unwrap()),
            ("tar.gz of one member", index_tar(foreign_gzip(&raw)).unwrap()),
            ("directory", by_disk(&expected, &disk.path().join("source"))),
            ("merged", by_merge(&expected)),
        ];
        for options in sinks() {
            sources.push(("layer", index_tar(write(&expected, &options).unwrap().0).unwrap()));
        }
        for (at, (source, tree)) in sources.into_iter().enumerate() {
            let mut tree = same_owner_and_time(tree);
            for name in OF_ESTARGZ {
                tree.remove(&path(name));
            }
            prop_assert_eq!(differs(&tree), vec![], "{} {}", source, at);
            for options in sinks() {
                let (layer, written) = write(&tree, &options).unwrap();
                let mut back = index_tar(layer).unwrap();
                // What the format adds is not content.
                let added = OF_ESTARGZ.map(|name| back.remove(&path(name)));
                prop_assert_eq!(added == [1, 1], written.annotations.len() == 2);
                prop_assert_eq!(differs(&back), vec![], "{} {} to {:?}", source, at, options);
            }
            let back = by_disk(&tree, &disk.path().join(at.to_string()));
            prop_assert_eq!(differs(&back), vec![], "{} {} to a directory", source, at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn zip_to_layer_keeps_names_modes_and_bytes(files in files()) {
        let members: Vec<_> = files
            .iter()
            .map(|(name, file)| {
                let member = if file.stored {
                    Member::stored(name, &file.content)
                } else {
                    Member::deflated(name, &file.content)
                };
                let member = member.with(|member| member.st_mode = 0o100_000 | file.mode);
                if file.descriptor { member.with_descriptor() } else { member }
            })
            .collect();
        let tree = index_zip(build(&members)).unwrap();
        let layer = gzip(&tree);
        prop_assert!(layer == write(&tree, &Options::default()).unwrap().0, "two runs, same bytes");
        let raw = gunzip(&layer);
        let seen = entries(&raw);
        let mut names: Vec<_> = seen.iter().map(|entry| entry.name.clone()).collect();
        let regular = seen.iter().filter(|entry| entry.kind == EntryType::Regular);
        let back: Vec<_> = regular
            .map(|entry| (entry.name.clone(), entry.mode, entry.content.clone()))
            .collect();
        let expected: Vec<_> = files
            .into_iter()
            .map(|(name, file)| (name, file.mode, file.content))
            .collect();
        prop_assert!(back == expected);
        // Every directory is there, before what is in it.
        names.iter_mut().for_each(|name| *name = name.trim_end_matches('/').to_owned());
        for (at, name) in names.iter().enumerate() {
            for above in EntryPath::parse(name.as_bytes()).unwrap().ancestors() {
                prop_assert!(names[..at].contains(&above.to_str().unwrap().to_owned()));
            }
        }
        // And our own reader sees the same tree.
        prop_assert!(gunzip(&gzip(&index_tar(layer).unwrap())) == raw);
    }

    #[test]
    fn damaged_zips_never_panic(at: prop::sample::Index, byte: u8, cut: Option<prop::sample::Index>) {
        let mut zip = build(&[
            Member::deflated("a/b", &text(3000, 1)).with_descriptor(),
            Member::stored("c", b"hello").with(|member| member.zip64 = true),
            Member::stored("d", b"a").with(|member| member.st_mode = 0o120_777),
        ]);
        let at = at.index(zip.len());
        zip[at] = byte;
        if let Some(cut) = cut {
            let cut = cut.index(zip.len());
            zip.truncate(cut);
        }
        if let Ok(tree) = index_zip(zip) {
            let _ = write(&tree, &Options::default());
        }
    }

    #[test]
    fn damaged_tars_never_panic(at: prop::sample::Index, byte: u8) {
        let mut tree = Tree::new();
        let name = "x".repeat(120);
        tree.insert(name.parse().unwrap(), Entry::file("hello")).unwrap();
        tree.insert("l".parse().unwrap(), Entry::symlink("x")).unwrap();
        let mut raw = gunzip(&gzip(&tree));
        let at = at.index(raw.len());
        raw[at] = byte;
        if let Ok(tree) = index_tar(raw) {
            let _ = write(&tree, &Options::default());
        }
    }

    #[test]
    fn bytes_that_are_no_archive_are_errors(bytes: Vec<u8>) {
        prop_assert!(index_zip(bytes.clone()).is_err());
        prop_assert!(index_tar(bytes).is_err());
    }
}
