mod block;
mod packed;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    iter::Peekable,
    mem,
    ops::Bound,
};

use bytes::Bytes;

use self::packed::Packed;
use crate::{Content, Entry, EntryPath, Error, Kind, Metadata, Result};

/// So many entries are as they are; when there are more, all of them are packed. Unit tests see both.
const RECENT: usize = if cfg!(test) { 4 } else { 32 << 10 };

/// An archive as it will be written: paths with metadata and handles to content.
///
/// Every directory above an entry is in the tree, for [`Tree::insert`] makes what is missing; and
/// nothing lies under what is not a directory. Entries are in the order of [`EntryPath`]. Since the
/// content is only a handle, an edited tree is also the dry run of the edit.
///
/// Entries come out by value: most of those of a large tree are packed, in some 50 bytes each, so that a
/// million of them fit into memory well. A copy of a tree shares what is packed.
///
/// ```
/// use repack::{Entry, Tree};
///
/// let mut tree = Tree::new();
/// tree.insert("job/run.sh".parse()?, Entry::file("java Job\n"))?;
/// tree.edit(&"job/run.sh".parse()?, 1 << 20, |text| {
///     Ok::<_, std::io::Error>([b"exec ", &*text].concat().into())
/// })?;
/// assert_eq!(tree.len(), 2, "the directory is there, too");
/// assert_eq!(tree.read(&"job/run.sh".parse()?, 1 << 20)?, "exec java Job\n");
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// What was touched last.
    recent: BTreeMap<EntryPath, Item>,
    /// All else; no path is in both.
    packed: Packed,
}

