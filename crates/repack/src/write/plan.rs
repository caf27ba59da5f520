//! Cuts a tree into jobs. Their boundaries depend on the tree and the settings only, never on
//! threads, so that the same tree gives the same bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    io, mem,
    ops::Range,
    sync::Arc,
};

use flate2::Crc;

use crate::{
    Content, Entry, EntryPath, Error, Fault, Kind, Metadata, Result, Tree,
    content::Repr,
    tree,
    write::header::{self, Type},
};

/// Files up to this size share a member with their neighbors: a member of their own would cost
/// more than compressing them again.
const SMALL: u64 = 20 << 10;
/// Bytes of what is compressed together.
pub(crate) const GROUP: u64 = 1 << 20;

/// A part of the stream that is made by one thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// Made in memory, one after the other: as many as are worth handing over.
    Members(Vec<Member>),
    /// A deflate stream of any size, copied piece by piece.
    Splice(File),
    /// A deflate stream of any size that is compressed again.
    Recompress(File),
}

/// What becomes one gzip member or Zstandard frame, if it is compressed.
#[derive(Debug)]
pub(crate) enum Member {
    /// Compressed together.
    Glue {
        parts: Vec<Part>,
        /// Already compressed formats are not compressed again.
        store: bool,
    },
    /// A deflate stream that is copied.
    Splice(File),
}

#[derive(Debug)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// A range of a file's content; all of it for deflated ones.
    Content(File, Range<u64>),
}

#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: EntryPath,
    pub(crate) content: Content,
}

/// How a tree is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Deflate streams are copied.
    pub(crate) splice: bool,
    /// The content of each file begins a member and shares it with nothing, and there is no end:
    /// an index follows.
    pub(crate) indexed: bool,
}

/// The jobs of a tree, in order.
#[derive(Debug)]
pub(crate) struct Plan<'t> {
    tree: &'t Tree,
    entries: tree::Iter<'t>,
    /// Files that have a hard link before them in the order, and the first such: a reader must
    /// find the content there.
    moved: BTreeMap<EntryPath, EntryPath>,
    mode: Mode,
    /// Bytes, compressed and not, up to which a deflate stream is spliced in memory at once.
    whole: u64,
    jobs: VecDeque<Job>,
    members: Vec<Member>,
    members_cost: u64,
    glue: Vec<Part>,
    glue_size: u64,
    ended: bool,
}

impl<'t> Plan<'t> {
    /// For somebody with so many bytes of memory, which changes how jobs are done, and not what comes out.
    pub(crate) fn new(tree: &'t Tree, mode: Mode, memory: usize) -> Result<Self> {
        let mut moved = BTreeMap::new();
        for (path, entry) in tree {
            let Kind::Hardlink(target) = entry.kind else {
                continue;
            };
            if !tree.get(&target).is_some_and(|entry| entry.kind.is_file()) {
                let offset = tree.offset(&path);
                return Err(Error::LinkTarget {
                    path,
                    target,
                    offset,
                });
            }
            if path < target {
                moved.entry(target).or_insert(path);
            }
        }
        Ok(Self {
            tree,
            entries: tree.iter(),
            moved,
            mode,
            whole: memory as u64 * 5 / 9,
            jobs: VecDeque::new(),
            members: Vec::new(),
            members_cost: 0,
            glue: Vec::new(),
            glue_size: 0,
            ended: false,
        })
    }

    /// The first name of each file whose content is not at its own; a hard link comes before it.
    pub(crate) fn moved(&self) -> &BTreeMap<EntryPath, EntryPath> {
        &self.moved
    }

