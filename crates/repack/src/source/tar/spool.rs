//! Compressed archives are unpacked into a temporary file once, so that their entries can be read
//! at any place; by another thread, while headers are read already.

mod gzip;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    mem, panic,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use ocicore::{Cx, SizeLimits, Task};

use crate::{Content, Error, ReadAt, Result, source::read_at::write_all_at};

const PIECE: usize = 256 << 10;
/// How often the reader is told of more before it takes notice.
const UNREAD: usize = 256;

/// An archive that can be read at any place. If it is compressed, some of it may still be on its way.
pub(super) struct Unpacked {
    source: Arc<dyn ReadAt>,
    /// So many bytes are there.
    size: u64,
    /// Where the member begins that is on its way.
    begun: u64,
    members: Members,
    /// None if all is there.
    more: Option<Receiver<More>>,
}

/// What is there since the last time.
struct More {
    size: u64,
    begun: u64,
    members: Vec<Member>,
}

/// The members of a gzip stream, so that a file that is one need not be compressed again.
#[derive(Default)]
struct Members {
    /// The compressed archive.
    of: Option<Arc<dyn ReadAt>>,
    list: Vec<Member>,
}

/// One member.
struct Member {
    /// Where its content begins in the unpacked archive.
    start: u64,
    size: u64,
    /// Where its deflate stream lies in the compressed one.
    offset: u64,
    compressed: u64,
}

impl Unpacked {
    /// Waits until there are so many bytes; false if there will never be.
    pub(super) fn reaches(&mut self, size: u64) -> bool {
        while self.size < size {
            if !self.waited() {
                return false;
            }
        }
        true
    }

    /// Fills `buffer` with what lies at `at`.
    pub(super) fn read_exact_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if !self.reaches(at.saturating_add(buffer.len() as u64)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_exact_at(buffer, at)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_whole(&self) -> bool {
        self.more.is_none()
    }

    /// So many bytes as are there; all of them, if it does not reach further.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What contents are read from.
    pub(super) fn source(&self) -> &Arc<dyn ReadAt> {
        &self.source
    }

    /// So many bytes at `at`, which are there, with the member that is just these.
    pub(super) fn content(&mut self, at: u64, size: u64) -> io::Result<Content> {
        let content = Content::stored(Arc::clone(&self.source), at, size, None);
        // That member may be on its way; if there is more of it than that, it is another.
        while self.begun == at && self.size <= at + size && self.waited() {}
        let list = &self.members.list;
        let found = list
            .binary_search_by_key(&at, |member| member.start)
            .ok()
            .map(|index| &list[index])
            .filter(|member| member.size == size);
        let (Some(member), Some(of)) = (found, &self.members.of) else {
            return Ok(content);
        };
        // The trailer begins with the CRC-32 (RFC 1952 §2.3.1).
        let mut crc = [0; 4];
        of.read_exact_at(&mut crc, member.offset + member.compressed)?;
        let crc = u32::from_le_bytes(crc);
        let of = Arc::clone(of);
        let deflated = Content::deflated(of, member.offset, member.compressed, size, crc);
        Ok(content.with_packed(deflated))
    }

    /// False if all is there.
    fn waited(&mut self) -> bool {
        let Some(more) = self.more.as_ref().and_then(|more| more.recv().ok()) else {
            self.more = None;
            return false;
        };
        (self.size, self.begun) = (more.size, more.begun);
        self.members.list.extend(more.members);
        true
    }
}

/// Reads the archive itself, or what it unpacks to. What is wrong with the compression is said first, then what is against
/// all that was unpacked, and then only what `read` has found in it.
pub(super) fn unpacked<T>(
    cx: &Cx,
    source: Arc<dyn ReadAt>,
    limits: &SizeLimits,
    accept: impl FnOnce(&dyn ReadAt) -> Result<()>,
    read: impl FnOnce(Unpacked) -> Result<T>,
) -> Result<T> {
    let size = source.size().map_err(failed)?;
    let mut magic = [0; 4];
    if size >= 4 {
        source.read_exact_at(&mut magic, 0).map_err(failed)?;
    }
    match magic {
        [0x1f, 0x8b, ..] => {
            let of = Some(Arc::clone(&source));
            let unpack = |mut spool: Spool| {
                gzip::unpack(&*source, size, &mut spool, limits)?;
                spool.finish()
            };
            spooled(cx, "gzip", of, limits, unpack, accept, read)
        }
        #[cfg(feature = "zstd")]
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let unpack = |mut spool: Spool| {
                let decoder = zstd::Decoder::with_buffer(Counted::new(&*source, 0, size));
                let mut decoder = decoder.map_err(|error| Error::io("decompress", error))?;
                // Frames that want more than 128 MiB of memory are refused.
                decoder
                    .window_log_max(27)
                    .map_err(|error| Error::io("decompress", error))?;
                spool.all(&mut decoder).map_err(|error| {
                    let at = decoder.get_ref().count;
                    error.within(at, format!("it is damaged before byte {at}"))
                })?;
                spool.finish()
            };
            spooled(cx, "zstd", None, limits, unpack, accept, read)
        }
        _ => {
            accept(&*source)?;
            read(Unpacked {
                source,
                size,
                begun: size,
                members: Members::default(),
                more: None,
            })
        }
    }
}