/// An entry, and what the tree knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    /// It is a directory that was made for what is in it; its metadata are nobody's.
    pub(crate) implied: bool,
    /// Where it is from, for whoever merges trees.
    pub(crate) origin: u32,
    /// Where it lies in its archive, unless its content tells.
    pub(crate) at: Option<u64>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry at `path`, makes the directories above it that are missing (mode 0755), and
    /// returns what it replaces. Hard links to what it replaces are links to the new entry then, unless
    /// [`Tree::remove`] takes the old one away first.
    ///
    /// # Errors
    /// [`Error::NotDirectory`] if something above `path` is not a directory,
    /// [`Error::DirectoryInTheWay`] if a directory with entries would be replaced by something else.
    pub fn insert(&mut self, path: EntryPath, entry: Entry) -> Result<Option<Entry>> {
        self.put(path, entry.into())
    }

    /// As [`Tree::insert`], with all that the tree should know of it.
    pub(crate) fn put(&mut self, path: EntryPath, item: Item) -> Result<Option<Entry>> {
        // Whatever is above a directory of the tree is a directory, so that the nearest one tells.
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(ancestor) = above {
            match self.is_dir(&ancestor) {
                Some(true) => break,
                Some(false) => return Err(Error::NotDirectory { path, ancestor }),
                None => above = ancestor.parent(),
            }
            missing.push(ancestor);
        }
        // Nothing lies under what is not there, nor under what is new.
        let there = if missing.is_empty() {
            self.is_dir(&path)
        } else {
            None
        };
        if there == Some(true) && !item.entry.kind.is_dir() && self.under(&path).next().is_some() {
            return Err(Error::DirectoryInTheWay { path });
        }
        self.settle();
        if there.is_some() {
            self.unpack(&path);
        }
        for path in missing {
            let implied = Item {
                implied: true,
                // That of what it is made for.
                at: item.offset(),
                ..Entry::dir().into()
            };
            self.recent.insert(path, implied);
        }
        let before = self.recent.insert(path, item);
        Ok(before.map(|item| item.entry))
    }

    /// Takes an entry away, with all that is under it; returns how many entries that were. A hard
    /// link to a file that goes becomes the file.
    pub fn remove(&mut self, path: &EntryPath) -> usize {
        let doomed = self.with_all_under([path.clone()]);
        self.take(&doomed)
    }

    /// The paths, and all that is under them.
    pub(crate) fn with_all_under(
        &self,
        paths: impl IntoIterator<Item = EntryPath>,
    ) -> BTreeSet<EntryPath> {
        let mut all = BTreeSet::new();
        for path in paths {
            all.extend(self.under(&path).map(|(path, _)| path));
            all.insert(path);
        }
        all
    }

    /// Takes away these entries, which must be all that is under them, too.
    pub(crate) fn take(&mut self, doomed: &BTreeSet<EntryPath>) -> usize {
        let mut count = 0;
        // Those that have a hard link are few.
        let mut heirs: BTreeMap<&EntryPath, Vec<EntryPath>> = BTreeMap::new();
        if doomed.iter().any(|path| self.is_dir(path) == Some(false)) {
            for (path, entry) in self.iter() {
                if let Kind::Hardlink(target) = &entry.kind
                    && !doomed.contains(&path)
                    && let Some(target) = doomed.get(target)
                {
                    heirs.entry(target).or_default().push(path);
                }
            }
        }
        for path in doomed {
            self.settle();
            self.unpack(path);
            let Some(item) = self.recent.remove(path) else {
                continue;
            };
            count += 1;
            let Some((heir, others)) = heirs.get(path).and_then(|heirs| heirs.split_first()) else {
                continue;
            };
            if !item.entry.kind.is_file() {
                continue;
            }
            if let Some(link) = self.item_mut(heir) {
                link.entry = item.entry;
            }
            for other in others {
                if let Some(link) = self.item_mut(other) {
                    link.entry.kind = Kind::Hardlink(heir.clone());
                }
            }
        }
        count
    }

    /// Edits the content of a regular file, read into memory up to `limit` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotFile`], [`Error::Limit`], [`Error::Entry`] if the archive
    /// lies about the content, [`Error::Edit`] with the error of `edit`. The tree stays as it was.
    pub fn edit<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &mut self,
        path: &EntryPath,
        limit: u64,
        edit: impl FnOnce(Bytes) -> Result<Bytes, E>,
    ) -> Result<()> {
        let before = self.read(path, limit)?;
        let after = edit(before).map_err(|error| Error::Edit {
            path: path.clone(),
            source: error.into(),
        })?;
        self.replace(path, after.into())
    }

    /// Gives a regular file another content.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotFile`].
    pub fn replace(&mut self, path: &EntryPath, content: Content) -> Result<()> {
        match self.item_mut(path).map(|item| &mut item.entry.kind) {
            None => Err(Error::NotFound { path: path.clone() }),
            Some(Kind::File(old)) => {
                *old = content;
                Ok(())
            }
            Some(_) => Err(Error::NotFile { path: path.clone() }),
        }
    }

    /// Metadata of an entry, to be changed.
    pub fn metadata_mut(&mut self, path: &EntryPath) -> Option<&mut Metadata> {
        let item = self.item_mut(path)?;
        item.implied = false;
        Some(&mut item.entry.metadata)
    }

    /// Goes over all entries, in no order, to change their metadata.
    ///
    /// ```
    /// use repack::{Entry, Tree};
    ///
    /// let mut tree = Tree::new();
    /// tree.insert("run.sh".parse()?, Entry::file(""))?;
    /// tree.for_each_metadata(|_, _, metadata| metadata.uid = 1000);
    /// # Ok::<(), repack::Error>(())
    /// ```
    pub fn for_each_metadata(&mut self, mut change: impl FnMut(&EntryPath, &Kind, &mut Metadata)) {
        for (path, item) in &mut self.recent {
            change(path, &item.entry.kind, &mut item.entry.metadata);
        }
        self.packed.change(|path, item| {
            let before = item.entry.metadata.clone();
            change(path, &item.entry.kind, &mut item.entry.metadata);
            before != item.entry.metadata
        });
    }

    /// The entry at `path`.
    pub fn get(&self, path: &EntryPath) -> Option<Entry> {
        self.item(path).map(|item| item.entry)
    }

    /// As [`Tree::get`], with all that the tree knows of it.
    pub(crate) fn item(&self, path: &EntryPath) -> Option<Item> {
        let recent = self.recent.get(path).cloned();
        // What is packed comes out as a copy already.
        recent.or_else(|| self.packed.get(path))
    }

    /// Whether there is an entry at `path`.
    pub fn contains(&self, path: &EntryPath) -> bool {
        self.recent.contains_key(path) || self.packed.contains(path)
    }

    /// Whether the entry at `path` is a directory; none if there is no entry.
    pub(crate) fn is_dir(&self, path: &EntryPath) -> Option<bool> {
        self.look(path, |item| item.entry.kind.is_dir())
    }

    /// Whether it is a directory that only was made for what is in it, so that its metadata are
    /// nobody's.
    pub fn is_implied(&self, path: &EntryPath) -> bool {
        self.look(path, |item| item.implied) == Some(true)
    }

    /// Where the entry at `path` is from, as [`Tree::put`] said.
    pub(crate) fn origin(&self, path: &EntryPath) -> Option<u32> {
        self.look(path, |item| item.origin)
    }

    /// Where the entry at `path` lies in its archive; none if it is from none.
    pub(crate) fn offset(&self, path: &EntryPath) -> Option<u64> {
        self.look(path, Item::offset).flatten()
    }

    /// The content of a regular file, read into memory up to `limit` bytes and checked.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotFile`], [`Error::Limit`], [`Error::Entry`].
    pub fn read(&self, path: &EntryPath, limit: u64) -> Result<Bytes> {
        self.content(path)?.read_named(limit, path.as_bytes())
    }

    /// The content of a regular file; a hard link leads to it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotFile`].
    pub fn content(&self, path: &EntryPath) -> Result<Content> {
        let not_file = || Error::NotFile { path: path.clone() };
        match self.get(path).map(|entry| entry.kind) {
            None => Err(Error::NotFound { path: path.clone() }),
            Some(Kind::File(content)) => Ok(content),
            Some(Kind::Hardlink(target)) => match self.get(&target).map(|entry| entry.kind) {
                Some(Kind::File(content)) => Ok(content),
                _ => Err(not_file()),
            },
            Some(_) => Err(not_file()),
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.items(Bound::Unbounded))
    }

    /// All entries below `directory`, at any depth, in order; not itself.
    pub fn under(&self, directory: &EntryPath) -> impl Iterator<Item = (EntryPath, Entry)> {
        // All that begins with `directory/` lies together, for the order is that of the bytes.
        let prefix = EntryPath::parsed(&[directory.as_bytes(), b"/"].concat());
        Iter(self.items(Bound::Excluded(&prefix)))
            .take_while(move |(path, _)| path.as_bytes().starts_with(prefix.as_bytes()))
    }

    /// The entries that are in a directory itself, or at the top, in order, from the one after
    /// `after` on.
    pub(crate) fn children(
        &self,
        directory: Option<&EntryPath>,
        after: Option<&EntryPath>,
    ) -> Children<'_> {
        let mut prefix = directory.map_or_else(Vec::new, |path| path.as_bytes().to_vec());
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let first = EntryPath::parsed(&prefix);
        Children {
            tree: self,
            items: self.items(Bound::Excluded(after.unwrap_or(&first))),
            prefix,
        }
    }

    /// Number of entries, directories included.
    pub fn len(&self) -> usize {
        self.recent.len() + self.packed.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all regular files together.
    pub fn content_size(&self) -> u64 {
        let sizes = self.iter().map(|(_, entry)| match &entry.kind {
            Kind::File(content) => content.size(),
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// All from here on, with all that is known of them.
    pub(crate) fn items(&self, start: Bound<&EntryPath>) -> Items<'_> {
        let recent = self.recent.range::<EntryPath, _>((start, Bound::Unbounded));
        Items {
            recent: recent.peekable(),
            packed: self.packed.from(start).peekable(),
        }
    }

    fn look<T>(&self, path: &EntryPath, at: impl FnOnce(&Item) -> T) -> Option<T> {
        match self.recent.get(path) {
            Some(item) => Some(at(item)),
            None => self.packed.get(path).as_ref().map(at),
        }
    }

    fn item_mut(&mut self, path: &EntryPath) -> Option<&mut Item> {
        self.settle();
        self.unpack(path);
        self.recent.get_mut(path)
    }

    /// Puts an entry among the recent ones, if it is there.
    fn unpack(&mut self, path: &EntryPath) {
        if !self.recent.contains_key(path) {
            self.recent.extend(self.packed.take(path));
        }
    }

    /// Packs the recent ones if they are many.
    fn settle(&mut self) {
        if self.recent.len() >= RECENT {
            self.packed.add(mem::take(&mut self.recent));
        }
    }
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        Self {
            entry,
            implied: false,
            origin: 0,
            at: None,
        }
    }
}

impl Item {
    /// Where it lies in its archive; none if it is from none.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.at.or_else(|| self.entry.content()?.place())
    }
}

