//! Zip archives as trees.
//!
//! The central directory is the truth, and each local header is compared with it, so that no two
//! readers can see different archives. It is read once and not kept, so that a million entries are
//! not in memory twice. Names are taken as UTF-8 if they are, whatever their flag says, else
//! as CP437 (APPNOTE.TXT appendix D). Times are not kept, for they have no zone. Modes of archives
//! made on Unix are kept, without setuid, setgid and sticky; others get the usual modes.

mod bytes;
mod central;
mod end;
mod local;
mod names;

use std::{fs::File, path::Path, sync::Arc};

use ocicore::{Cx, SizeLimits};

use self::{
    central::{Header, Headers},
    end::Directory,
};
use super::{
    UNPACKED,
    budget::{self, Budget},
};
use crate::{Content, Entry, Error, Fault, Kind, ReadAt, Result, Tree, tree::Item};

/// Types of files in the upper half of the external attributes (`st_mode`).
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// Compression methods, APPNOTE.TXT §4.4.5.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// General purpose bit 0, §4.4.4.
const IS_ENCRYPTED: u16 = 1;
/// Systems whose attributes are modes (§4.4.2): Unix and macOS.
const MADE_ON_UNIX: [u8; 2] = [3, 19];
/// Longest data descriptor (§4.3.9).
const DESCRIPTOR: u64 = 24;
/// Longest target of a symbolic link on Linux.
const LONGEST_TARGET: u64 = 4095;

/// Indexes a zip file; its content is read when the tree is.
///
/// # Errors
/// As [`index`], and [`Error::File`] if it cannot be opened.
pub fn open(cx: &Cx, path: impl AsRef<Path>, limits: &SizeLimits) -> Result<Tree> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file("open", path))?;
    index(cx, Arc::new(file), limits)
}

/// Indexes a zip archive: only headers are read, in one pass over the central directory.
///
/// # Errors
/// [`Error::Archive`] if there is no central directory, [`Error::Entry`] for everything that is hostile,
/// cannot be read, or is over a limit; [`Error::Limit`] if there are too many entries.
pub fn index(cx: &Cx, source: Arc<dyn ReadAt>, limits: &SizeLimits) -> Result<Tree> {
    let _span = tracing::debug_span!("index_zip").entered();
    let size = source
        .size()
        .map_err(|error| Error::io("read the archive", error))?;
    let directory = end::find(&*source, size)?;
    if directory.count > limits.entries() {
        return Err(Error::Limit {
            what: format!("the number of entries, {},", directory.count),
            limit: limits.entries(),
        });
    }
    let most = budget::most(limits);
    if directory.end - directory.start > most {
        return Err(Error::Limit {
            what: "the central directory".to_owned(),
            limit: most,
        });
    }
    let mut indexing = Indexing {
        source: &source,
        directory,
        locals: local::Archive::new(&*source, size, directory.start),
        runs: Vec::new(),
        unpacked: 0,
        targets: Budget::new(limits),
        limits,
        tree: Tree::new(),
    };
    let task = cx.task("index entries", Some(directory.count));
    let mut headers = Headers::new(&*source, directory);
    while let Some(header) = headers.next()? {
        indexing.add(&header)?;
        task.add(1)?;
    }
    indexing.check_overlap()?;
    Ok(indexing.tree)
}

struct Indexing<'a> {
    source: &'a Arc<dyn ReadAt>,
    directory: Directory,
    locals: local::Archive<'a>,
    /// Where entries lie, from header to end of data; what lies one behind the other is one run.
    runs: Vec<(u64, u64)>,
    unpacked: u64,
    /// Targets of symbolic links; the directory itself bounds the names.
    targets: Budget,
    limits: &'a SizeLimits,
    tree: Tree,
}