/// Unpacks by one thread what this one reads.
fn spooled<T>(
    cx: &Cx,
    format: &'static str,
    of: Option<Arc<dyn ReadAt>>,
    limits: &SizeLimits,
    unpack: impl FnOnce(Spool) -> Result<()> + Send,
    accept: impl FnOnce(&dyn ReadAt) -> Result<()>,
    read: impl FnOnce(Unpacked) -> Result<T>,
) -> Result<T> {
    let (spool, more) = Spool::new(cx, format, limits)?;
    let file = Arc::clone(&spool.to);
    thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack(spool));
        let read = read(Unpacked {
            source: Arc::<File>::clone(&file),
            size: 0,
            begun: 0,
            members: Members {
                of,
                list: Vec::new(),
            },
            more: Some(more),
        });
        unpacking
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        accept(&*file)?;
        read
    })
}

/// The file that an archive is unpacked into.
struct Spool {
    to: Arc<File>,
    format: &'static str,
    size: u64,
    limit: u64,
    task: Task,
    buffer: Vec<u8>,
    /// Where the member begins that is on its way, and those that are new.
    begun: u64,
    members: Vec<Member>,
    more: SyncSender<More>,
}

impl Spool {
    fn new(cx: &Cx, format: &'static str, limits: &SizeLimits) -> Result<(Self, Receiver<More>)> {
        // Headers come on top of the content, three blocks for an entry at most in most archives.
        let headers = limits.entries().saturating_mul(3 * 512);
        let (more, receiver) = sync_channel(UNREAD);
        let spool = Self {
            to: Arc::new(tempfile::tempfile().map_err(written)?),
            format,
            size: 0,
            limit: limits.unpacked().saturating_add(headers),
            task: cx.task("unpack", None),
            buffer: vec![0; PIECE],
            begun: 0,
            members: Vec::new(),
            more,
        };
        Ok((spool, receiver))
    }

    /// Appends all of this.
    fn all(&mut self, from: &mut dyn Read) -> Result<()> {
        loop {
            let n = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.refused(error)),
            };
            let at = self.size;
            self.size += n as u64;
            self.task.add(n as u64)?;
            if self.size > self.limit {
                return Err(Error::Limit {
                    what: "the unpacked archive".to_owned(),
                    limit: self.limit,
                });
            }
            write_all_at(&self.to, &self.buffer[..n], at).map_err(written)?;
            self.tell();
        }
    }

    /// Lets the reader go on.
    fn tell(&mut self) {
        let more = More {
            size: self.size,
            begun: self.begun,
            members: mem::take(&mut self.members),
        };
        // It may have seen enough.
        let _ = self.more.send(more);
    }

    /// What was written after the end does not count.
    fn finish(self) -> Result<()> {
        self.to.set_len(self.size).map_err(written)
    }

    fn refused(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => Error::Archive {
                format: self.format,
                source: error.into(),
            },
        }
    }
}

fn written(error: io::Error) -> Error {
    Error::io("write a temporary file", error)
}

/// Counts what is taken of it.
struct Counted<'a> {
    reader: BufReader<Sequential<'a>>,
    count: u64,
}

impl<'a> Counted<'a> {
    /// From the byte `at`, which is what it counts from.
    fn new(source: &'a dyn ReadAt, at: u64, size: u64) -> Self {
        let sequential = Sequential { source, at, size };
        Self {
            reader: BufReader::with_capacity(PIECE, sequential),
            count: at,
        }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.reader.consume(amount);
    }
}

/// A [`ReadAt`] from its start to its end.
struct Sequential<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    size: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size - self.at;
        let n = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        self.source
            .read_exact_at(&mut buffer[..n], self.at)
            .map_err(|error| io::Error::from(failed(error)))?;
        self.at += n as u64;
        Ok(n)
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("read the archive", error)
}
