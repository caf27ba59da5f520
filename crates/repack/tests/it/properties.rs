//! What holds for all archives.

use std::collections::BTreeMap;

use proptest::prelude::*;
use repack::{EntryPath, layer::Options};
use tar::EntryType;

use crate::support::{
    entries, gunzip, gzip, index_tar, index_zip, text, write,
    zip::{Member, build},
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
        let mut tree = repack::Tree::new();
        let name = "x".repeat(120);
        tree.insert(name.parse().unwrap(), repack::Entry::file("hello")).unwrap();
        tree.insert("l".parse().unwrap(), repack::Entry::symlink("x")).unwrap();
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