/// Entries of a [`Tree`] in order.
#[derive(Clone, Debug)]
pub struct Iter<'t>(Items<'t>);

impl Iterator for Iter<'_> {
    type Item = (EntryPath, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, item) = self.0.next()?;
        Some((path, item.entry))
    }
}

impl<'t> IntoIterator for &'t Tree {
    type Item = (EntryPath, Entry);
    type IntoIter = Iter<'t>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As [`Iter`], with what the tree knows besides.
#[derive(Clone, Debug)]
pub(crate) struct Items<'t> {
    recent: Peekable<btree_map::Range<'t, EntryPath, Item>>,
    packed: Peekable<packed::Range<'t>>,
}

impl Iterator for Items<'_> {
    type Item = (EntryPath, Item);

    fn next(&mut self) -> Option<Self::Item> {
        let is_recent = match (self.recent.peek(), self.packed.peek()) {
            (Some((recent, _)), Some((packed, _))) => *recent < packed,
            (recent, _) => recent.is_some(),
        };
        if !is_recent {
            return self.packed.next();
        }
        let (path, item) = self.recent.next()?;
        Some((path.clone(), item.clone()))
    }
}

/// What is in one directory.
#[derive(Clone, Debug)]
pub(crate) struct Children<'t> {
    tree: &'t Tree,
    items: Items<'t>,
    /// With a slash at its end, but for the top.
    prefix: Vec<u8>,
}

