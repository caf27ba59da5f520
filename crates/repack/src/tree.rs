use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    ops::Bound,
};

use bytes::Bytes;

use crate::{Content, EntryPath, Error, Result};

/// An archive as it will be written: paths with metadata and handles to content.
///
/// Every directory above an entry is in the tree, for [`Tree::insert`] makes what is missing; and
/// nothing lies under what is not a directory. Entries are in the order of [`EntryPath`]. Since the
/// content is only a handle, an edited tree is also the dry run of the edit.
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
    entries: BTreeMap<EntryPath, Entry>,
    /// Directories that were made for what is in them; their metadata are nobody's.
    implied: BTreeSet<EntryPath>,
}

/// One entry of a [`Tree`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Mode, owner, times.
    pub metadata: Metadata,
}

/// What an entry is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A directory.
    Dir,
    /// A symbolic link; its target is kept as it is, also if it is absolute or leads outside.
    Symlink(Bytes),
    /// Another name of a regular file of the same tree.
    Hardlink(EntryPath),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its driver.
    pub major: u32,
    /// Its number with the driver.
    pub minor: u32,
}

/// All of an entry that can be changed without changing what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Permissions with setuid, setgid and sticky: the lower 12 bits of `st_mode`.
    pub mode: u32,
    /// User id.
    pub uid: u64,
    /// Group id.
    pub gid: u64,
    /// When the content was changed.
    pub mtime: Mtime,
    /// Extended attributes by their full names.
    pub xattrs: BTreeMap<Box<[u8]>, Bytes>,
}

