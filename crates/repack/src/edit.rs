//! Edits of a whole tree. Each either succeeds or leaves the tree as it was.

use std::{collections::BTreeSet, ops::Bound};

use crate::{Entry, EntryPath, Error, Kind, Mtime, Pattern, Result, Tree, tree::Item};

impl Tree {
    /// Sets the mode of all entries but directories and symbolic links that match; returns how
    /// many there are.
    pub fn set_mode(&mut self, pattern: &Pattern, mode: u32) -> usize {
        self.change(
            |path, kind| match kind {
                Kind::Dir | Kind::Symlink(_) => false,
                _ => pattern.matches(path),
            },
            |metadata| metadata.mode = mode & 0o7777,
        )
    }

    /// Sets the mode of all directories that match; returns how many there are.
    pub fn set_dir_mode(&mut self, pattern: &Pattern, mode: u32) -> usize {
        self.change(
            |path, kind| kind.is_dir() && pattern.matches(path),
            |metadata| metadata.mode = mode & 0o7777,
        )
    }

    /// Clears setuid, setgid and sticky of all entries that match; returns how many had one of them. Zips lose them
    /// when they are indexed, tars do not, since layers of base images need them.
    pub fn clear_special_bits(&mut self, pattern: &Pattern) -> usize {
        const SPECIAL: u32 = 0o7000;
        let mut count = 0;
        self.for_each_metadata(|path, _, metadata| {
            if metadata.mode & SPECIAL != 0 && pattern.matches(path) {
                metadata.mode &= !SPECIAL;
                count += 1;
            }
        });
        count
    }

    /// Sets user and group of all entries that match; returns how many there are.
    pub fn set_owner(&mut self, pattern: &Pattern, uid: u64, gid: u64) -> usize {
        self.change(
            |path, _| pattern.matches(path),
            |metadata| (metadata.uid, metadata.gid) = (uid, gid),
        )
    }

    /// Sets the time of modification of all entries that match; returns how many there are.
    pub fn set_mtime(&mut self, pattern: &Pattern, mtime: Mtime) -> usize {
        self.change(
            |path, _| pattern.matches(path),
            |metadata| metadata.mtime = mtime,
        )
    }

    /// Takes away all entries that match, with what is under them; returns how many that were.
    pub fn remove_matching(&mut self, pattern: &Pattern) -> usize {
        let hits: Vec<_> = self
            .iter()
            .map(|(path, _)| path)
            .filter(|path| pattern.matches(path))
            .collect();
        let doomed = self.with_all_under(hits);
        self.take(&doomed)
    }

    /// Moves an entry with all that is under it, and the hard links to it with it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Exists`] if there is something at `to`; [`Error::NotDirectory`]
    /// if `to` lies under something that is not a directory, or under `from`.
    pub fn rename(&mut self, from: &EntryPath, to: &EntryPath) -> Result<()> {
        if !self.contains(from) {
            return Err(Error::NotFound { path: from.clone() });
        }
        if from == to {
            return Ok(());
        }
        if self.contains(to) {
            return Err(Error::Exists { path: to.clone() });
        }
        if to.strip_prefix(from).is_some() {
            return Err(Error::NotDirectory {
                path: to.clone(),
                ancestor: from.clone(),
            });
        }
        for ancestor in to.ancestors() {
            if self.is_dir(&ancestor) == Some(false) {
                return Err(Error::NotDirectory {
                    path: to.clone(),
                    ancestor,
                });
            }
        }
        self.map_paths(|path| {
            if path == from {
                return Ok(Some(to.clone()));
            }
            match path.strip_prefix(from) {
                Some(rest) => to.join(&rest).map(Some),
                None => Ok(Some(path.clone())),
            }
        })
    }

    /// Puts everything under `directory`.
    ///
    /// # Errors
    /// [`Error::Path`] if a path becomes too long.
    pub fn prefix(&mut self, directory: &EntryPath) -> Result<()> {
        self.map_paths(|path| directory.join(path).map(Some))
    }

    /// Cuts the first `count` components of all paths; what has no more than these goes away.
    ///
    /// # Errors
    /// [`Error::Exists`] if two entries that are not both directories would meet.
    pub fn strip(&mut self, count: usize) -> Result<()> {
        self.map_paths(|path| Ok(path.strip_components(count)))
    }

    /// Keeps what is under `directory`, with paths from there; all else goes away.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such directory.
    pub fn strip_prefix(&mut self, directory: &EntryPath) -> Result<()> {
        if self.is_dir(directory) != Some(true) {
            return Err(Error::NotFound {
                path: directory.clone(),
            });
        }
        self.map_paths(|path| Ok(path.strip_prefix(directory)))
    }

