use std::{collections::BTreeMap, fmt, ops::Bound};

use ocicore::Cx;

use crate::{Content, Entry, EntryPath, Error, Kind, Result, Tree, tree::Item};

/// Several trees as one, and what they disagreed about.
#[derive(Debug)]
#[non_exhaustive]
pub struct Merged {
    /// All entries.
    pub tree: Tree,
    /// All paths that more than one source has, but for directories, in the order of the sources.
    pub collisions: Vec<Collision>,
}

/// Two sources have something at one path.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Collision {
    /// The path.
    pub path: EntryPath,
    /// Name of the source that had it first.
    pub first: String,
    /// Name of the source that has it, too.
    pub last: String,
    /// How they differ.
    pub difference: Difference,
    /// What was done; nothing had to be decided if they are the same.
    pub kept: Keep,
}

/// How two entries of one path differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// Not at all: same kind, same content, same mode and owner.
    None,
    /// The content is the same; mode, owner or attributes are not.
    Metadata,
    /// Both are of one kind, with different content or target.
    Content,
    /// They are of different kinds, for example a file and a directory.
    Kind,
}

/// What to do about a collision.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Keep {
    /// The merge fails; it still goes on to find all collisions.
    Neither,
    /// That of the first source; the other is dropped, with what is under it.
    First,
    /// That of the last source; the other is dropped, with what is under it.
    Last,
    /// Both: that of the last source moves to this path, with what is under it.
    Both(EntryPath),
}

/// Merges named trees in their order. Directories become one, and so do entries of the same
/// content (the first one's mode stays); `policy` decides about all others, which it gets with
/// [`Keep::Neither`] in them.
///
/// ```
/// use repack::{Cx, Entry, Keep, Tree, merge};
///
/// let mut a = Tree::new();
/// a.insert("log4j.xml".parse()?, Entry::file("a"))?;
/// let mut b = Tree::new();
/// b.insert("log4j.xml".parse()?, Entry::file("b"))?;
/// let sources = vec![("a".to_owned(), a), ("b".to_owned(), b)];
/// let merged = merge(&Cx::default(), sources, &mut |_| Keep::Last)?;
/// assert_eq!(merged.tree.read(&"log4j.xml".parse()?, 10)?, "b");
/// assert_eq!(merged.collisions.len(), 1);
/// # Ok::<(), repack::Error>(())
/// ```
///
/// # Errors
/// [`Error::Collisions`] with all that were neither the same nor decided; [`Error::Exists`] if
/// [`Keep::Both`] names a path that is taken; [`Error::Entry`] if an archive lies about a content
/// that had to be compared.
pub fn merge(
    cx: &Cx,
    sources: impl IntoIterator<Item = (String, Tree)>,
    policy: &mut dyn FnMut(&Collision) -> Keep,
) -> Result<Merged> {
    let mut merging = Merging {
        tree: Tree::new(),
        names: Vec::new(),
        collisions: Vec::new(),
    };
    for (name, tree) in sources {
        merging.add(cx, name, &tree, policy)?;
    }
    let (undecided, _): (Vec<_>, Vec<_>) = merging
        .collisions
        .iter()
        .cloned()
        .partition(|collision| collision.kept == Keep::Neither);
    if !undecided.is_empty() {
        return Err(Error::Collisions {
            collisions: undecided,
        });
    }
    Ok(Merged {
        tree: merging.tree,
        collisions: merging.collisions,
    })
}

struct Merging {
    /// Entries with the numbers of their sources.
    tree: Tree,
    names: Vec<String>,
    collisions: Vec<Collision>,
}

/// Where an entry of the source that is being added has gone, if not to its own path.
enum Placed {
    At(EntryPath),
    Dropped,
}

