//! Directories and trees, in the same words.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use repack::{Entry, Kind, Tree};

/// What is in a directory: names, modes, content.
pub(crate) fn on_disk(root: &Path) -> Vec<String> {
    fn walk(root: &Path, at: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                out.push(format!(
                    "{name} -> {}",
                    fs::read_link(&path).unwrap().display()
                ));
            } else if metadata.is_dir() {
                out.push(format!("{name}/ {mode:o}"));
                walk(root, &path, out);
            } else {
                let digest = ocicore::Digest::of(&fs::read(&path).unwrap());
                out.push(format!("{name} {mode:o} {digest}"));
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.sort();
    out
}

/// The same of a tree.
pub(crate) fn expected(tree: &Tree) -> Vec<String> {
    let line = |(name, entry): (repack::EntryPath, Entry)| {
        let mode = entry.metadata.mode;
        match &entry.kind {
            Kind::Dir => format!("{name}/ {mode:o}"),
            Kind::Symlink(target) => format!("{name} -> {}", target.escape_ascii()),
            Kind::Hardlink(target) => {
                let mode = tree.get(target).unwrap().metadata.mode;
                let digest = ocicore::Digest::of(&tree.read(&name, 64 << 20).unwrap());
                format!("{name} {mode:o} {digest}")
            }
            _ => {
                let digest = ocicore::Digest::of(&tree.read(&name, 64 << 20).unwrap());
                format!("{name} {mode:o} {digest}")
            }
        }
    };
    let mut out: Vec<_> = tree.iter().map(line).collect();
    out.sort();
    out
}