    /// Splits into several trees: `layer` says for each entry that is not a directory into which,
    /// counted from 0. The directories above it go with it; directories without entries go where
    /// `layer` says, and a hard link goes where its target goes.
    ///
    /// If `layer` looks at the path only, a change in one part leaves the layers of the others as they are.
    ///
    /// ```
    /// use repack::{Entry, Pattern, Tree};
    ///
    /// let mut tree = Tree::new();
    /// tree.insert("lib/log4j.jar".parse()?, Entry::file(""))?;
    /// tree.insert("job/run.sh".parse()?, Entry::file("java Job\n"))?;
    /// let lib: Pattern = "lib/**".parse()?;
    /// let layers = tree.split(|path, _| if lib.matches(path) { 0 } else { 1 })?;
    /// assert!(layers[0].contains(&"lib/log4j.jar".parse()?));
    /// assert!(layers[1].contains(&"job/run.sh".parse()?));
    /// # Ok::<(), repack::Error>(())
    /// ```
    ///
    /// # Errors
    /// None of a tree that is whole; those of [`Tree::insert`] in principle.
    pub fn split(self, mut layer: impl FnMut(&EntryPath, &Entry) -> usize) -> Result<Vec<Self>> {
        let mut trees: Vec<Self> = Vec::new();
        let mut place = |path: EntryPath, item: Item| -> Result<()> {
            let asked = match &item.entry.kind {
                Kind::Hardlink(target) => match self.get(target) {
                    Some(entry) => layer(target, &entry),
                    None => layer(&path, &item.entry),
                },
                _ => layer(&path, &item.entry),
            };
            if trees.len() <= asked {
                trees.resize_with(asked + 1, Self::default);
            }
            for above in path.ancestors() {
                if !trees[asked].contains(&above)
                    && let Some(item) = self.item(&above)
                {
                    trees[asked].put(above, item)?;
                }
            }
            trees[asked].put(path, item).map(drop)
        };
        for (path, item) in self.items(Bound::Unbounded) {
            if !item.entry.kind.is_dir() || self.under(&path).next().is_none() {
                place(path, item)?;
            }
        }
        Ok(trees)
    }

    /// Rebuilds the tree with other paths; none drops the entry. Directories that meet become one,
    /// of which the last one's metadata stay.
    fn map_paths(&mut self, map: impl Fn(&EntryPath) -> Result<Option<EntryPath>>) -> Result<()> {
        let mut doomed = BTreeSet::new();
        for (path, _) in self.iter() {
            if map(&path)?.is_none() {
                doomed.insert(path);
            }
        }
        let mut left = self.clone();
        left.take(&doomed);
        let mut mapped = Self::new();
        for (from, mut item) in left.items(Bound::Unbounded) {
            let Some(path) = map(&from)? else { continue };
            if let Kind::Hardlink(target) = &mut item.entry.kind
                && let Some(moved) = map(target)?
            {
                *target = moved;
            }
            match mapped.is_dir(&path) {
                Some(there) if !(there && item.entry.kind.is_dir()) => {
                    return Err(Error::Exists { path });
                }
                // Whose metadata somebody gave stays.
                Some(_) if item.implied => {}
                _ => {
                    mapped.put(path, item)?;
                }
            }
        }
        *self = mapped;
        Ok(())
    }

