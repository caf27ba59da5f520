//! What is on the disk before it becomes visible, as the kernel sees it.

use std::{
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
};

use ocicore::{Cx, conformance::peer::peer};
use repack::{
    Entry, Tree,
    extract::{Durability, Options, extract},
    into_layer, layer,
};

use crate::support::path;

/// Tells the test that it is the one that is watched, and where to write.
const INTO: &str = "GANTRY_TEST_DURABLE_INTO";

/// Each in a directory of its own, which is there already.
fn write_all(tree: &Tree, into: &Path) {
    let cx = Cx::default();
    for (name, durability) in [
        ("none", Durability::None),
        ("files", Durability::Files),
        ("system", Durability::FileSystem),
    ] {
        // A call that another thread interrupts is shown in two parts.
        let options = Options::default()
            .with_durability(durability)
            .with_threads(NonZero::<usize>::MIN);
        extract(&cx, tree, &options, into.join(name).join("root")).unwrap();
    }
    let layer = into.join("layer").join("layer.tar.gz");
    into_layer(&cx, tree, &layer::Options::default(), layer).unwrap();
}

/// Calls in order: `fsync(5</path>) = 0`, `renameat2(AT_FDCWD</>, "a", AT_FDCWD</>, "b", …) = 0`.
fn calls(trace: &Path) -> Vec<String> {
    let trace = fs::read_to_string(trace).unwrap();
    let calls = trace.lines().filter(|line| line.ends_with("= 0"));
    // The number of the thread comes first.
    let calls = calls.filter_map(|line| line.split_once(char::is_whitespace));
    calls.map(|(_, call)| call.trim().to_owned()).collect()
}

#[test]
fn what_becomes_visible_is_on_the_disk() {
    let mut tree = Tree::new();
    for name in ["a", "d/b", "d/e/c"] {
        tree.insert(path(name), Entry::file(name)).unwrap();
    }
    tree.insert(path("d/link"), Entry::symlink("b")).unwrap();
    if let Some(into) = env::var_os(INTO) {
        return write_all(&tree, Path::new(&into));
    }
    let Some(strace) = peer("STRACE") else { return };
    let temporary = tempfile::tempdir().unwrap();
    // Paths come resolved.
    let outer = temporary.path().canonicalize().unwrap();
    let (into, trace) = (outer.join("into"), outer.join("trace"));
    for name in ["none", "files", "system", "layer"] {
        fs::create_dir_all(into.join(name)).unwrap();
    }
    let watched = Command::new(strace)
        .args(["--follow-forks", "--decode-fds=path", "--string-limit=400"])
        .args(["--quiet=all", "--output"])
        .arg(&trace)
        .arg("--trace=fsync,fdatasync,syncfs,rename,renameat,renameat2")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "durability::what_becomes_visible_is_on_the_disk"])
        .env(INTO, &into)
        .output()
        .unwrap();
    assert!(watched.status.success(), "{watched:?}");
    let calls = calls(&trace);
    let of = |name: &str| -> (Vec<&String>, Vec<&String>, PathBuf) {
        let directory = into.join(name);
        let begins = format!("{}", directory.display());
        let mut of = calls.iter().filter(|call| call.contains(&begins));
        let to = |call: &str| call.contains(&format!("\"{begins}/"));
        let before = of
            .by_ref()
            .take_while(|call| !(call.starts_with("rename") && to(call)));
        (before.collect(), of.collect(), directory)
    };

    let (before, after, _) = of("none");
    assert!(
        before.is_empty() && after.is_empty(),
        "{before:?} {after:?}"
    );
    let root = into.join("none/root").display().to_string();
    assert!(calls.iter().any(|call| call.contains(&root)), "{calls:?}");

    let (before, after, directory) = of("system");
    let [synced] = &before[..] else {
        panic!("{before:?}")
    };
    assert!(synced.starts_with("syncfs("), "{synced}");
    let parent = format!("{}>) = 0", directory.display());
    assert!(
        matches!(&after[..], [synced] if synced.ends_with(&parent)),
        "{after:?}"
    );

    let (before, after, _) = of("files");
    for (path, entry) in &tree {
        let synced = format!("/{path}>) = 0");
        let is_synced = before
            .iter()
            .any(|call| call.starts_with("fsync(") && call.ends_with(&synced));
        assert_eq!(
            is_synced,
            entry.kind.is_file() || entry.kind.is_dir(),
            "{path}: {before:?}"
        );
    }
    assert_eq!(after.len(), 1, "{after:?}");

    let (before, after, _) = of("layer");
    let file = before.last().unwrap();
    assert!(
        file.starts_with("fsync(") && file.contains("/.layer-"),
        "{file}"
    );
    assert_eq!(after.len(), 1, "{after:?}");
}
