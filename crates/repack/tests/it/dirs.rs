//! Directories as trees.

use std::{fs, os::unix::fs::PermissionsExt};

use ocicore::SizeLimits;
use repack::{
    Cx, Error, Ignore, Tree,
    dir::{self, Attributes, Options},
};

use crate::support::{chain, disk::expected, disk::on_disk, gunzip, gzip, text};

fn open(root: &tempfile::TempDir, options: &Options) -> Tree {
    dir::open(&Cx::default(), root, options, &SizeLimits::default()).unwrap()
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("src/deep")).unwrap();
    fs::create_dir_all(at("target/debug")).unwrap();
    fs::write(at("src/deep/a.rs"), text(2 << 20, 1)).unwrap();
    fs::write(at("run.sh"), "#!/bin/sh\n").unwrap();
    fs::write(at("target/debug/x"), "x").unwrap();
    fs::write(at("target/keep"), "x").unwrap();
    fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(at("src"), fs::Permissions::from_mode(0o770)).unwrap();
    std::os::unix::fs::symlink("run.sh", at("link")).unwrap();
    root
}

#[test]
fn modes_are_by_rule_or_from_the_disk() {
    let root = root();
    let kept = open(
        &root,
        &Options::default().with_attributes(Attributes::OfDisk),
    );
    assert_eq!(expected(&kept), on_disk(root.path()));
    let by_rule = open(&root, &Options::default());
    let modes: Vec<_> = by_rule
        .iter()
        .map(|(path, entry)| format!("{:o} {path}", entry.metadata.mode))
        .collect();
    assert_eq!(
        modes.join("\n"),
        "777 link\n755 run.sh\n755 src\n755 src/deep\n644 src/deep/a.rs\n755 target\n\
         755 target/debug\n644 target/debug/x\n644 target/keep"
    );
    // The same files made by somebody else at another time give the same layer.
    let other = self::root();
    fs::set_permissions(other.path().join("src"), fs::Permissions::from_mode(0o755)).unwrap();
    let layer = gzip(&open(&other, &Options::default()));
    assert!(layer == gzip(&by_rule));
    assert!(!gunzip(&layer).is_empty());
}

#[test]
fn ignored_files_are_left_out_unless_taken_back() {
    let names = |text: &str| {
        let ignore = Ignore::parse(text).unwrap();
        let tree = open(&root(), &Options::default().with_ignore(ignore));
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        names.join(" ")
    };
    assert_eq!(names("target\nsrc"), "link run.sh");
    let expected = "link run.sh target target/keep";
    assert_eq!(names("target\nsrc\n!target/keep"), expected);
}

#[test]
fn what_cannot_be_read_is_named() {
    let root = root();
    let tree = open(&root, &Options::default());
    fs::remove_file(root.path().join("run.sh")).unwrap();
    let error = tree.read(&"run.sh".parse().unwrap(), 100).unwrap_err();
    let message = chain(&error).replace(root.path().to_str().unwrap(), "<dir>");
    insta::assert_snapshot!(message, @r"
    failed to open `<dir>/run.sh`
      No such file or directory (os error 2)
    ");
    fs::write(root.path().join("run.sh"), "").unwrap();
    let error = tree.read(&"run.sh".parse().unwrap(), 100).unwrap_err();
    assert!(
        matches!(error, Error::Entry { .. }),
        "cut meanwhile: {error}"
    );
    // As Docker does it.
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
    let limits = SizeLimits::default();
    let (cx, options) = (Cx::default(), Options::default());
    let tree = dir::open(&cx, &root, &options, &limits).unwrap();
    assert!(tree.contains(&"run.sh".parse().unwrap()));
    assert!(!tree.contains(&"s".parse().unwrap()), "passed over");
    let error = dir::open(&cx, &root, &options, &limits.with_entries(1)).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
}
