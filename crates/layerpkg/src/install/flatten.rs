//! Layers as one tree (image-spec layer.md §Applying Changesets).

use std::collections::BTreeMap;

use repack::{Entry, EntryPath, Error, Kind, Tree};

/// Prefix of names that say what a layer removes (layer.md §Whiteouts).
const WHITEOUT: &[u8] = b".wh.";
/// Removes all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of aufs, which is no content.
const AUFS: &[u8] = b".wh..wh.";

/// Layers from the bottom up.
#[derive(Debug, Default)]
pub(super) struct Flat {
    tree: Tree,
    /// Files that are one file under several names: those with equal values.
    groups: BTreeMap<EntryPath, (usize, EntryPath)>,
    layers: usize,
}

impl Flat {
    /// Puts a layer on top.
    pub(super) fn add(&mut self, layer: &Tree) -> Result<(), Error> {
        // Whiteouts first: they only apply to what is below.
        for (path, _) in layer {
            self.remove(path)?;
        }
        for (path, entry) in layer {
            if !entry.kind.is_dir() {
                self.groups.remove(path);
            }
        }
        for (path, entry) in layer {
            if !is_whiteout(path) {
                self.put(layer, path, entry)?;
            }
        }
        self.layers += 1;
        Ok(())
    }

    /// All of it, with hard links between those names of a file that are left.
    pub(super) fn finish(mut self) -> Result<Tree, Error> {
        let mut first: BTreeMap<(usize, EntryPath), EntryPath> = BTreeMap::new();
        for (path, group) in self.groups {
            let Some(entry) = self.tree.get(&path).filter(|entry| entry.kind.is_file()) else {
                continue;
            };
            match first.get(&group) {
                Some(target) => {
                    let link = Entry {
                        kind: Kind::Hardlink(target.clone()),
                        metadata: entry.metadata.clone(),
                    };
                    self.tree.insert(path, link)?;
                }
                None => {
                    first.insert(group, path);
                }
            }
        }
        Ok(self.tree)
    }

    fn remove(&mut self, path: &EntryPath) -> Result<(), Error> {
        let name = path.file_name();
        let above = path.parent();
        if name == OPAQUE {
            let hidden: Vec<EntryPath> = match &above {
                Some(above) => self
                    .tree
                    .under(above)
                    .map(|(path, _)| path.clone())
                    .collect(),
                None => self.tree.iter().map(|(path, _)| path.clone()).collect(),
            };
            for path in hidden {
                self.tree.remove(&path);
            }
        } else if let Some(name) = name.strip_prefix(WHITEOUT)
            && !is_bookkeeping(path)
        {
            let name = EntryPath::parse(name)?;
            let path = match above {
                Some(above) => above.join(&name)?,
                None => name,
            };
            self.tree.remove(&path);
        }
        Ok(())
    }

    fn put(&mut self, layer: &Tree, path: &EntryPath, entry: &Entry) -> Result<(), Error> {
        let is_dir = |entry: &Entry| entry.kind.is_dir();
        if !(is_dir(entry) && self.tree.get(path).is_some_and(is_dir)) {
            self.tree.remove(path);
        } else if entry.metadata == Entry::dir().metadata {
            // Perhaps the layer has no header for it, and the tree made it: then it stays as it
            // was.
            return Ok(());
        }
        let entry = match &entry.kind {
            Kind::Hardlink(target) => self.linked(layer, path, target)?,
            _ => entry.clone(),
        };
        self.tree.insert(path.clone(), entry).map(drop)
    }

