//! Trees of all kinds of entries, with all metadata: nothing is lost on the way through a layer or a directory.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use ::tar::EntryType;
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use repack::{
    Cx, Device, Entry, EntryPath, Error, Fault, Kind, Metadata, Mtime, Pattern, SizeLimits, Tree,
    dir::{self, Attributes},
    extract::{self, Devices, Durability, Owner, SpecialBits, Symlinks, Xattrs},
    layer::{Compression, Options},
};

use crate::{
    properties::sinks,
    sinks::OF_ESTARGZ,
    support::{
        index_tar, path,
        tar::{build, file, member},
        text, write,
    },
};

/// An entry, or a hard link to one of the files.
#[derive(Clone, Debug)]
enum Made {
    Entry(Kind),
    Link(Index),
}

fn kind() -> impl Strategy<Value = Made> {
    let device =
        || (0..4096_u32, 0..1_u32 << 20).prop_map(|(major, minor)| Device { major, minor });
    let content = prop_oneof![
        any::<Vec<u8>>(),
        (20_000..40_000_usize, any::<u64>()).prop_map(|(len, seed)| text(len, seed)),
    ];
    prop_oneof![
        4 => content.prop_map(|content| Made::Entry(Kind::File(content.into()))),
        2 => any::<Index>().prop_map(Made::Link),
        1 => Just(Made::Entry(Kind::Dir)),
        1 => prop_oneof![
            "[^\0]{1,50}".prop_map(String::into_bytes),
            prop::collection::vec(1..=255_u8, 1..150),
        ]
        .prop_map(|target| Made::Entry(Kind::Symlink(target.into()))),
        1 => device().prop_map(|device| Made::Entry(Kind::CharDevice(device))),
        1 => device().prop_map(|device| Made::Entry(Kind::BlockDevice(device))),
        1 => Just(Made::Entry(Kind::Fifo)),
    ]
}

fn metadata(
    id: impl Strategy<Value = u64> + Clone,
    seconds: impl Strategy<Value = i64>,
) -> impl Strategy<Value = Metadata> {
    let xattrs = prop::collection::btree_map("user\\.[a-z]{1,5}", any::<Vec<u8>>(), 0..3);
    let time = (seconds, prop_oneof![Just(0), 0..1_000_000_000_u32]);
    (0..0o10000_u32, id.clone(), id, time, xattrs).prop_map(
        |(mode, uid, gid, (seconds, nanoseconds), xattrs)| {
            let mut metadata = Metadata::default();
            (metadata.mode, metadata.uid, metadata.gid) = (mode, uid, gid);
            metadata.mtime = Mtime {
                seconds,
                nanoseconds,
            };
            let named = |(name, value): (String, Vec<u8>)| (name.as_bytes().into(), value.into());
            metadata.xattrs = xattrs.into_iter().map(named).collect();
            metadata
        },
    )
}

fn trees(metadata: impl Strategy<Value = Metadata>) -> impl Strategy<Value = Tree> {
    let name = "[a-c]{1,2}(/[a-cä]{1,60}){0,3}";
    let entries = prop::collection::btree_map(name, (kind(), metadata), 1..25);
    entries.prop_map(|entries| {
        let mut tree = Tree::new();
        let mut links = Vec::new();
        for (name, (made, metadata)) in entries {
            match made {
                // What cannot lie there does not.
                Made::Entry(kind) => {
                    let entry = Entry::new(kind).with_metadata(metadata);
                    let _ = tree.insert(path(&name), entry);
                }
                Made::Link(to) => links.push((path(&name), to)),
            }
        }
        let is_file = |(path, entry): (EntryPath, Entry)| entry.kind.is_file().then_some(path);
        let files: Vec<_> = tree.iter().filter_map(is_file).collect();
        for (name, to) in links {
            if !files.is_empty() && !tree.contains(&name) {
                let _ = tree.insert(name, Entry::hardlink(to.get(&files).clone()));
            }
        }
        tree
    })
}

fn differences(before: &Tree, after: &Tree) -> String {
    let diff = repack::diff::diff(&Cx::default(), before, after).unwrap();
    diff.to_string()
}

/// Whether the targets of all links are text, as those in the index of eStargz must be.
fn is_text(tree: &Tree) -> bool {
    tree.iter().all(|(_, entry)| match entry.kind {
        Kind::Symlink(target) => str::from_utf8(&target).is_ok(),
        _ => true,
    })
}

fn links(tree: &Tree) -> usize {
    let is_link = |entry: &Entry| matches!(entry.kind, Kind::Hardlink(_));
    tree.iter().filter(|(_, entry)| is_link(entry)).count()
}

/// Whether a file system has attributes that belong to users.
fn has_attributes(dir: &Path) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir, "user.test", b"x", flags).is_ok()
}

