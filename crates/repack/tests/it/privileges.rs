//! What only some users may make: attributes, devices, owners; and what inherits from its place.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
};

use bytes::Bytes;
use ocicore::Class;
use repack::{
    Cx, Device, Entry, Error, Kind, Tree,
    extract::{Devices, Durability, Names, Options, SpecialBits, Xattrs, extract},
};

use crate::support::{chain, path};

fn options() -> Options {
    Options::default().with_durability(Durability::None)
}

fn one(name: &str, entry: Entry) -> Tree {
    let mut tree = Tree::new();
    tree.insert(path(name), entry).unwrap();
    tree
}

fn attribute(of: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 100];
    let len = rustix::fs::lgetxattr(of, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

fn with_attributes(names: &[&str]) -> Tree {
    let mut tree = one("d/file", Entry::file("x").with_mode(0o444));
    for at in ["d", "d/file"] {
        let metadata = tree.metadata_mut(&path(at)).unwrap();
        for name in names {
            let value = Bytes::from(format!("value of {at}"));
            metadata.xattrs.insert(name.as_bytes().into(), value);
        }
    }
    tree
}

#[test]
fn attributes_are_written_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let tree = with_attributes(&["user.a"]);
    let to = dir.path().join("dropped");
    extract(&Cx::default(), &tree, &options(), &to).unwrap();
    assert_eq!(attribute(&to.join("d/file"), "user.a"), None);

    let kept = options().with_xattrs(Xattrs::Kept);
    let to = dir.path().join("kept");
    match extract(&Cx::default(), &tree, &kept, &to) {
        Ok(()) => {
            for at in ["d", "d/file"] {
                let expected = format!("value of {at}").into_bytes();
                assert_eq!(attribute(&to.join(at), "user.a"), Some(expected));
            }
        }
        // The temporary directory's file system has none.
        Err(error) => assert!(chain(&error).contains("attribute `user.a`"), "{error}"),
    }
}

#[test]
fn attributes_that_are_refused_are_an_error_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    // No namespace is called so, and no user may make one.
    let tree = with_attributes(&["nobody.knows", "user.a"]);
    let to = dir.path().join("root");
    let kept = options().with_xattrs(Xattrs::Kept);
    let error = extract(&Cx::default(), &tree, &kept, &to).unwrap_err();
    insta::assert_snapshot!(chain(&error), @r"
    failed to extract `d/file`
      attribute `nobody.knows`
      Operation not supported (os error 95)
    ");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let possible = options().with_xattrs(Xattrs::WherePossible);
    extract(&Cx::default(), &tree, &possible, &to).unwrap();
    let mode = to.join("d/file").metadata().unwrap().mode() & 0o777;
    assert_eq!(mode, 0o444, "also of a file that nobody may write");
}