impl Merging {
    fn add(
        &mut self,
        cx: &Cx,
        name: String,
        tree: &Tree,
        policy: &mut dyn FnMut(&Collision) -> Keep,
    ) -> Result<()> {
        let origin = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name);
        let mut elsewhere: BTreeMap<EntryPath, Placed> = BTreeMap::new();
        // Links last, since they need to know where their targets went.
        let is_link = |item: &Item| matches!(item.entry.kind, Kind::Hardlink(_));
        let all = || tree.items(Bound::Unbounded);
        let links = all().filter(|(_, item)| is_link(item));
        let others = all().filter(|(_, item)| !is_link(item));
        for (path, mut item) in others.chain(links) {
            cx.check()?;
            item.origin = origin;
            if let Kind::Hardlink(target) = &item.entry.kind {
                let target = match elsewhere.get(target) {
                    Some(Placed::At(to)) => Some(to.clone()),
                    None if tree.contains(target) => Some(target.clone()),
                    _ => None,
                };
                item.entry.kind = match target {
                    Some(target) => Kind::Hardlink(target),
                    None => Kind::File(tree.content(&path)?),
                };
            }
            let to = match path.parent().map(|parent| (elsewhere.get(&parent), parent)) {
                Some((Some(Placed::Dropped), _)) => None,
                Some((Some(Placed::At(to)), parent)) => match path.strip_prefix(&parent) {
                    Some(rest) => Some(to.join(&rest)?),
                    None => None,
                },
                _ => Some(path.clone()),
            };
            let went = match to {
                None => Placed::Dropped,
                // A directory that only was made for what is in it changes nothing.
                Some(to) if item.implied && self.tree.is_dir(&to) == Some(true) => Placed::At(to),
                Some(to) => self.place(to, item, policy)?,
            };
            match went {
                Placed::At(to) if to == path => {}
                went => {
                    elsewhere.insert(path, went);
                }
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        path: EntryPath,
        item: Item,
        policy: &mut dyn FnMut(&Collision) -> Keep,
    ) -> Result<Placed> {
        let Some(there) = self.tree.get(&path) else {
            self.tree.put(path.clone(), item)?;
            return Ok(Placed::At(path));
        };
        if there.kind.is_dir() && item.entry.kind.is_dir() {
            // One that was only made for what is in it has no mode to keep.
            if self.tree.is_implied(&path) {
                self.tree.put(path.clone(), item)?;
            }
            return Ok(Placed::At(path));
        }
        let difference = difference(&path, &there, &item.entry)?;
        let mut collision = Collision {
            first: self.name(self.tree.origin(&path)),
            last: self.name(Some(item.origin)),
            path,
            difference,
            kept: Keep::Neither,
        };
        let is_same = matches!(difference, Difference::None | Difference::Metadata);
        collision.kept = if is_same {
            Keep::First
        } else {
            policy(&collision)
        };
        self.collisions.push(collision.clone());
        let Collision { path, kept, .. } = collision;
        match kept {
            Keep::First if is_same => Ok(Placed::At(path)),
            Keep::First | Keep::Neither => Ok(Placed::Dropped),
            Keep::Last => {
                self.tree.remove(&path);
                self.tree.put(path.clone(), item)?;
                Ok(Placed::At(path))
            }
            Keep::Both(to) => {
                if self.tree.contains(&to) {
                    return Err(Error::Exists { path: to });
                }
                self.tree.put(to.clone(), item)?;
                Ok(Placed::At(to))
            }
        }
    }

    fn name(&self, origin: Option<u32>) -> String {
        let at = origin.and_then(|origin| usize::try_from(origin).ok());
        at.and_then(|at| self.names.get(at))
            .cloned()
            .unwrap_or_default()
    }
}

fn difference(path: &EntryPath, a: &Entry, b: &Entry) -> Result<Difference> {
    let same = match (&a.kind, &b.kind) {
        (Kind::File(a), Kind::File(b)) => same_content(path, a, b)?,
        (Kind::Symlink(a), Kind::Symlink(b)) => a == b,
        (Kind::Hardlink(a), Kind::Hardlink(b)) => a == b,
        (Kind::CharDevice(a), Kind::CharDevice(b))
        | (Kind::BlockDevice(a), Kind::BlockDevice(b)) => a == b,
        (Kind::Fifo, Kind::Fifo) => true,
        _ => return Ok(Difference::Kind),
    };
    let metadata = |entry: &Entry| {
        let metadata = &entry.metadata;
        let xattrs = metadata.xattrs.clone();
        (metadata.mode, metadata.uid, metadata.gid, xattrs)
    };
    Ok(if !same {
        Difference::Content
    } else if metadata(a) != metadata(b) {
        Difference::Metadata
    } else {
        Difference::None
    })
}

/// Whether two contents are the same bytes; what archives declare may only tell that they are not.
pub(crate) fn same_content(path: &EntryPath, a: &Content, b: &Content) -> Result<bool> {
    if a.size() != b.size() {
        return Ok(false);
    }
    if let (Some(a), Some(b)) = (a.declared_crc32(), b.declared_crc32())
        && a != b
    {
        return Ok(false);
    }
    let (mut left, mut right) = (a.open(), b.open());
    let (mut left_part, mut right_part) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = left
            .fill(&mut left_part)
            .map_err(|e| a.named(path.as_bytes(), e))?;
        let m = right
            .fill(&mut right_part)
            .map_err(|e| b.named(path.as_bytes(), e))?;
        if left_part[..n] != right_part[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

/// `log4j.xml` of `a` and `b`: different content.
impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = match self.difference {
            Difference::None => "the same",
            Difference::Metadata => "different mode or owner",
            Difference::Content => "different content",
            Difference::Kind => "different kinds",
        };
        let Self {
            path, first, last, ..
        } = self;
        write!(f, "`{path}` of `{first}` and `{last}`: {difference}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn merged(
        a: &[(&str, Entry)],
        b: &[(&str, Entry)],
        policy: &mut dyn FnMut(&Collision) -> Keep,
    ) -> Result<Merged> {
        let sources = [("a".to_owned(), tree(a)), ("b".to_owned(), tree(b))];
        merge(&Cx::default(), sources, policy)
    }

    fn names(tree: &Tree) -> String {
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn the_same_content_is_one_file() {
        let a = [("lib/x.jar", Entry::file("x")), ("a", Entry::file("1"))];
        let b = [
            ("lib/x.jar", Entry::file("x").with_mode(0o600)),
            ("b", Entry::file("2")),
        ];
        let merged = merged(&a, &b, &mut |_| panic!("nothing to decide")).unwrap();
        assert_eq!(names(&merged.tree), "a b lib lib/x.jar");
        assert_eq!(merged.collisions.len(), 1);
        assert_eq!(merged.collisions[0].difference, Difference::Metadata);
    }

    #[test]
    fn a_directory_that_is_listed_counts_more_than_one_that_is_not() {
        let listed = [("d", Entry::dir().with_mode(0o700))];
        let made = [("d/x", Entry::file("x"))];
        for (a, b) in [(&listed[..], &made[..]), (&made, &listed)] {
            let merged = merged(a, b, &mut |_| panic!("nothing to decide")).unwrap();
            let mode = merged.tree.get(&path("d")).unwrap().metadata.mode;
            assert_eq!((names(&merged.tree).as_str(), mode), ("d d/x", 0o700));
        }
    }

    #[test]
    fn all_collisions_are_reported() {
        let a = [
            ("x", Entry::file("1")),
            ("y", Entry::file("1")),
            ("z", Entry::dir()),
        ];
        let b = [
            ("x", Entry::file("2")),
            ("y", Entry::symlink("1")),
            ("z", Entry::dir()),
        ];
        let error = merged(&a, &b, &mut |_| Keep::Neither).unwrap_err();
        let Error::Collisions { collisions } = &error else {
            panic!("{error}")
        };
        let texts: Vec<_> = collisions.iter().map(Collision::to_string).collect();
        assert_eq!(
            texts,
            [
                "`x` of `a` and `b`: different content",
                "`y` of `a` and `b`: different kinds"
            ]
        );
    }

    #[test]
    fn the_policy_decides() {
        let a = [("x", Entry::file("1")), ("l", Entry::hardlink(path("x")))];
        let b = [("x", Entry::file("2")), ("m", Entry::hardlink(path("x")))];
        let check = |keep: Keep, expected: &str, link: &str| {
            let merged = merged(&a, &b, &mut |_| keep.clone()).unwrap();
            assert_eq!(names(&merged.tree), expected);
            let content = merged.tree.read(&path("m"), 10).unwrap();
            assert_eq!(content, link, "a link keeps its content");
        };
        check(Keep::First, "l m x", "2");
        check(Keep::Last, "l m x", "2");
        check(Keep::Both(path("b/x")), "b b/x l m x", "2");
        let error = merged(&a, &b, &mut |_| Keep::Both(path("l"))).unwrap_err();
        assert!(matches!(error, Error::Exists { .. }));
    }

    #[test]
    fn a_directory_meets_a_file() {
        let file = [("x", Entry::file("1"))];
        let dir = [("x/y/z", Entry::file("2"))];
        let check = |a: &[_], b: &[_], keep: Keep, expected: &str| {
            let merged = merged(a, b, &mut |_| keep.clone()).unwrap();
            assert_eq!(names(&merged.tree), expected);
        };
        check(&file, &dir, Keep::First, "x");
        check(&file, &dir, Keep::Last, "x x/y x/y/z");
        check(&file, &dir, Keep::Both(path("b")), "b b/y b/y/z x");
        check(&dir, &file, Keep::First, "x x/y x/y/z");
        check(&dir, &file, Keep::Last, "x");
        check(&dir, &file, Keep::Both(path("b")), "b x x/y x/y/z");
    }
}