    /// The next job; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Job>> {
        loop {
            if let Some(job) = self.jobs.pop_front() {
                return Ok(Some(job));
            }
            match self.entries.next() {
                Some((path, entry)) => self.entry(path, entry)?,
                None if self.ended => return Ok(None),
                None => {
                    self.ended = true;
                    if !self.mode.indexed {
                        self.bytes(header::end());
                    }
                    self.flush(false);
                    self.hand_over();
                }
            }
        }
    }

    /// Whether all jobs were taken.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.jobs.is_empty()
    }

    fn entry(&mut self, path: EntryPath, entry: Entry) -> Result<()> {
        let metadata = &entry.metadata;
        match entry.kind {
            Kind::File(content) => match self.moved.get(&path).cloned() {
                // All names of a file have one mode and owner, those of the file.
                Some(first) => self.header(&path, Type::Hardlink(&first), metadata),
                None => self.file(path, content, metadata),
            },
            Kind::Hardlink(target) => {
                let Some(Entry {
                    kind: Kind::File(content),
                    metadata,
                    ..
                }) = self.tree.get(&target)
                else {
                    // Refused when the plan was made.
                    return Ok(());
                };
                let first = self.moved.get(&target).cloned().unwrap_or(target);
                if first == path {
                    self.file(path, content, &metadata)
                } else {
                    self.header(&path, Type::Hardlink(&first), &metadata)
                }
            }
            Kind::Dir => self.header(&path, Type::Dir, metadata),
            Kind::Symlink(target) => self.header(&path, Type::Symlink(&target), metadata),
            Kind::CharDevice(device) => self.header(&path, Type::CharDevice(device), metadata),
            Kind::BlockDevice(device) => self.header(&path, Type::BlockDevice(device), metadata),
            Kind::Fifo => self.header(&path, Type::Fifo, metadata),
        }
    }

    fn file(&mut self, path: EntryPath, content: Content, metadata: &Metadata) -> Result<()> {
        let size = content.size();
        self.header(&path, Type::File(size), metadata)?;
        let Mode { splice, indexed } = self.mode;
        let content = match content.0 {
            Repr::Stored {
                packed: Some(packed),
                ..
            } if splice && (size > SMALL || indexed) => Arc::unwrap_or_clone(packed),
            _ => content,
        };
        let file = File { path, content };
        if indexed && size > 0 {
            self.flush(false);
        }
        match file.content.0 {
            Repr::Deflated { compressed, .. }
                if splice && (size > SMALL || indexed && size > 0) =>
            {
                self.flush(false);
                if size.saturating_add(compressed) <= self.whole {
                    self.member(Member::Splice(file));
                } else {
                    self.hand_over();
                    self.jobs.push_back(Job::Splice(file));
                }
            }
            Repr::Deflated { .. } if size > GROUP => {
                self.flush(false);
                self.hand_over();
                self.jobs.push_back(Job::Recompress(file));
            }
            Repr::Deflated { .. } => self.content(file, 0..size, false),
            Repr::Bytes(_) | Repr::Stored { .. } => {
                let store = size > SMALL && is_compressed(&file.path);
                if store {
                    self.flush(false);
                }
                let mut at = 0;
                if size == 0 {
                    self.content(file.clone(), 0..0, false);
                }
                while at < size {
                    let room = GROUP.saturating_sub(self.glue_size).max(1);
                    let end = size.min(at.saturating_add(room));
                    self.content(file.clone(), at..end, store);
                    at = end;
                }
                if store {
                    self.flush(true);
                }
            }
        }
        if indexed && size > 0 {
            self.flush(false);
        }
        self.bytes(vec![0; header::padding(size)]);
        Ok(())
    }

    fn header(&mut self, path: &EntryPath, kind: Type<'_>, metadata: &Metadata) -> Result<()> {
        let mut out = Vec::new();
        header::append(&mut out, path, kind, metadata).map_err(|fault| Error::Write {
            path: path.clone(),
            offset: self.tree.offset(path),
            fault,
        })?;
        self.bytes(out);
        Ok(())
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        self.glue_size += bytes.len() as u64;
        match self.glue.last_mut() {
            Some(Part::Bytes(before)) => before.extend(bytes),
            _ if bytes.is_empty() => {}
            _ => self.glue.push(Part::Bytes(bytes)),
        }
        if self.glue_size >= GROUP {
            self.flush(false);
        }
    }

    fn content(&mut self, file: File, range: Range<u64>, store: bool) {
        self.glue_size += range.end - range.start;
        self.glue.push(Part::Content(file, range));
        if self.glue_size >= GROUP {
            self.flush(store);
        }
    }

    fn flush(&mut self, store: bool) {
        self.glue_size = 0;
        let parts = mem::take(&mut self.glue);
        if !parts.is_empty() {
            self.member(Member::Glue { parts, store });
        }
    }

    fn member(&mut self, member: Member) {
        let cost = member.cost();
        // The index wants each content by itself.
        if self.mode.indexed || self.members_cost.saturating_add(cost) > 2 * GROUP {
            self.hand_over();
        }
        self.members_cost += cost;
        self.members.push(member);
    }

    fn hand_over(&mut self) {
        self.members_cost = 0;
        let members = mem::take(&mut self.members);
        if !members.is_empty() {
            self.jobs.push_back(Job::Members(members));
        }
    }
}

impl Job {
    /// The file whose content it is, if it is nothing else.
    pub(crate) fn content_of(&self) -> Option<&EntryPath> {
        match self {
            Self::Splice(file) | Self::Recompress(file) => Some(&file.path),
            Self::Members(members) => match &members[..] {
                [Member::Splice(file)] => Some(&file.path),
                [Member::Glue { parts, .. }] => match &parts[..] {
                    [Part::Content(file, _)] => Some(&file.path),
                    _ => None,
                },
                _ => None,
            },
        }
    }