impl Iterator for Children<'_> {
    type Item = (EntryPath, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (path, item) = self.items.next()?;
            let name = path.as_bytes().strip_prefix(&*self.prefix)?;
            let Some(slash) = name.iter().position(|&byte| byte == b'/') else {
                return Some((path, item.entry));
            };
            // What is in a directory below lies together; this is behind it.
            let mut behind = path.as_bytes()[..self.prefix.len() + slash].to_vec();
            behind.push(b'/' + 1);
            let behind = EntryPath::parsed(&behind);
            self.items = self.tree.items(Bound::Included(&behind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> EntryPath {
        path.parse().unwrap()
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn directories_above_are_made_and_come_first() {
        let mut tree = Tree::new();
        for name in ["b/c/d", "b-c", "b/c.d", "a"] {
            tree.insert(path(name), Entry::file("x")).unwrap();
        }
        assert_eq!(names(&tree), ["a", "b", "b-c", "b/c", "b/c.d", "b/c/d"]);
        let mode = 0o700;
        tree.insert(path("b"), Entry::dir().with_mode(mode))
            .unwrap();
        assert_eq!(tree.get(&path("b")).unwrap().metadata.mode, mode);
        let under: Vec<_> = tree.under(&path("b")).map(|(p, _)| p.to_string()).collect();
        assert_eq!(under, ["b/c", "b/c.d", "b/c/d"]);
    }

    #[test]
    fn nothing_lies_under_a_file() {
        let mut tree = Tree::new();
        tree.insert(path("a/b"), Entry::file("x")).unwrap();
        let error = tree.insert(path("a/b/c"), Entry::file("y")).unwrap_err();
        assert!(matches!(error, Error::NotDirectory { .. }), "{error}");
        let error = tree.insert(path("a"), Entry::file("y")).unwrap_err();
        assert!(matches!(error, Error::DirectoryInTheWay { .. }), "{error}");
        assert_eq!(names(&tree), ["a", "a/b"]);
        tree.remove(&path("a/b"));
        tree.insert(path("a"), Entry::file("y")).unwrap();
    }

    #[test]
    fn removing_takes_what_is_under_it() {
        let mut tree = Tree::new();
        for name in ["a/b/c", "a/b/d", "a/b.c", "a/e"] {
            tree.insert(path(name), Entry::file("x")).unwrap();
        }
        assert_eq!(tree.remove(&path("a/b")), 3);
        assert_eq!(tree.remove(&path("a/b")), 0);
        assert_eq!(names(&tree), ["a", "a/b.c", "a/e"]);
    }

    #[test]
    fn a_link_inherits_from_a_file_that_goes() {
        let mut tree = Tree::new();
        tree.insert(path("a/x"), Entry::file("1").with_mode(0o600))
            .unwrap();
        tree.insert(path("b"), Entry::hardlink(path("a/x")))
            .unwrap();
        tree.insert(path("c"), Entry::hardlink(path("a/x")))
            .unwrap();
        assert_eq!(tree.remove(&path("a")), 2);
        assert_eq!(tree.get(&path("b")).unwrap().metadata.mode, 0o600);
        for name in ["b", "c"] {
            assert_eq!(tree.read(&path(name), 10).unwrap(), "1", "{name}");
        }
        assert!(
            matches!(&tree.get(&path("c")).unwrap().kind, Kind::Hardlink(b) if *b == path("b"))
        );
    }

    #[test]
    fn a_failed_edit_changes_nothing() {
        let mut tree = Tree::new();
        tree.insert(path("a"), Entry::file("old")).unwrap();
        tree.insert(path("l"), Entry::hardlink(path("a"))).unwrap();
        let error = tree.edit(&path("a"), 10, |_| Err("no")).unwrap_err();
        assert!(matches!(error, Error::Edit { .. }));
        let error = tree.edit(&path("a"), 2, Ok::<_, String>).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }));
        assert_eq!(tree.read(&path("a"), 10).unwrap(), "old");
        assert_eq!(tree.read(&path("l"), 10).unwrap(), "old", "by its link");
        let error = tree.edit(&path("x"), 2, Ok::<_, String>).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }));
    }
}
