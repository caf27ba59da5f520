//! Messages that users can cause and that no hostile archive is needed for.

use std::fmt::Write as _;

use ocicore::SizeLimits;
use repack::{Cx, Entry, Keep, Pattern, Tree, into_layer, layer::Options, merge};

use crate::support::{chain, path, write};

#[test]
fn messages() {
    let cx = Cx::default();
    let limits = SizeLimits::default();
    let mut tree = Tree::new();
    tree.insert(path("dir/file"), Entry::file("hello")).unwrap();
    tree.insert(path("other"), Entry::file("hello")).unwrap();
    let mut dangling = Tree::new();
    dangling
        .insert(path("link"), Entry::hardlink(path("nowhere")))
        .unwrap();
    let other = {
        let mut other = Tree::new();
        other.insert(path("other"), Entry::file("world")).unwrap();
        other.insert(path("dir"), Entry::symlink("x")).unwrap();
        other
    };
    let sources = [("a".to_owned(), tree.clone()), ("b".to_owned(), other)];
    let edit =
        |tree: &mut Tree, at: &str, limit| tree.edit(&path(at), limit, |_| Err("no such line"));
    let options = Options::default();
    let errors = [
        repack::zip::open(&cx, "/proc/nowhere/job.zip", &limits).unwrap_err(),
        repack::tar::open(&cx, "/proc/nowhere/job.tar", &limits).unwrap_err(),
        into_layer(&cx, &tree, &options, "/proc/nowhere/layer.tar.gz").unwrap_err(),
        "[a".parse::<Pattern>().unwrap_err(),
        edit(&mut tree, "missing", 10).unwrap_err(),
        edit(&mut tree, "dir", 10).unwrap_err(),
        edit(&mut tree, "dir/file", 4).unwrap_err(),
        edit(&mut tree, "dir/file", 10).unwrap_err(),
        tree.rename(&path("dir"), &path("other")).unwrap_err(),
        tree.rename(&path("dir"), &path("other/x")).unwrap_err(),
        tree.insert(path("dir"), Entry::file("")).unwrap_err(),
        tree.insert(path("other/x"), Entry::file("")).unwrap_err(),
        merge(&cx, sources, &mut |_| Keep::Neither).unwrap_err(),
        write(&dangling, &options).unwrap_err(),
        write(&tree, &options.clone().with_level(13)).unwrap_err(),
    ];
    let mut out = String::new();
    for error in errors {
        writeln!(out, "{:?}: {}", error.class(), chain(&error)).unwrap();
    }
    insta::assert_snapshot!(out);
}