    /// Bytes that it needs in memory while it runs and until its result is written, if there are so many for all jobs.
    pub(crate) fn cost(&self, in_flight: usize) -> usize {
        let bytes = match self {
            Self::Members(members) => members.iter().map(Member::cost).sum(),
            // The more, the farther it runs ahead of those that are written before.
            Self::Splice(_) | Self::Recompress(_) => (in_flight as u64 / 3).max(8 * GROUP),
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Member {
    /// Bytes of it, not compressed.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Glue { parts, .. } => parts.iter().map(Part::size).sum(),
            Self::Splice(file) => file.content.size(),
        }
    }

    /// Bytes of it and of what it becomes.
    fn cost(&self) -> u64 {
        match self {
            Self::Glue { .. } => self.size() * 2,
            Self::Splice(file) => self.size() + file.content.stored_size(),
        }
    }
}

impl Part {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Content(_, range) => range.end - range.start,
        }
    }
}

impl File {
    /// An error of its content, with its name.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        self.content.named(self.path.as_bytes(), error)
    }

    /// Whether this is the CRC-32 of its content.
    pub(crate) fn check(&self, crc: &Crc) -> Result<()> {
        match self.content.declared_crc32() {
            Some(expected) if expected != crc.sum() => {
                let actual = crc.sum();
                Err(self.refused(Fault::Checksum { expected, actual }))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn refused(&self, fault: Fault) -> Error {
        self.content.refused(self.path.as_bytes(), fault)
    }
}

/// Whether it is a format that deflate cannot make smaller. By name, since the plan reads nothing.
fn is_compressed(path: &EntryPath) -> bool {
    const EXTENSIONS: &[&str] = &[
        "7z", "aar", "apk", "br", "bz2", "docx", "ear", "gif", "gz", "jar", "jmod", "jpeg", "jpg",
        "lz4", "mp3", "mp4", "odt", "png", "pptx", "rar", "tgz", "txz", "war", "webp", "whl",
        "woff", "woff2", "xlsx", "xz", "zip", "zst",
    ];
    let name = path.file_name();
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else {
        return false;
    };
    let extension = name[dot + 1..].to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| known.as_bytes() == extension)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Deflated files of so many bytes, which nobody reads.
    fn deflated(files: usize, compressed: u64, size: u64) -> Tree {
        let mut tree = Tree::new();
        for n in 0..files {
            let content = Content::deflated(Arc::new(Bytes::new()), 0, compressed, size, 0);
            let entry = Entry::file(content);
            tree.insert(format!("{n:04}").parse().unwrap(), entry)
                .unwrap();
        }
        tree
    }

    fn jobs(tree: &Tree, indexed: bool) -> Vec<Job> {
        let mode = Mode {
            splice: true,
            indexed,
        };
        let mut plan = Plan::new(tree, mode, 72 << 20).unwrap();
        std::iter::from_fn(|| plan.next().unwrap()).collect()
    }

    fn members(job: &Job) -> usize {
        match job {
            Job::Members(members) => members.len(),
            Job::Splice(_) | Job::Recompress(_) => 1,
        }
    }

    #[test]
    fn small_members_are_made_together_and_the_index_has_each_by_itself() {
        let tree = deflated(100, 10_000, SMALL + 1);
        let together = jobs(&tree, false);
        assert!(together.len() < 4, "{}", together.len());
        // The header of each, the stream, and the end.
        assert_eq!(together.iter().map(members).sum::<usize>(), 201);
        assert!(jobs(&tree, true).iter().all(|job| members(job) == 1));
    }

    #[test]
    fn what_inflates_to_little_takes_the_memory_that_it_takes() {
        // Streams of blocks that are empty.
        let tree = deflated(48, 2 << 20, SMALL + 1);
        for job in jobs(&tree, false) {
            let most = 2 * usize::try_from(GROUP).unwrap();
            assert!(job.cost(72 << 20) <= most || members(&job) == 1, "{job:?}");
        }
    }

    #[test]
    fn what_is_compressed_already_is_not_compressed_again_however_large() {
        let mut tree = Tree::new();
        let entry = Entry::file(Content::from(vec![0; 3_000_000]));
        tree.insert("a.jar".parse().unwrap(), entry).unwrap();
        let mut stored = 0;
        for job in jobs(&tree, false) {
            let Job::Members(members) = job else { continue };
            for member in members {
                if let Member::Glue { store: true, parts } = member {
                    stored += parts.iter().map(Part::size).sum::<u64>();
                }
            }
        }
        assert_eq!(stored, 3_000_000);
    }
}
