//! Trees on disk: whole or not at all, and never outside.

use std::{
    fs,
    num::NonZero,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use repack::{
    Cx, Device, Entry, Error, Kind, Mtime, Pattern, Tree,
    extract::{Durability, Existing, Options, Owner, SpecialBits, Symlinks, extract},
};

use crate::support::{
    chain,
    disk::{expected, on_disk},
    index_zip, path, text,
    zip::{Member, build},
};

fn options() -> Options {
    Options::default().with_durability(Durability::None)
}

fn tree() -> Tree {
    let zip = build(&[
        Member::deflated("lib/a.jar", &text(700_000, 1)),
        Member::deflated("bin/run.sh", b"#!/bin/sh\n").with(|m| m.st_mode = 0o100_755),
        Member::stored("bin/link", b"run.sh").with(|m| m.st_mode = 0o120_777),
        Member::stored("closed/", b"").with(|m| m.st_mode = 0o40_555),
        Member::stored("closed/file", b"x").with(|m| m.st_mode = 0o100_444),
        Member::deflated("zeros", &vec![0; 3 << 20]),
    ]);
    let mut tree = index_zip(zip).unwrap();
    tree.insert(path("a-hard-link"), Entry::hardlink(path("lib/a.jar")))
        .unwrap();
    tree.insert(path("fifo"), Entry::new(Kind::Fifo)).unwrap();
    tree.set_mtime(
        &Pattern::all(),
        Mtime {
            seconds: 1_500_000_000,
            nanoseconds: 7,
        },
    );
    tree
}

/// What is beside the destination when all is over.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn all_kinds_arrive_with_modes_and_times() {
    for threads in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("root");
        let mut tree = tree();
        let options = options().with_threads(NonZero::new(threads).unwrap());
        extract(&Cx::default(), &tree, &options, &to).unwrap();
        for name in ["lib", "closed/file", "fifo", "bin/link", "zeros"] {
            let metadata = to.join(name).symlink_metadata().unwrap();
            assert_eq!(
                (metadata.mtime(), metadata.mtime_nsec()),
                (1_500_000_000, 7),
                "{name}"
            );
        }
        let inode = |name: &str| to.join(name).metadata().unwrap().ino();
        assert_eq!(inode("a-hard-link"), inode("lib/a.jar"));
        assert!(
            to.join("zeros").metadata().unwrap().blocks() * 512 < 3 << 20,
            "a hole"
        );
        // Reading a fifo would wait for a writer.
        fs::remove_file(to.join("fifo")).unwrap();
        tree.remove(&path("fifo"));
        assert_eq!(on_disk(&to), expected(&tree));
        assert_eq!(names(dir.path()), ["root"]);
    }
}

#[test]
fn special_bits_and_owners_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    tree.insert(path("su"), Entry::file("").with_mode(0o4755))
        .unwrap();
    let mode = |to: &Path| to.join("su").metadata().unwrap().permissions().mode() & 0o7777;
    let to = dir.path().join("cleared");
    extract(&Cx::default(), &tree, &options(), &to).unwrap();
    assert_eq!(mode(&to), 0o755);
    let metadata = to.join("su").metadata().unwrap();
    let (uid, gid) = (metadata.uid(), metadata.gid());
    // Whoever runs the tests may give files to themselves.
    tree.set_owner(&Pattern::all(), uid.into(), gid.into());
    let to = dir.path().join("kept");
    let options = options()
        .with_special_bits(SpecialBits::Kept)
        .with_owner(Owner::Kept);
    extract(&Cx::default(), &tree, &options, &to).unwrap();
    assert_eq!(mode(&to), 0o4755);
    let metadata = to.join("su").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
}

