//! Tar archives as trees, compressed or not.
//!
//! ustar, PAX and GNU headers are read, and v7. Where an archive says something twice, both must be the same,
//! for readers disagree about which one counts. It must have its end, the blocks of zeros.

mod header;
mod pax;
mod sparse;
mod spool;

use std::{fs::File, io, path::Path, sync::Arc};

use ::tar::{EntryType, Header};
use ocicore::{Cx, SizeLimits};

use self::{pax::Records, spool::Unpacked};
use super::{
    UNPACKED,
    budget::{self, Budget, THING},
};
use crate::{
    Content, Entry, EntryPath, Error, Fault, Kind, ReadAt, Result, Tree, error::printable,
    tree::Item, write::header::padding,
};

const BLOCK: u64 = 512;
/// Largest PAX or GNU header that describes an entry; paths and attributes are far smaller.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// Longest target of a symbolic link on Linux.
const LONGEST_TARGET: usize = 4095;

/// Indexes a tar file, which may be compressed by gzip or Zstandard (feature `zstd`): then it is unpacked into a
/// temporary file.
///
/// # Errors
/// As [`index`], and [`Error::File`] if it cannot be opened.
pub fn open(cx: &Cx, path: impl AsRef<Path>, limits: &SizeLimits) -> Result<Tree> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file("open", path))?;
    index(cx, Arc::new(file), limits)
}

/// Indexes a tar archive, which may be compressed by gzip or Zstandard (feature `zstd`). Of an uncompressed one
/// only the headers are read.
///
/// # Errors
/// [`Error::Archive`] if it is compressed and damaged or has no end, [`Error::Entry`] for everything
/// that is hostile, cannot be read, or is over a limit; [`Error::Limit`] if what it unpacks to is.
pub fn index(cx: &Cx, source: Arc<dyn ReadAt>, limits: &SizeLimits) -> Result<Tree> {
    index_if(cx, source, limits, |_| Ok(()))
}

/// As [`index`], if there is nothing against what the archive unpacks to.
pub(crate) fn index_if(
    cx: &Cx,
    source: Arc<dyn ReadAt>,
    limits: &SizeLimits,
    accept: impl FnOnce(&dyn ReadAt) -> Result<()>,
) -> Result<Tree> {
    let _span = tracing::debug_span!("index_tar").entered();
    spool::unpacked(cx, source, limits, accept, |archive| {
        let total = archive.is_whole().then(|| archive.size());
        let task = cx.task("index", total);
        let mut indexing = Indexing {
            archive,
            at: 0,
            global: Records::default(),
            entries: 0,
            unpacked: 0,
            budget: Budget::new(limits),
            limits,
            tree: Tree::new(),
        };
        let mut reported = 0;
        while indexing.next()? {
            task.add(indexing.at - reported)?;
            reported = indexing.at;
        }
        Ok(indexing.tree)
    })
}

struct Indexing<'a> {
    archive: Unpacked,
    at: u64,
    global: Records,
    entries: u64,
    unpacked: u64,
    budget: Budget,
    limits: &'a SizeLimits,
    tree: Tree,
}