    fn change(
        &mut self,
        matches: impl Fn(&EntryPath, &Kind) -> bool,
        mut change: impl FnMut(&mut crate::Metadata),
    ) -> usize {
        let mut count = 0;
        self.for_each_metadata(|path, kind, metadata| {
            if matches(path, kind) {
                change(metadata);
                count += 1;
            }
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> EntryPath {
        path.parse().unwrap()
    }

    fn tree(names: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for name in names {
            let entry = match name.strip_suffix('/') {
                Some(_) => Entry::dir(),
                None => Entry::file(name.to_string()),
            };
            let name = name.trim_end_matches('/');
            tree.insert(path(name), entry).unwrap();
        }
        tree
    }

    fn names(tree: &Tree) -> String {
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn modes_by_pattern() {
        let mut tree = tree(&["a/run.sh", "a/x.jar", "run.sh"]);
        tree.insert(path("a/l.sh"), Entry::symlink("run.sh"))
            .unwrap();
        assert_eq!(tree.set_mode(&"**/*.sh".parse().unwrap(), 0o755), 2);
        assert_eq!(tree.set_dir_mode(&Pattern::all(), 0o500), 1);
        let modes: Vec<_> = tree
            .iter()
            .map(|(path, entry)| format!("{path} {:o}", entry.metadata.mode))
            .collect();
        assert_eq!(
            modes,
            [
                "a 500",
                "a/l.sh 777",
                "a/run.sh 755",
                "a/x.jar 644",
                "run.sh 755"
            ]
        );
        for (name, mode) in [("a", 0o1777), ("run.sh", 0o6755)] {
            tree.metadata_mut(&path(name)).unwrap().mode = mode;
        }
        assert_eq!(tree.clear_special_bits(&"a/**".parse().unwrap()), 0);
        assert_eq!(tree.clear_special_bits(&Pattern::all()), 2);
        let mode = |name: &str| tree.get(&path(name)).unwrap().metadata.mode;
        assert_eq!([mode("a"), mode("run.sh")], [0o777, 0o755]);
        assert_eq!(tree.set_owner(&"a/**".parse().unwrap(), 7, 8), 3);
        assert_eq!(tree.set_mtime(&Pattern::all(), Mtime::from_seconds(9)), 5);
        let run = &tree.get(&path("a/run.sh")).unwrap().metadata;
        assert_eq!((run.uid, run.gid, run.mtime.seconds), (7, 8, 9));
    }

    #[test]
    fn paths_are_mapped() {
        let check = |edit: &dyn Fn(&mut Tree) -> Result<()>, expected: &str| {
            let mut tree = tree(&["a/b/c", "a/b/d", "a/e", "f"]);
            edit(&mut tree).unwrap();
            assert_eq!(names(&tree), expected);
        };
        check(
            &|tree| tree.rename(&path("a/b"), &path("x/y")),
            "a a/e f x x/y x/y/c x/y/d",
        );
        check(
            &|tree| tree.rename(&path("f"), &path("f")),
            "a a/b a/b/c a/b/d a/e f",
        );
        check(
            &|tree| tree.prefix(&path("p/q")),
            "p p/q p/q/a p/q/a/b p/q/a/b/c p/q/a/b/d p/q/a/e p/q/f",
        );
        check(&|tree| tree.strip(1), "b b/c b/d e");
        check(&|tree| tree.strip(9), "");
        check(&|tree| tree.strip_prefix(&path("a/b")), "c d");
        check(
            &|tree| {
                assert_eq!(tree.remove_matching(&"*/b".parse()?), 3);
                Ok(())
            },
            "a a/e f",
        );
    }

    #[test]
    fn what_cannot_be_mapped_stays() {
        let mut tree = tree(&["a/b", "c/b", "d"]);
        let before = names(&tree);
        assert!(matches!(tree.strip(1), Err(Error::Exists { .. })));
        let rename = |tree: &mut Tree, from: &str, to: &str| tree.rename(&path(from), &path(to));
        assert!(matches!(
            rename(&mut tree, "a", "d"),
            Err(Error::Exists { .. })
        ));
        assert!(matches!(
            rename(&mut tree, "x", "y"),
            Err(Error::NotFound { .. })
        ));
        for to in ["d/a", "a/b/c", "a/c"] {
            let result = rename(&mut tree, "a", to);
            assert!(matches!(result, Err(Error::NotDirectory { .. })), "{to}");
        }
        assert!(matches!(
            tree.strip_prefix(&path("d")),
            Err(Error::NotFound { .. })
        ));
        assert_eq!(names(&tree), before);
    }

    #[test]
    fn hard_links_follow_their_target() {
        let mut tree = tree(&["a/b"]);
        tree.insert(path("l"), Entry::hardlink(path("a/b")))
            .unwrap();
        tree.rename(&path("a"), &path("z")).unwrap();
        assert_eq!(tree.read(&path("l"), 10).unwrap(), "a/b");
    }

    #[test]
    fn a_split_keeps_directories_and_links_together() {
        let mut tree = tree(&["lib/a.jar", "job/run.sh", "empty/"]);
        tree.insert(path("job/l"), Entry::hardlink(path("lib/a.jar")))
            .unwrap();
        *tree.metadata_mut(&path("job")).unwrap() = crate::Metadata {
            mode: 0o700,
            ..Default::default()
        };
        let lib: Pattern = "lib/**".parse().unwrap();
        let trees = tree
            .split(|path, _| usize::from(!lib.matches(path)))
            .unwrap();
        let all: Vec<_> = trees.iter().map(names).collect();
        assert_eq!(all, ["job job/l lib lib/a.jar", "empty job job/run.sh"]);
        for tree in trees {
            assert_eq!(tree.get(&path("job")).unwrap().metadata.mode, 0o700);
            assert!(tree.is_implied(&path("lib")) || !tree.contains(&path("lib")));
            assert!(!tree.is_implied(&path("job")), "somebody gave it a mode");
        }
    }
}
