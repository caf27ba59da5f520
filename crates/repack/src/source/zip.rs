//! Zip archives as trees.
//!
//! The central directory is the truth, and each local header is compared with it, so that no two
//! readers can see different archives. Names are taken as UTF-8 if they are, whatever their flag says, else
//! as CP437 (APPNOTE.TXT appendix D). Times are not kept, for they have no zone. Modes of archives
//! made on Unix are kept, without setuid, setgid and sticky; others get the usual modes.

mod local;
mod names;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use ::zip::{CompressionMethod, System, ZipArchive, read::ZipFileEntry, result::ZipError};
use ocicore::{Cx, SizeLimits};

use crate::{Content, Entry, Error, Fault, ReadAt, Result, Tree, error::printable};

/// Types of files in the upper half of the external attributes (`st_mode`).
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// Compression methods, APPNOTE.TXT §4.4.5.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Longest target of a symbolic link on Linux.
const LONGEST_TARGET: u64 = 4095;
/// What a central directory may have in bytes for each entry that the limits allow.
const DIRECTORY_BYTES: u64 = 256;

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
/// [`Error::Archive`] if there is no central directory, [`Error::Path`] and [`Error::Entry`] for
/// everything that is hostile or cannot be read, [`Error::Limit`].
pub fn index(cx: &Cx, source: Arc<dyn ReadAt>, limits: &SizeLimits) -> Result<Tree> {
    let _span = tracing::debug_span!("index_zip").entered();
    let size = source
        .size()
        .map_err(|error| Error::io("read the archive", error))?;
    let budget = limits.entries().saturating_mul(DIRECTORY_BYTES);
    let reader = Positioned {
        source: &*source,
        at: 0,
        size,
        budget: budget.saturating_add(1 << 20),
    };
    let archive = ZipArchive::new(BufReader::new(reader)).map_err(refused)?;
    let count = archive.len() as u64;
    if count > limits.entries() {
        return Err(Error::Limit {
            what: format!("the number of entries, {count},"),
            limit: limits.entries(),
        });
    }
    let headers = local::Archive {
        source: &*source,
        size,
        directory: archive.central_directory_start(),
    };
    if archive.has_duplicate_names() {
        return Err(duplicate(&headers));
    }
    let task = cx.task("index entries", Some(count));
    let metadata = archive.metadata();
    let mut indexing = Indexing {
        source: &source,
        headers,
        ranges: Vec::with_capacity(archive.len()),
        unpacked: 0,
        limits,
        tree: Tree::new(),
    };
    for at in 0..archive.len() {
        let entry = metadata.entry(at).map_err(refused)?;
        indexing.add(&entry)?;
        task.add(1)?;
    }
    indexing.check_overlap()?;
    Ok(indexing.tree)
}

struct Indexing<'a> {
    source: &'a Arc<dyn ReadAt>,
    headers: local::Archive<'a>,
    /// Header to end of data, and the place of the central header.
    ranges: Vec<(u64, u64, u64)>,
    unpacked: u64,
    limits: &'a SizeLimits,
    tree: Tree,
}