/// As the user and the file system can have it.
fn possible(mut tree: Tree, dir: &Path) -> Tree {
    let user = fs::metadata(dir).unwrap();
    let attributes = has_attributes(dir);
    let mut devices = Vec::new();
    for (path, entry) in &tree {
        if matches!(entry.kind, Kind::CharDevice(_) | Kind::BlockDevice(_)) {
            devices.push(path);
        }
    }
    if user.uid() != 0 {
        tree.set_owner(&Pattern::all(), user.uid().into(), user.gid().into());
        for device in devices {
            tree.remove(&device);
        }
    }
    tree.for_each_metadata(|_, kind, metadata| {
        // Linux lets only these have attributes of users (xattr(7)).
        if !attributes || !matches!(kind, Kind::File(_) | Kind::Dir) {
            metadata.xattrs.clear();
        }
        if let Kind::Symlink(_) = kind {
            metadata.mode = 0o777;
        }
        if kind.is_dir() || kind.is_file() {
            // Whoever is not root must be able to read it again.
            metadata.mode |= 0o600;
        }
        if kind.is_dir() {
            metadata.mode |= 0o100;
        }
    });
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_layer_keeps_it(tree in trees(metadata(any::<u64>(), any::<i64>()))) {
        for first in sinks() {
            let layer = match write(&tree, &first) {
                Err(Error::Write { fault: Fault::NotText(_), .. }) if !is_text(&tree) => continue,
                layer => layer.unwrap().0,
            };
            let mut there = index_tar(layer).unwrap();
            for name in OF_ESTARGZ {
                there.remove(&path(name));
            }
            prop_assert_eq!(differences(&tree, &there), "", "{:?}", first);
            prop_assert_eq!(links(&tree), links(&there));
        }
    }

    #[test]
    fn a_directory_keeps_it(
        tree in trees(metadata(0..u64::from(u32::MAX), 0..1_i64 << 33)),
        threads in 1..4_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let tree = possible(tree, dir.path());
        let to = dir.path().join("root");
        let options = extract::Options::default()
            .with_owner(Owner::Kept)
            .with_special_bits(SpecialBits::Kept)
            .with_xattrs(Xattrs::Kept)
            .with_devices(Devices::Made)
            .with_symlinks(Symlinks::Any)
            .with_durability(Durability::None)
            .with_threads(threads.try_into().unwrap());
        extract::extract(&Cx::default(), &tree, &options, &to).unwrap();
        let options = dir::Options::default().with_attributes(Attributes::Everything);
        let back = dir::open(&Cx::default(), &to, &options, &SizeLimits::default()).unwrap();
        prop_assert_eq!(differences(&tree, &back), "");
        prop_assert_eq!(links(&tree), links(&back));
    }
}

#[test]
fn what_no_layer_can_hold_is_refused() {
    let refused_as = |tree: &Tree, compression| {
        let options = Options::default().with_compression(compression);
        let error = write(tree, &options).unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error:?}");
        crate::support::chain(&error)
    };
    let refused = |tree: &Tree| refused_as(tree, Compression::Gzip);
    let mut messages = Vec::new();
    for name in ["user.a=b", "user.a\0b", ""] {
        let mut tree = Tree::new();
        tree.insert(path("x"), Entry::file("")).unwrap();
        let metadata = tree.metadata_mut(&path("x")).unwrap();
        let value = Bytes::from("value");
        metadata.xattrs.insert(name.as_bytes().into(), value);
        messages.push(refused(&tree));
    }
    let device = Device {
        major: 1,
        minor: u32::MAX,
    };
    for kind in [
        Kind::Symlink("".into()),
        Kind::Symlink("a\0b".into()),
        Kind::CharDevice(device),
    ] {
        let mut tree = Tree::new();
        tree.insert(path("x"), Entry::new(kind)).unwrap();
        messages.push(refused(&tree));
    }
    let bytes = b"latin-\xe4";
    for name in [
        EntryPath::parse(bytes).unwrap(),
        path("link"),
        path("attribute"),
    ] {
        let mut tree = Tree::new();
        let link = Entry::symlink(if name == path("link") {
            &bytes[..]
        } else {
            b"x"
        });
        tree.insert(name.clone(), link).unwrap();
        if name == path("attribute") {
            let metadata = tree.metadata_mut(&name).unwrap();
            metadata.xattrs.insert((*bytes).into(), Bytes::new());
        }
        write(&tree, &Options::default()).unwrap();
        messages.push(refused_as(&tree, Compression::Estargz));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

/// As one that came out of an archive.
#[test]
fn what_cannot_be_written_is_found_in_its_archive() {
    let tar = {
        let device = member("null", EntryType::Char, b"", |header| {
            // GNU's base 256 has room for more than ustar has.
            let field = [0x80, 0, 0, 0, 0, 0x7f, 0xff, 0xff];
            header.as_mut_bytes()[337..345].copy_from_slice(&field);
        });
        build(&[file("first", b"1"), device])
    };
    let tree = index_tar(tar).unwrap();
    let error = write(&tree, &Options::default()).unwrap_err();
    insta::assert_snapshot!(crate::support::chain(&error), @r"
    entry `null` at byte 1024 of its archive cannot be written
      its header has no valid device number
    ");
    assert_eq!(error.offset(), Some(1024));
}