/// A time of modification; one second after the epoch by default, as Jib has it, since 0 upsets
/// some tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Nanoseconds on top of these, less than 10^9.
    pub nanoseconds: u32,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry at `path`, makes the directories above it that are missing (mode 0755), and
    /// returns what it replaces.
    ///
    /// # Errors
    /// [`Error::NotDirectory`] if something above `path` is not a directory,
    /// [`Error::DirectoryInTheWay`] if a directory with entries would be replaced by something else.
    pub fn insert(&mut self, path: EntryPath, entry: Entry) -> Result<Option<Entry>> {
        // Whatever is above a directory of the tree is a directory, so that the nearest one tells.
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(ancestor) = above {
            match self.entries.get(&ancestor).map(|entry| &entry.kind) {
                Some(Kind::Dir) => break,
                Some(_) => return Err(Error::NotDirectory { path, ancestor }),
                None => above = ancestor.parent(),
            }
            missing.push(ancestor);
        }
        if !matches!(entry.kind, Kind::Dir) && self.under(&path).next().is_some() {
            return Err(Error::DirectoryInTheWay { path });
        }
        for path in missing {
            self.implied.insert(path.clone());
            self.entries.insert(path, Entry::dir());
        }
        self.implied.remove(&path);
        Ok(self.entries.insert(path, entry))
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
            all.extend(self.under(&path).map(|(path, _)| path.clone()));
            all.insert(path);
        }
        all
    }

    /// Takes away these entries, which must be all that is under them, too.
    pub(crate) fn take(&mut self, doomed: &BTreeSet<EntryPath>) -> usize {
        let mut files = BTreeMap::new();
        let mut count = 0;
        for path in doomed {
            self.implied.remove(path);
            if let Some(entry) = self.entries.remove(path) {
                count += 1;
                if entry.kind.is_file() {
                    files.insert(path, (entry, None));
                }
            }
        }
        if files.is_empty() {
            return count;
        }
        for (path, entry) in &mut self.entries {
            let Kind::Hardlink(target) = &mut entry.kind else {
                continue;
            };
            match files.get_mut(target) {
                None => {}
                Some((_, Some(heir))) => *target = EntryPath::clone(heir),
                Some((file, heir)) => {
                    *heir = Some(path.clone());
                    *entry = file.clone();
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
        match self.entries.get_mut(path) {
            None => Err(Error::NotFound { path: path.clone() }),
            Some(Entry {
                kind: Kind::File(old),
                ..
            }) => {
                *old = content;
                Ok(())
            }
            Some(_) => Err(Error::NotFile { path: path.clone() }),
        }
    }

    /// Metadata of an entry, to be changed.
    pub fn metadata_mut(&mut self, path: &EntryPath) -> Option<&mut Metadata> {
        let entry = self.entries.get_mut(path)?;
        self.implied.remove(path);
        Some(&mut entry.metadata)
    }

    /// Goes over all entries in order, to change their metadata.
    pub fn iter_metadata_mut(
        &mut self,
    ) -> impl Iterator<Item = (&EntryPath, &Kind, &mut Metadata)> {
        self.entries
            .iter_mut()
            .map(|(path, entry)| (path, &entry.kind, &mut entry.metadata))
    }

    /// The entry at `path`.
    pub fn get(&self, path: &EntryPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether it is a directory that only was made for what is in it, so that its metadata are
    /// nobody's.
    pub fn is_implied(&self, path: &EntryPath) -> bool {
        self.implied.contains(path)
    }

    /// Says that the metadata of this directory are nobody's.
    pub(crate) fn imply(&mut self, path: EntryPath) {
        self.implied.insert(path);
    }

    /// As [`Tree::get`], with the tree's own path.
    pub(crate) fn get_key_value(&self, path: &EntryPath) -> Option<(&EntryPath, &Entry)> {
        self.entries.get_key_value(path)
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
    pub fn content(&self, path: &EntryPath) -> Result<&Content> {
        let not_file = || Error::NotFile { path: path.clone() };
        match &self
            .get(path)
            .ok_or_else(|| Error::NotFound { path: path.clone() })?
            .kind
        {
            Kind::File(content) => Ok(content),
            Kind::Hardlink(target) => match self.get(target).map(|entry| &entry.kind) {
                Some(Kind::File(content)) => Ok(content),
                _ => Err(not_file()),
            },
            _ => Err(not_file()),
        }
    }

    /// All entries in order.
    pub fn iter(&self) -> btree_map::Iter<'_, EntryPath, Entry> {
        self.entries.iter()
    }

    /// All entries below `directory`, at any depth, in order; not itself.
    pub fn under(&self, directory: &EntryPath) -> impl Iterator<Item = (&EntryPath, &Entry)> {
        // All that begins with `directory/` lies together, for the order is that of the bytes.
        let prefix = [directory.as_bytes(), b"/"].concat();
        let after = (Bound::Excluded(directory), Bound::Unbounded);
        self.entries
            .range::<EntryPath, _>(after)
            .skip_while({
                let prefix = prefix.clone();
                move |(path, _)| path.as_bytes() < &*prefix
            })
            .take_while(move |(path, _)| path.as_bytes().starts_with(&prefix))
    }

    /// Number of entries, directories included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all regular files together.
    pub fn content_size(&self) -> u64 {
        let sizes = self.entries.values().map(|entry| match &entry.kind {
            Kind::File(content) => content.size(),
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }
}

impl<'a> IntoIterator for &'a Tree {
    type Item = (&'a EntryPath, &'a Entry);
    type IntoIter = btree_map::Iter<'a, EntryPath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Tree {
    type Item = (EntryPath, Entry);
    type IntoIter = btree_map::IntoIter<EntryPath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl Entry {
    /// A regular file with mode 0644.
    pub fn file(content: impl Into<Content>) -> Self {
        Self::new(Kind::File(content.into()))
    }

    /// A directory with mode 0755.
    pub fn dir() -> Self {
        Self::new(Kind::Dir)
    }

    /// A symbolic link with mode 0777.
    pub fn symlink(target: impl Into<Bytes>) -> Self {
        Self::new(Kind::Symlink(target.into()))
    }

    /// A hard link to `target`.
    pub fn hardlink(target: EntryPath) -> Self {
        Self::new(Kind::Hardlink(target))
    }

    /// An entry with the usual mode of its kind, owner 0 and mtime 1.
    pub fn new(kind: Kind) -> Self {
        let mode = kind.usual_mode();
        Self {
            kind,
            metadata: Metadata {
                mode,
                ..Metadata::default()
            },
        }
    }

    /// With other metadata.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// With another mode.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.metadata.mode = mode;
        self
    }

    /// Content if it is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }
}

impl Kind {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir)
    }

    fn usual_mode(&self) -> u32 {
        match self {
            Self::Dir => 0o755,
            Self::Symlink(_) => 0o777,
            _ => 0o644,
        }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: BTreeMap::new(),
        }
    }
}

impl Mtime {
    /// So many seconds after the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

impl Default for Mtime {
    fn default() -> Self {
        Self::from_seconds(1)
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
