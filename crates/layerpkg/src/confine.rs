//! What a tree must not have before it is unpacked.

use repack::{EntryPath, Kind, Tree};

use crate::{Error, Result};

/// Most links on the way of one path, as Linux has it.
const LONGEST_CHAIN: usize = 40;

/// Where a path of a tree leads, all links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Here, whether there is something or not.
    Inside(EntryPath),
    /// To the top of the tree.
    Top,
    /// Out of the tree.
    Outside,
    /// In a circle.
    Nowhere,
}

/// Refuses links that lead out of the tree, devices and named pipes.
///
/// A tree has nothing under a link, so that unpacking it follows none; this is for whoever uses
/// the files.
pub(crate) fn check(tree: &Tree) -> Result<()> {
    for (path, entry) in tree {
        let kind = match &entry.kind {
            Kind::File(_) | Kind::Dir | Kind::Hardlink(_) => continue,
            Kind::Symlink(target) => {
                if resolve(tree, &path) == Target::Outside {
                    return Err(Error::Escape {
                        path,
                        target: target.escape_ascii().to_string(),
                    });
                }
                continue;
            }
            Kind::Fifo => "named pipe",
            _ => "device",
        };
        return Err(Error::Special { path, kind });
    }
    Ok(())
}

/// Follows links as the kernel does: `..` is above where a link led, not above its name.
pub(crate) fn resolve(tree: &Tree, path: &EntryPath) -> Target {
    let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
    let mut at: Vec<EntryPath> = Vec::new();
    let mut links = 0;
    while let Some(component) = todo.pop() {
        match &*component {
            b"" | b"." => continue,
            b".." => {
                if at.pop().is_none() {
                    return Target::Outside;
                }
                continue;
            }
            _ => {}
        }
        let next = EntryPath::parse(&component).and_then(|name| match at.last() {
            Some(above) => above.join(&name),
            None => Ok(name),
        });
        // Too long to be there.
        let Ok(next) = next else {
            return Target::Nowhere;
        };
        match tree.get(&next).map(|entry| entry.kind) {
            Some(Kind::Symlink(target)) => {
                links += 1;
                if links > LONGEST_CHAIN {
                    return Target::Nowhere;
                }
                if target.starts_with(b"/") {
                    return Target::Outside;
                }
                todo.extend(target.rsplit(|&byte| byte == b'/').map(<[u8]>::to_vec));
            }
            _ => at.push(next),
        }
    }
    at.pop().map_or(Target::Top, Target::Inside)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use proptest::prelude::*;
    use repack::{Device, Entry};

    use super::*;

    fn path(path: &str) -> EntryPath {
        path.parse().unwrap()
    }

    fn tree(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        tree.insert(path("sub/deep/file"), Entry::file("x"))
            .unwrap();
        for (name, target) in links {
            tree.insert(path(name), Entry::symlink(target.to_string()))
                .unwrap();
        }
        tree
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let check = |links: &[(&str, &str)], expected: Target| {
            assert_eq!(resolve(&tree(links), &path("l")), expected, "{links:?}");
        };
        let inside = |text: &str| Target::Inside(path(text));
        check(&[("l", "sub/deep/file")], inside("sub/deep/file"));
        check(&[("l", "./sub//deep/../x")], inside("sub/x"));
        check(&[("l", "missing/../x")], inside("x"));
        check(&[("l", ".")], Target::Top);
        check(&[("l", "sub/..")], Target::Top);
        check(&[("l", "..")], Target::Outside);
        check(&[("l", "sub/../..")], Target::Outside);
        check(&[("l", "/etc/passwd")], Target::Outside);
        check(&[("l", "m"), ("m", "l")], Target::Nowhere);
        // By its text this one stays inside, but `d` is the top.
        check(&[("d", "."), ("l", "d/..")], Target::Outside);
        check(&[("sub/d", "../.."), ("l", "sub/d/x")], Target::Outside);
        // By its text this one leaves.
        check(&[("d", "sub/deep"), ("l", "d/../../x")], inside("x"));
    }

    #[test]
    fn only_files_directories_and_links_inside_are_unpacked() {
        assert!(check(&tree(&[("a", "sub"), ("b", "b")])).is_ok());
        let error = check(&tree(&[("sub/l", "../../x")])).unwrap_err();
        insta::assert_snapshot!(error);
        let device = Device { major: 1, minor: 3 };
        for kind in [
            Kind::CharDevice(device),
            Kind::BlockDevice(device),
            Kind::Fifo,
        ] {
            let mut tree = tree(&[]);
            tree.insert(path("null"), Entry::new(kind)).unwrap();
            assert!(matches!(check(&tree), Err(Error::Special { .. })));
        }
    }

    proptest! {
        /// What the kernel finds by a path is what we say that it finds.
        #[test]
        fn links_lead_where_the_kernel_says(
            targets in prop::collection::vec("(a|b|c|d|\\.|\\.\\.)(/(a|b|c|e|\\.\\.)){0,3}", 4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let top = folder.path().canonicalize().unwrap();
            fs::create_dir_all(top.join("d/e")).unwrap();
            let mut tree = Tree::new();
            tree.insert(path("d/e"), Entry::dir()).unwrap();
            for (name, target) in ["a", "b", "d/c", "d/e/a"].iter().zip(&targets) {
                symlink(target, top.join(name)).unwrap();
                tree.insert(path(name), Entry::symlink(target.clone())).unwrap();
            }
            for name in ["a", "b", "d/c", "d/e/a"] {
                let Ok(real) = top.join(name).canonicalize() else {
                    continue;
                };
                let expected = match real.strip_prefix(&top) {
                    Ok(rest) if rest.as_os_str().is_empty() => Target::Top,
                    Ok(rest) => Target::Inside(path(rest.to_str().unwrap())),
                    Err(_) => Target::Outside,
                };
                prop_assert_eq!(resolve(&tree, &path(name)), expected, "{} {:?}", name, targets);
            }
        }
    }
}