    /// The file that a link of the top layer names, in that layer or below.
    fn linked(
        &mut self,
        layer: &Tree,
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<Entry, Error> {
        let here = layer.get(target);
        let file = here.or_else(|| self.tree.get(target)).cloned();
        let Some(file) = file.filter(|entry| entry.kind.is_file()) else {
            return Err(Error::LinkTarget {
                path: path.clone(),
                target: target.clone(),
            });
        };
        let own = (self.layers, target.clone());
        let group = match here {
            Some(_) => own,
            None => self.groups.get(target).cloned().unwrap_or(own),
        };
        self.groups.insert(target.clone(), group.clone());
        self.groups.insert(path.clone(), group);
        Ok(file)
    }
}

fn is_whiteout(path: &EntryPath) -> bool {
    path.file_name().starts_with(WHITEOUT) || is_bookkeeping(path)
}

fn is_bookkeeping(path: &EntryPath) -> bool {
    path.components().any(|name| name.starts_with(AUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> EntryPath {
        path.parse().unwrap()
    }

    /// `name` a file with its name and the layer's number as content, `name/` a directory,
    /// `name>target` a hard link, `name@target` a symbolic link.
    fn layer(number: usize, entries: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for text in entries {
            let (name, entry) = if let Some((name, target)) = text.split_once('>') {
                (name, Entry::hardlink(path(target)))
            } else if let Some((name, target)) = text.split_once('@') {
                (name, Entry::symlink(target.to_owned()))
            } else if let Some(name) = text.strip_suffix('/') {
                (name, Entry::dir().with_mode(0o700))
            } else {
                (*text, Entry::file(format!("{text}{number}")))
            };
            tree.insert(path(name), entry).unwrap();
        }
        tree
    }

    fn flat(layers: &[&[&str]]) -> Result<String, Error> {
        let mut flat = Flat::default();
        for (number, entries) in layers.iter().enumerate() {
            flat.add(&layer(number, entries))?;
        }
        let tree = flat.finish()?;
        let lines = tree.iter().map(|(path, entry)| match &entry.kind {
            Kind::Dir => format!("{path}/{:o}", entry.metadata.mode),
            Kind::Hardlink(target) => format!("{path}>{target}"),
            Kind::Symlink(target) => format!("{path}@{}", String::from_utf8_lossy(target)),
            _ => format!(
                "{path}={}",
                String::from_utf8_lossy(&tree.read(path, 99).unwrap())
            ),
        });
        Ok(lines.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn layers_are_applied_in_order() {
        let check = |layers: &[&[&str]], expected: &str| {
            assert_eq!(flat(layers).unwrap(), expected, "{layers:?}");
        };
        check(&[&["a", "b"], &["b", "c"]], "a=a0 b=b1 c=c1");
        // Removed, with what is below, and only from below.
        check(
            &[&["a", "d/e", "d/f"], &[".wh.a", "d/.wh.e"]],
            "d/755 d/f=d/f0",
        );
        check(&[&["d/e/f"], &[".wh.d", "d/g"]], "d/755 d/g=d/g1");
        check(
            &[&["d/e", "d/f"], &["d/.wh..wh..opq", "d/g"]],
            "d/755 d/g=d/g1",
        );
        check(&[&["a", "d/e"], &[".wh..wh..opq", "b"]], "b=b1");
        check(
            &[&["a"], &[".wh.x", ".wh..wh.plnk", ".wh..wh.aufs/y"]],
            "a=a0",
        );
        // Another kind takes the place of all that was there.
        check(&[&["d/e"], &["d"]], "d=d1");
        check(&[&["d"], &["d/e"]], "d/755 d/e=d/e1");
        check(&[&["d@/etc"], &["d/e"]], "d/755 d/e=d/e1");
        // A directory that a layer only passes through stays as it was.
        check(&[&["d/"], &["d/e"]], "d/700 d/e=d/e1");
        check(&[&["d/e"], &["d/"]], "d/700 d/e=d/e0");
    }

    #[test]
    fn hard_links_survive_what_layers_do_to_their_targets() {
        let check = |layers: &[&[&str]], expected: &str| {
            assert_eq!(flat(layers).unwrap(), expected, "{layers:?}");
        };
        check(&[&["a", "b>a"]], "a=a0 b>a");
        check(&[&["a>z", "z"]], "a=z0 z>a");
        check(&[&["a", "b>a", "c>a"], &[".wh.a"]], "b=a0 c>b");
        check(&[&["a", "b>a"], &["a"]], "a=a1 b=a0");
        check(&[&["a"], &["b>a"], &["c>a"]], "a=a0 b>a c>a");
        let error = flat(&[&["a"], &["b>x"]]).unwrap_err();
        assert!(matches!(error, Error::LinkTarget { .. }));
    }

    #[test]
    fn a_whiteout_cannot_leave_its_directory() {
        for name in [".wh...", ".wh..", ".wh."] {
            let error = flat(&[&["a"], &[name]]).unwrap_err();
            assert!(matches!(error, Error::Path { .. }), "{name}");
        }
    }
}