/// What came before a header and describes its entry.
#[derive(Default)]
struct Described {
    pax: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Described {
    fn is_nothing(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

impl Indexing<'_> {
    /// Reads one entry with all of its headers; false at the end.
    fn next(&mut self) -> Result<bool> {
        let mut described = Described::default();
        loop {
            let start = self.at;
            let mut block = [0; 512];
            if !self.archive.reaches(start.saturating_add(BLOCK)) {
                let what = format!("it ends at byte {start} without a block of zeros");
                return Err(Error::archive("tar", start, what));
            }
            self.archive
                .read_exact_at(&mut block, start)
                .map_err(failed)?;
            if block == [0; 512] {
                if described.is_nothing() {
                    return Ok(false);
                }
                let what = format!("it ends at byte {start} after a header for another");
                return Err(Error::archive("tar", start, what));
            }
            self.at += BLOCK;
            let header = Header::from_byte_slice(&block);
            let refuse = |fault| Error::Entry {
                path: printable(&header.path_bytes()),
                offset: start,
                fault,
            };
            if !header::checksum_is_right(&block) {
                return Err(refuse(Fault::Field("checksum")));
            }
            let twice = || refuse(Fault::Twice("header"));
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = Records::parse(&self.extension(header)?)
                        .ok_or_else(|| refuse(Fault::Field("PAX header")))?;
                    if described.pax.replace(records).is_some() {
                        return Err(twice());
                    }
                }
                EntryType::XGlobalHeader => {
                    let content = self.extension(header)?;
                    let records = Records::parse(&content)
                        .ok_or_else(|| refuse(Fault::Field("PAX header")))?;
                    // What it replaces counts on: nobody needs that many.
                    let kept = content.len() + THING * records.len();
                    self.budget.take(kept).map_err(refuse)?;
                    self.global.update(records);
                }
                EntryType::GNULongName => {
                    let name = self.extension(header)?;
                    if described.name.replace(header::until_nul(name)).is_some() {
                        return Err(twice());
                    }
                }
                EntryType::GNULongLink => {
                    let link = self.extension(header)?;
                    if described.link.replace(header::until_nul(link)).is_some() {
                        return Err(twice());
                    }
                }
                _ => {
                    self.add(header, described, start)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Content of a header that describes the next one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let start = self.at - BLOCK;
        let refuse = |fault| Error::Entry {
            path: printable(&header.path_bytes()),
            offset: start,
            fault,
        };
        let size = header::size(header, None).map_err(refuse)?;
        if size > LARGEST_EXTENSION {
            return Err(refuse(Fault::Limit {
                what: "the bytes of its extended header",
                actual: size,
                limit: LARGEST_EXTENSION,
            }));
        }
        let end = self
            .end(self.at, size)
            .ok_or_else(|| refuse(Fault::Truncated))?;
        // No more than the limit.
        let mut content = vec![0; usize::try_from(size).unwrap_or(0)];
        self.archive
            .read_exact_at(&mut content, self.at)
            .map_err(failed)?;
        self.at = end;
        Ok(content)
    }

    fn add(&mut self, header: &Header, described: Described, start: u64) -> Result<()> {
        let local = described.pax.unwrap_or_default();
        let pax = |key: &[u8]| local.get(key).or_else(|| self.global.get(key));
        // What the path says then is a name for readers that do not know of sparse files.
        let pax_name = local.get(b"GNU.sparse.name").or_else(|| pax(b"path"));
        let name = match (&described.name, pax_name) {
            (Some(gnu), Some(pax)) if gnu != pax => {
                return Err(Error::Entry {
                    path: printable(gnu),
                    offset: start,
                    fault: Fault::Twice("name"),
                });
            }
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_vec(),
            (None, None) => header.path_bytes().into_owned(),
        };
        let refuse = |fault| Error::Entry {
            path: printable(&name),
            offset: start,
            fault,
        };
        // The headers that describe it do not count: there are only so many for one.
        self.entries += 1;
        if self.entries > self.limits.entries() {
            return Err(refuse(Fault::Limit {
                what: "the number of entries",
                actual: self.entries,
                limit: self.limits.entries(),
            }));
        }
        let link = match (described.link, pax(b"linkpath")) {
            (Some(gnu), Some(pax)) if gnu != pax => return Err(refuse(Fault::Twice("link"))),
            (Some(link), _) => link,
            (None, Some(link)) => link.to_vec(),
            (None, None) => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        let mut sparse = sparse::Described::by_records(&local).map_err(refuse)?;
        let size = header::size(header, pax(b"size")).map_err(refuse)?;
        let mut metadata = header::metadata(header, &pax).map_err(refuse)?;
        metadata.xattrs = local.xattrs();
        let attributes = metadata.xattrs.iter();
        let attributes: usize = attributes.map(|(k, v)| THING + k.len() + v.len()).sum();
        let kept = name.len() + link.len() + attributes;
        self.budget.take(kept).map_err(refuse)?;
        let named = |error: Error| error.at(&name, start);
        let path = EntryPath::parse_archived(&name).map_err(named)?;
        let mut entry_type = header.entry_type();
        if entry_type == EntryType::Regular && name.ends_with(b"/") {
            // So v7 marks directories.
            entry_type = EntryType::Directory;
        }
        let mut is_sparse = false;
        let kind = match entry_type {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if entry_type == EntryType::GNUSparse {
                    let by_header = sparse::Described::by_header(header);
                    if sparse.replace(by_header.map_err(refuse)?).is_some() {
                        return Err(refuse(Fault::Twice("map")));
                    }
                }
                is_sparse = sparse.is_some();
                let content = self.content(size, sparse)?.map_err(refuse)?;
                self.unpacked = self.unpacked.saturating_add(content.size());
                if self.unpacked > self.limits.unpacked() {
                    return Err(refuse(Fault::Limit {
                        what: UNPACKED,
                        actual: self.unpacked,
                        limit: self.limits.unpacked(),
                    }));
                }
                Kind::File(content)
            }
            // Readers do not agree whether content follows these.
            _ if size > 0 => return Err(refuse(Fault::Field("size"))),
            EntryType::Directory => Kind::Dir,
            EntryType::Symlink => {
                if link.is_empty() || link.contains(&0) || link.len() > LONGEST_TARGET {
                    return Err(refuse(Fault::LinkTarget));
                }
                Kind::Symlink(link.into())
            }
            EntryType::Link => match EntryPath::parse_archived(&link) {
                Ok(Some(target)) => Kind::Hardlink(target),
                _ => return Err(refuse(Fault::LinkTarget)),
            },
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => Kind::CharDevice(header::device(header).map_err(refuse)?),
            EntryType::Block => Kind::BlockDevice(header::device(header).map_err(refuse)?),
            _ => return Err(refuse(Fault::Kind)),
        };
        let is_dir = matches!(kind, Kind::Dir);
        let Some(path) = path else {
            // The root itself.
            return if is_dir {
                Ok(())
            } else {
                Err(refuse(Fault::Kind))
            };
        };
        let item = Item {
            // Plain content tells itself.
            at: (is_sparse || !kind.is_file()).then_some(start),
            ..Entry::new(kind).with_metadata(metadata).into()
        };
        match self.tree.put(path, item).map_err(named)? {
            Some(before) if !(before.kind.is_dir() && is_dir) => Err(refuse(Fault::Duplicate)),
            _ => budget::check_depth(&self.tree, self.limits).map_err(refuse),
        }
    }

    /// The content that begins here, and goes to what follows it.
    fn content(
        &mut self,
        stored: u64,
        sparse: Option<sparse::Described>,
    ) -> Result<Result<Content, Fault>> {
        let (content, data_end) = match sparse {
            None => {
                let data_end = self.at.saturating_add(stored);
                if !self.archive.reaches(data_end) {
                    return Ok(Err(Fault::Truncated));
                }
                let content = self.archive.content(self.at, stored).map_err(failed)?;
                (content, data_end)
            }
            Some(described) => {
                match sparse::content(described, &mut self.archive, self.at, stored) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(Err(Fault::Truncated));
                    }
                    Err(error) => return Err(failed(error)),
                    Ok(Err(fault)) => return Ok(Err(fault)),
                    Ok(Ok((content, data_end, map))) => {
                        if let Err(fault) = self.budget.take(map) {
                            return Ok(Err(fault));
                        }
                        (content, data_end)
                    }
                }
            }
        };
        // More headers lie before the data, and these are whole blocks.
        match self.end(self.at, data_end - self.at) {
            None => Ok(Err(Fault::Truncated)),
            Some(end) => {
                self.at = end;
                Ok(Ok(content))
            }
        }
    }

    /// Where the next header is, if all of the content is there.
    fn end(&mut self, start: u64, size: u64) -> Option<u64> {
        let end = start.checked_add(size)?;
        let next = end.checked_add(padding(size) as u64)?;
        if self.archive.reaches(next) {
            return Some(next);
        }
        // A missing padding is noticed as a missing end.
        (end <= self.archive.size()).then_some(self.archive.size())
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("read the archive", error)
}
