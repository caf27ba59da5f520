//! Names that are one on file systems that do not tell cases apart.

use std::{
    collections::{HashMap, hash_map},
    fmt,
};

use crate::{EntryPath, Tree};

/// Two entries whose paths differ in the case of letters only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaseCollision {
    /// The one that comes first in the tree.
    pub first: EntryPath,
    /// The other.
    pub second: EntryPath,
}

impl fmt::Display for CaseCollision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` and `{}`", self.first, self.second)
    }
}

impl Tree {
    /// All entries that collide with one before them where cases are not told apart, as on macOS and
    /// Windows; on Linux they are different files, and images have such. What is in two directories that collide is
    /// compared, too. Letters are those of Unicode; how they are composed is not looked at.
    ///
    /// ```
    /// use repack::{Entry, Tree};
    ///
    /// let mut tree = Tree::new();
    /// tree.insert("README".parse()?, Entry::file(""))?;
    /// tree.insert("readme".parse()?, Entry::file(""))?;
    /// assert_eq!(tree.case_collisions()[0].to_string(), "`README` and `readme`");
    /// # Ok::<(), repack::Error>(())
    /// ```
    pub fn case_collisions(&self) -> Vec<CaseCollision> {
        let mut seen = HashMap::new();
        let mut collisions = Vec::new();
        for (path, _) in self {
            match seen.entry(folded(&path)) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(path);
                }
                hash_map::Entry::Occupied(first) => collisions.push(CaseCollision {
                    first: EntryPath::clone(first.get()),
                    second: path,
                }),
            }
        }
        collisions
    }
}

/// Upper case first: `ß`, `ẞ` and `ss`, or the three kinds of sigma, are one on some systems.
fn folded(path: &EntryPath) -> Vec<u8> {
    match path.to_str() {
        Some(text) => text.to_uppercase().to_lowercase().into_bytes(),
        None => path.as_bytes().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    #[test]
    fn what_differs_in_case_only_is_found() {
        let mut tree = Tree::new();
        for name in ["A/x", "a/X", "b", "grÜn", "grün", "c", "C.d", "c.D/e"] {
            tree.insert(name.parse().unwrap(), Entry::file("")).unwrap();
        }
        tree.insert(EntryPath::parse(b"\xff").unwrap(), Entry::file(""))
            .unwrap();
        let all: Vec<_> = tree
            .case_collisions()
            .iter()
            .map(CaseCollision::to_string)
            .collect();
        assert_eq!(
            all,
            [
                "`A` and `a`",
                "`A/x` and `a/X`",
                "`C.d` and `c.D`",
                "`grÜn` and `grün`"
            ]
        );
    }
}