impl Indexing<'_> {
    fn add(&mut self, header: &Header<'_>) -> Result<()> {
        let refuse = |fault| header.refuse(fault);
        let (name, start) = (header.name(), header.local);
        let path = names::path(header).map_err(|error| error.at(name, start))?;
        let Some(path) = path else {
            return Ok(());
        };
        if header.flags & IS_ENCRYPTED != 0 {
            return Err(refuse(Fault::Encrypted));
        }
        if ![STORED, DEFLATED].contains(&header.method) {
            return Err(refuse(Fault::Method(header.method)));
        }
        self.unpacked = self.unpacked.saturating_add(header.size);
        if self.unpacked > self.limits.unpacked() {
            return Err(refuse(Fault::Limit {
                what: UNPACKED,
                actual: self.unpacked,
                limit: self.limits.unpacked(),
            }));
        }
        let data = local::check(&mut self.locals, header)?;
        match self.runs.last_mut() {
            // A data descriptor may lie between them; there is no room in it for another entry.
            Some((_, end)) if (*end..=*end + DESCRIPTOR).contains(&start) => *end = data.end,
            _ => self.runs.push((start, data.end)),
        }
        let source = Arc::clone(self.source);
        let content = if header.method == DEFLATED {
            let Header {
                compressed, size, ..
            } = *header;
            Content::deflated(source, data.start, compressed, size, header.crc)
        } else if header.compressed == header.size {
            Content::stored(source, data.start, header.size, Some(header.crc))
        } else {
            return Err(refuse(Fault::Size {
                expected: header.size,
                actual: header.compressed,
            }));
        };
        let entry = entry(header, content)?;
        if let Kind::Symlink(target) = &entry.kind {
            self.targets.take(target.len()).map_err(refuse)?;
        }
        // A directory may have been made for what is in it, before it came itself.
        let is_expected = entry.kind.is_dir() && self.tree.is_implied(&path);
        let item = Item {
            at: (!entry.kind.is_file()).then_some(start),
            ..entry.into()
        };
        let before = self.tree.put(path, item);
        match before.map_err(|error| error.at(name, start))? {
            Some(_) if !is_expected => Err(refuse(Fault::Duplicate)),
            _ => budget::check_depth(&self.tree, self.limits).map_err(refuse),
        }
    }

    /// Entries that share bytes make a small archive unpack to a huge one.
    fn check_overlap(&mut self) -> Result<()> {
        self.runs.sort_unstable();
        let starts = self.runs.iter().skip(1).map(|run| run.0);
        let next = starts.chain([self.directory.start]);
        if self
            .runs
            .iter()
            .zip(next)
            .all(|((_, end), next)| *end <= next)
        {
            return Ok(());
        }
        Err(self.overlapping()?)
    }

    /// Once more over the directory, to tell which entry it is.
    fn overlapping(&mut self) -> Result<Error> {
        let mut ranges = Vec::new();
        let mut headers = Headers::new(&**self.source, self.directory);
        while let Some(header) = headers.next()? {
            let data = local::check(&mut self.locals, &header)?;
            ranges.push((header.local, data.end));
        }
        ranges.sort_unstable();
        let pairs = ranges.iter().zip(ranges.iter().skip(1));
        let culprit = pairs
            .filter(|((_, end), (next, _))| end > next)
            .map(|(range, _)| *range)
            .next();
        let mut headers = Headers::new(&**self.source, self.directory);
        while let Some(header) = headers.next()? {
            let data = local::check(&mut self.locals, &header)?;
            if culprit == Some((header.local, data.end)) {
                return Ok(header.refuse(Fault::Overlap));
            }
        }
        Ok(end::refused(
            self.directory.start,
            "it has entries that share bytes",
        ))
    }
}

fn entry(header: &Header<'_>, content: Content) -> Result<Entry> {
    let refuse = |fault| header.refuse(fault);
    let named_as_dir = header.raw_name.ends_with(b"/");
    let is_unix = MADE_ON_UNIX.contains(&header.system);
    let st_mode = if is_unix { header.attributes >> 16 } else { 0 };
    let made = match st_mode & S_IFMT {
        S_IFDIR => Entry::dir(),
        S_IFLNK if !named_as_dir => {
            if content.size() > LONGEST_TARGET {
                return Err(refuse(Fault::LinkTarget));
            }
            let target = content.read_named(LONGEST_TARGET, header.name())?;
            if target.is_empty() || target.contains(&0) {
                return Err(refuse(Fault::LinkTarget));
            }
            return Ok(Entry::symlink(target));
        }
        0 | S_IFREG if named_as_dir => Entry::dir(),
        0 | S_IFREG => Entry::file(content.clone()),
        _ => return Err(refuse(Fault::Kind)),
    };
    if made.kind.is_dir() && content.size() > 0 {
        return Err(refuse(Fault::DirectoryContent));
    }
    Ok(match st_mode & 0o777 {
        // Nothing but the type, as some writers have it, is no mode.
        0 if st_mode & 0o7777 == 0 => made,
        mode => made.with_mode(mode),
    })
}