#[test]
fn owners_are_given_by_those_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    for (name, entry) in [
        ("d/file", Entry::file("x").with_mode(0o6755)),
        ("d/link", Entry::symlink("file")),
        ("fifo", Entry::new(Kind::Fifo)),
    ] {
        tree.insert(path(name), entry).unwrap();
    }
    tree.set_owner(&Pattern::all(), 1234, 5678);
    let to = dir.path().join("root");
    // By default whoever extracts is the owner.
    extract(&Cx::default(), &tree, &options(), &to).unwrap();
    let owner = |name: &str| {
        let metadata = to.join(name).symlink_metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    let metadata = dir.path().metadata().unwrap();
    assert_eq!(owner("d/file"), (metadata.uid(), metadata.gid()));
    let kept = options()
        .with_owner(Owner::Kept)
        .with_special_bits(SpecialBits::Kept)
        .with_existing(Existing::Replaced);
    match extract(&Cx::default(), &tree, &kept, &to) {
        Ok(()) => {
            for name in ["d", "d/file", "d/link", "fifo"] {
                assert_eq!(owner(name), (1234, 5678), "{name}");
            }
            let mode = to.join("d/file").metadata().unwrap().mode();
            assert_eq!(mode & 0o7777, 0o6755, "which a new owner takes away");
        }
        Err(error) => {
            assert_eq!(error.class(), ocicore::Class::Denied, "{error}");
            assert_eq!(owner("d/file"), (metadata.uid(), metadata.gid()));
        }
    }
    assert_eq!(names(dir.path()), ["root"]);
}

#[test]
fn what_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("root");
    let with = |name: &str, entry: Entry| {
        let mut tree = tree();
        tree.insert(path(name), entry).unwrap();
        tree
    };
    let lying = {
        let bad = Member::deflated("z", &text(9000, 1)).with(|member| member.crc ^= 1);
        index_zip(build(&[Member::stored("a", b"x"), bad])).unwrap()
    };
    let device = Entry::new(Kind::CharDevice(Device { major: 1, minor: 3 }));
    let cases = [
        lying,
        with("null", device),
        with("d/out", Entry::symlink("../../etc")),
        with("abs", Entry::symlink("/etc/passwd")),
        with("dangling", Entry::hardlink(path("nowhere"))),
        {
            let mut tree = tree();
            tree.metadata_mut(&path("zeros")).unwrap().uid = 1 << 40;
            tree
        },
    ];
    let mut messages = Vec::new();
    for tree in cases {
        let options = options().with_owner(Owner::Kept);
        let error = extract(&Cx::default(), &tree, &options, &to).unwrap_err();
        messages.push(chain(&error));
        assert_eq!(names(dir.path()), [""; 0]);
    }
    let cx = Cx::default();
    cx.cancel();
    let error = extract(&cx, &tree(), &options(), &to).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert_eq!(names(dir.path()), [""; 0]);
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn links_to_anywhere_are_made_only_when_asked_for_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut tree = Tree::new();
    let target = outside.to_str().unwrap().to_owned();
    tree.insert(path("link"), Entry::symlink(target)).unwrap();
    // Below the link nothing can be inserted.
    let error = tree.insert(path("link/evil"), Entry::file("")).unwrap_err();
    assert!(matches!(error, Error::NotDirectory { .. }));
    let to = dir.path().join("root");
    let options = options().with_symlinks(Symlinks::Any);
    extract(&Cx::default(), &tree, &options, &to).unwrap();
    assert_eq!(fs::read_link(to.join("link")).unwrap(), outside);
    let mode = |path: &Path| path.metadata().unwrap().mode();
    let before = (mode(&outside), outside.metadata().unwrap().mtime());
    assert_eq!(names(&outside), [""; 0]);
    assert_eq!(
        (mode(&outside), outside.metadata().unwrap().mtime()),
        before
    );
}

#[test]
fn what_is_there_is_replaced_in_one_step_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("root");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("old"), "old").unwrap();
    fs::create_dir(to.join("closed")).unwrap();
    fs::set_permissions(to.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let mut tree = Tree::new();
    tree.insert(path("new"), Entry::file("new")).unwrap();
    let error = extract(&Cx::default(), &tree, &options(), &to).unwrap_err();
    let message = chain(&error).replace(dir.path().to_str().unwrap(), "<dir>");
    insta::assert_snapshot!(message, @r"
    failed to extract to `<dir>/root`
      entity already exists
    ");
    assert_eq!(names(&to), ["closed", "old"]);
    let replaced = options().with_existing(Existing::Replaced);
    extract(&Cx::default(), &tree, &replaced, &to).unwrap();
    assert_eq!(names(&to), ["new"]);
    assert_eq!(names(dir.path()), ["root"]);
    let file_system = replaced.with_durability(Durability::FileSystem);
    extract(&Cx::default(), &tree, &file_system, &to).unwrap();
    assert_eq!(names(dir.path()), ["root"]);
}