impl Indexing<'_> {
    fn add(&mut self, entry: &ZipFileEntry<'_>) -> Result<()> {
        let refuse = |fault| Error::Entry {
            path: printable(entry.name_raw()),
            offset: entry.header_start(),
            fault,
        };
        let (name, start) = (entry.name_raw(), entry.header_start());
        let path = names::path(entry).map_err(|error| error.at(name, start))?;
        let Some(path) = path else {
            return Ok(());
        };
        if entry.encrypted() {
            return Err(refuse(Fault::Encrypted));
        }
        let method = match entry.compression() {
            CompressionMethod::STORE => STORED,
            CompressionMethod::DEFLATE => DEFLATED,
            _ => {
                let header = self.headers.central(entry.central_header_start())?;
                return Err(refuse(Fault::Method(header.method)));
            }
        };
        self.unpacked = self.unpacked.saturating_add(entry.size());
        if self.unpacked > self.limits.unpacked() {
            return Err(Error::Limit {
                what: format!("the content up to entry `{path}`, {} bytes,", self.unpacked),
                limit: self.limits.unpacked(),
            });
        }
        let data = local::check(&self.headers, entry, method)?;
        let central = entry.central_header_start();
        self.ranges.push((entry.header_start(), data.end, central));
        let content = if method == DEFLATED {
            let compressed = entry.compressed_size();
            let source = Arc::clone(self.source);
            Content::deflated(source, data.start, compressed, entry.size(), entry.crc32())
        } else if entry.compressed_size() == entry.size() {
            let source = Arc::clone(self.source);
            Content::stored(source, data.start, entry.size(), Some(entry.crc32()))
        } else {
            return Err(refuse(Fault::Size {
                expected: entry.size(),
                actual: entry.compressed_size(),
            }));
        };
        let is_dir = entry.name_raw().ends_with(b"/");
        let entry = self.entry(entry, is_dir, content, &refuse)?;
        let is_dir = entry.kind.is_dir();
        let before = self.tree.insert(path, entry);
        match before.map_err(|error| error.at(name, start))? {
            // A directory may have been made for what is in it, before it came itself.
            Some(before) if !(before.kind.is_dir() && is_dir) => Err(refuse(Fault::Duplicate)),
            _ => Ok(()),
        }
    }

    fn entry(
        &self,
        entry: &ZipFileEntry<'_>,
        named_as_dir: bool,
        content: Content,
        refuse: &dyn Fn(Fault) -> Error,
    ) -> Result<Entry> {
        let is_unix = matches!(entry.system(), System::Unix | System::OsDarwin);
        let st_mode = if is_unix {
            entry.external_attributes() >> 16
        } else {
            0
        };
        let made = match st_mode & S_IFMT {
            S_IFDIR => Entry::dir(),
            S_IFLNK if !named_as_dir => {
                let name = entry.name_raw();
                if content.size() > LONGEST_TARGET {
                    return Err(refuse(Fault::LinkTarget));
                }
                let target = content.read_named(LONGEST_TARGET, name)?;
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

    /// Entries that share bytes make a small archive unpack to a huge one.
    fn check_overlap(&mut self) -> Result<()> {
        self.ranges.sort_unstable();
        let starts = self.ranges.iter().skip(1).map(|range| range.0);
        let next = starts.chain([self.headers.directory]);
        for ((start, end, central), next) in self.ranges.iter().zip(next) {
            if *end > next {
                return Err(Error::Entry {
                    path: printable(&self.headers.central(*central)?.name),
                    offset: *start,
                    fault: Fault::Overlap,
                });
            }
        }
        Ok(())
    }
}

/// The parser's own error, or that of the reader below it.
fn refused(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Error::Archive {
            format: "zip",
            source: "it ends within the central directory".into(),
        },
        ZipError::Io(error) => Error::io("read the archive", error),
        other => Error::Archive {
            format: "zip",
            source: other.to_string().into(),
        },
    }
}

/// Which name is there twice; the parser has only one of them.
fn duplicate(archive: &local::Archive<'_>) -> Error {
    let mut seen = BTreeSet::new();
    let mut at = archive.directory;
    loop {
        match archive.central(at) {
            Ok(header) => {
                at = header.next;
                let path = printable(&header.name);
                if !seen.insert(header.name) {
                    return Error::Entry {
                        path,
                        offset: header.local,
                        fault: Fault::Duplicate,
                    };
                }
            }
            Err(error) => return error,
        }
    }
}

/// A position in a [`ReadAt`], with a bound on what is read of it in all: the central directory of
/// a hostile archive may be as long as the file, and the parser keeps all of it.
#[derive(Debug)]
struct Positioned<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    size: u64,
    budget: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size.saturating_sub(self.at);
        let n = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let Some(budget) = self.budget.checked_sub(n as u64) else {
            return Err(Error::Limit {
                what: "the central directory".to_owned(),
                limit: self.budget,
            }
            .into());
        };
        self.budget = budget;
        self.source.read_exact_at(&mut buffer[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