#[test]
fn devices_are_made_by_those_who_may() {
    let dir = tempfile::tempdir().unwrap();
    let device = Entry::new(Kind::CharDevice(Device { major: 1, minor: 3 }));
    let mut tree = one("dev/null", device.with_mode(0o666));
    tree.insert(path("dev/x"), Entry::file("")).unwrap();
    let to = dir.path().join("refused");
    let error = extract(&Cx::default(), &tree, &options(), &to).unwrap_err();
    assert!(matches!(error, Error::Device { .. }), "{error}");

    let skipped = options().with_devices(Devices::Skipped);
    let to = dir.path().join("skipped");
    extract(&Cx::default(), &tree, &skipped, &to).unwrap();
    let names: Vec<_> = fs::read_dir(to.join("dev")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");

    let made = options().with_devices(Devices::Made);
    let to = dir.path().join("made");
    match extract(&Cx::default(), &tree, &made, &to) {
        Ok(()) => {
            let metadata = to.join("dev/null").symlink_metadata().unwrap();
            assert!(metadata.file_type().is_char_device());
            assert_eq!(metadata.rdev(), rustix::fs::makedev(1, 3));
            assert_eq!(metadata.mode() & 0o7777, 0o666, "without the umask");
            assert_eq!(metadata.mtime(), 1);
        }
        Err(error) => {
            assert_eq!(error.class(), Class::Denied, "{error}");
            assert!(!to.exists());
        }
    }
}

#[test]
fn nothing_is_inherited_from_the_place() {
    let dir = tempfile::tempdir().unwrap();
    // Directories in a directory with setgid have it, too.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2775)).unwrap();
    let mut tree = one("d/e/file", Entry::file("x").with_mode(0o666));
    tree.metadata_mut(&path("d")).unwrap().mode = 0o777;
    tree.metadata_mut(&path("d/e")).unwrap().mode = 0o1777;
    for (special_bits, expected) in [(SpecialBits::Cleared, 0o777), (SpecialBits::Kept, 0o1777)] {
        let to = dir.path().join(format!("{special_bits:?}"));
        let options = options().with_special_bits(special_bits);
        extract(&Cx::default(), &tree, &options, &to).unwrap();
        let mode = |name: &str| to.join(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode("d"), 0o777);
        assert_eq!(mode("d/e"), expected);
        assert_eq!(mode("d/e/file"), 0o666, "whatever the umask");
    }
}

#[test]
fn directories_that_nobody_may_change_are_filled_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    for at in 0..300 {
        let name = format!("closed/deep/{at}");
        tree.insert(path(&name), Entry::file("x")).unwrap();
    }
    tree.insert(path("closed/link"), Entry::hardlink(path("closed/deep/0")))
        .unwrap();
    for closed in ["closed", "closed/deep"] {
        tree.metadata_mut(&path(closed)).unwrap().mode = 0o500;
    }
    let to = dir.path().join("root");
    let synced = options().with_durability(Durability::Files);
    extract(&Cx::default(), &tree, &synced, &to).unwrap();
    for closed in ["closed", "closed/deep"] {
        let metadata = to.join(closed).metadata().unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.mtime()), (0o500, 1));
    }
    let inode = |name: &str| to.join(name).metadata().unwrap().ino();
    assert_eq!(inode("closed/link"), inode("closed/deep/0"));
    assert_eq!(fs::read_dir(to.join("closed/deep")).unwrap().count(), 300);
}

#[test]
fn names_that_differ_in_case_are_refused_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = one("Lib/a", Entry::file(""));
    tree.insert(path("lib/b"), Entry::file("")).unwrap();
    let names = options().with_names(Names::CaseInsensitive);
    let to = dir.path().join("root");
    let error = extract(&Cx::default(), &tree, &names, &to).unwrap_err();
    insta::assert_snapshot!(chain(&error), @"entry `lib` differs from `Lib` in the case of letters only");
    assert_eq!(error.class(), Class::Conflict);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    tree.remove(&path("lib"));
    extract(&Cx::default(), &tree, &names, &to).unwrap();
}

#[test]
fn holes_are_kept_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let block = 64 << 10;
    let mut contents = Vec::new();
    for holes in 0..32_u32 {
        // Five blocks, of which these are zeros; and a rest.
        let mut content = Vec::new();
        for at in 0..5 {
            let byte = if holes & 1 << at == 0 { b'x' } else { 0 };
            content.resize(content.len() + block, byte);
        }
        contents.push(content.clone());
        content.extend([0; 100]);
        contents.push(content);
    }
    let mut tree = Tree::new();
    for (at, content) in contents.iter().enumerate() {
        let entry = Entry::file(content.clone());
        tree.insert(path(&format!("{at:02}")), entry).unwrap();
    }
    let to = dir.path().join("root");
    extract(&Cx::default(), &tree, &options(), &to).unwrap();
    for (at, content) in contents.iter().enumerate() {
        assert!(
            fs::read(to.join(format!("{at:02}"))).unwrap() == *content,
            "{at}"
        );
    }
    let zeros = to.join("62").metadata().unwrap();
    assert_eq!((zeros.len(), zeros.blocks()), (5 * block as u64, 0));
}
