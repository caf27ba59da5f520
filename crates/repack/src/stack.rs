//! Layers on top of one another (image-spec layer.md §Applying Changesets).

use std::{collections::BTreeSet, ops::Bound};

use crate::{EntryPath, Error, Kind, Result, Tree};

/// Hides what is of that name in the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that is in its directory in the layers below.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else begins so is for the driver that wrote the layer.
const RESERVED: &[u8] = b".wh..wh.";

impl Tree {
    /// Puts a layer on top: its whiteouts take away what they hide, its entries take the place
    /// of those that are there, and directories become one. A directory that the layer does not
    /// list itself keeps its mode and owner.
    ///
    /// ```
    /// use repack::{Entry, Tree};
    ///
    /// let mut tree = Tree::new();
    /// tree.insert("etc/motd".parse()?, Entry::file("hello"))?;
    /// let mut layer = Tree::new();
    /// layer.insert("etc/.wh.motd".parse()?, Entry::file(""))?;
    /// tree.apply_layer(layer)?;
    /// assert!(!tree.contains(&"etc/motd".parse()?));
    /// # Ok::<(), repack::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotDirectory`] if an entry lies under something that is not a directory, or is
    /// a symbolic link, below; [`Error::Path`] if a whiteout hides no possible name. Where these are of
    /// an archive, [`Error::Entry`] with the place in it.
    pub fn apply_layer(&mut self, layer: Self) -> Result<()> {
        let mut hidden = BTreeSet::new();
        for (path, item) in layer.items(Bound::Unbounded) {
            let name = path.file_name();
            if name == OPAQUE {
                match path.parent() {
                    Some(directory) => hidden.extend(self.under(&directory).map(|(path, _)| path)),
                    None => hidden.extend(self.iter().map(|(path, _)| path)),
                }
            } else if name.starts_with(WHITEOUT) && !name.starts_with(RESERVED) {
                let path = hidden_by(&path).map_err(|error| placed(error, &path, item.offset()))?;
                hidden.extend(self.with_all_under([path]));
            }
        }
        self.take(&hidden);
        for (path, item) in layer.items(Bound::Unbounded) {
            if path.components().any(|name| name.starts_with(WHITEOUT)) {
                continue;
            }
            if let Some(below) = self.get(&path) {
                match (&below.kind, &item.entry.kind) {
                    (Kind::Dir, Kind::Dir) => {
                        if !item.implied
                            && let Some(metadata) = self.metadata_mut(&path)
                        {
                            *metadata = item.entry.metadata;
                        }
                        continue;
                    }
                    // Whoever wrote the layer may have meant the directory behind the link.
                    (Kind::Symlink(_), Kind::Dir) if item.implied => {
                        // The directory is there for what is in it only.
                        let mut within = layer.under(&path).map(|(entry, _)| entry);
                        let entry = within
                            .find(|entry| !layer.is_implied(entry))
                            .unwrap_or_else(|| path.clone());
                        let error = Error::NotDirectory {
                            path: entry.clone(),
                            ancestor: path.clone(),
                        };
                        return Err(placed(error, &entry, layer.offset(&entry)));
                    }
                    _ => {
                        let replaced = self.with_all_under([path.clone()]);
                        self.take(&replaced);
                    }
                }
            }
            // All above it was put before.
            self.put(path, item)?;
        }
        Ok(())
    }
}

/// What a whiteout hides.
fn hidden_by(whiteout: &EntryPath) -> Result<EntryPath> {
    let name = EntryPath::parse(&whiteout.file_name()[WHITEOUT.len()..])?;
    match whiteout.parent() {
        Some(directory) => directory.join(&name),
        None => Ok(name),
    }
}

/// With its place in the archive, if the entry is from one.
fn placed(error: Error, path: &EntryPath, offset: Option<u64>) -> Error {
    match offset {
        Some(offset) => error.at(path.as_bytes(), offset),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn path(path: &str) -> EntryPath {
        path.parse().unwrap()
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::new();
        for (name, entry) in entries {
            tree.insert(path(name), entry.clone()).unwrap();
        }
        tree
    }

    fn check(below: &[(&str, Entry)], layer: &[(&str, Entry)], expected: &str) -> Tree {
        let mut stacked = tree(below);
        stacked.apply_layer(tree(layer)).unwrap();
        let names: Vec<_> = stacked.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(names.join(" "), expected);
        stacked
    }

    #[test]
    fn whiteouts_hide_only_what_is_below() {
        let (file, dir) = (|| Entry::file("x"), Entry::dir);
        let below = [("d/a", file()), ("d/b/c", file()), ("e", file())];
        check(&below, &[("d/.wh.a", file())], "d d/b d/b/c e");
        check(&below, &[("d/.wh.b", file())], "d d/a e");
        check(&below, &[(".wh.d", file()), ("f", file())], "e f");
        check(
            &below,
            &[("d/.wh..wh..opq", file()), ("d/n", file())],
            "d d/n e",
        );
        check(&below, &[(".wh..wh..opq", file()), ("n", file())], "n");
        // In one layer a whiteout and a new entry of the name: the new one stays.
        check(&below, &[(".wh.d", file()), ("d/n", file())], "d d/n e");
        check(&below, &[(".wh.missing", file())], "d d/a d/b d/b/c e");
        check(&below, &[(".wh..wh.plnk/1.2", file())], "d d/a d/b d/b/c e");
        check(&below, &[("d", file())], "d e");
        check(
            &below,
            &[("e", dir()), ("e/x", file())],
            "d d/a d/b d/b/c e e/x",
        );
    }

    #[test]
    fn directories_keep_their_mode_unless_the_layer_lists_them() {
        let below = [
            ("d", Entry::dir().with_mode(0o700)),
            ("d/a", Entry::file("")),
        ];
        let mode = |tree: &Tree| tree.get(&path("d")).unwrap().metadata.mode;
        let tree = check(&below, &[("d/b", Entry::file(""))], "d d/a d/b");
        assert_eq!(mode(&tree), 0o700);
        let tree = check(&below, &[("d", Entry::dir())], "d d/a");
        assert_eq!(mode(&tree), 0o755);
    }

    #[test]
    fn links_keep_what_they_had() {
        let below = [("a", Entry::file("old")), ("b", Entry::hardlink(path("a")))];
        for layer in [("a", Entry::file("new")), (".wh.a", Entry::file(""))] {
            let mut stacked = tree(&below);
            stacked.apply_layer(tree(&[layer])).unwrap();
            assert_eq!(stacked.read(&path("b"), 10).unwrap(), "old");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let mut stacked = tree(&[("lib", Entry::symlink("/usr/lib"))]);
        let result = stacked.apply_layer(tree(&[("lib/x", Entry::file(""))]));
        assert!(matches!(result, Err(Error::NotDirectory { .. })));
        let result = stacked.apply_layer(tree(&[(".wh...", Entry::file(""))]));
        assert!(matches!(result, Err(Error::Path { .. })));
    }
}
