//! Compressed archives are unpacked into a temporary file once, so that their entries can be read
//! at any place.

mod gzip;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use ocicore::{Cx, SizeLimits, Task};

use crate::{Content, Error, ReadAt, Result};

const PIECE: usize = 256 << 10;

/// An archive that can be read at any place.
pub(super) struct Unpacked {
    pub(super) source: Arc<dyn ReadAt>,
    members: Members,
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
    /// So many bytes at `at`, with the member that is just these.
    pub(super) fn content(&self, at: u64, size: u64) -> io::Result<Content> {
        let content = Content::stored(Arc::clone(&self.source), at, size, None);
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
}

/// The archive itself, or what it unpacks to.
pub(super) fn unpacked(cx: &Cx, source: Arc<dyn ReadAt>, limits: &SizeLimits) -> Result<Unpacked> {
    let plain = |source| Unpacked {
        source,
        members: Members::default(),
    };
    let size = source.size().map_err(failed)?;
    let mut magic = [0; 4];
    if size < 4 {
        return Ok(plain(source));
    }
    source.read_exact_at(&mut magic, 0).map_err(failed)?;
    match magic {
        [0x1f, 0x8b, ..] => {
            let mut spool = Spool::new(cx, "gzip", limits)?;
            let list = gzip::unpack(&*source, size, &mut spool, limits)?;
            Ok(Unpacked {
                source: Arc::new(spool.finish()?),
                members: Members {
                    of: Some(source),
                    list,
                },
            })
        }
        #[cfg(feature = "zstd")]
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let decoder = zstd::Decoder::with_buffer(Counted::new(&*source, 0, size));
            let mut decoder = decoder.map_err(|error| Error::io("decompress", error))?;
            // Frames that want more than 128 MiB of memory are refused.
            decoder
                .window_log_max(27)
                .map_err(|error| Error::io("decompress", error))?;
            let mut spool = Spool::new(cx, "zstd", limits)?;
            spool.all(&mut decoder).map_err(|error| {
                let at = decoder.get_ref().count;
                error.within(at, format!("it is damaged before byte {at}"))
            })?;
            Ok(plain(Arc::new(spool.finish()?)))
        }
        _ => Ok(plain(source)),
    }
}

/// The file that an archive is unpacked into.
struct Spool {
    to: File,
    format: &'static str,
    size: u64,
    limit: u64,
    task: Task,
    buffer: Vec<u8>,
}

impl Spool {
    fn new(cx: &Cx, format: &'static str, limits: &SizeLimits) -> Result<Self> {
        // Headers come on top of the content, three blocks for an entry at most in most archives.
        let headers = limits.entries().saturating_mul(3 * 512);
        Ok(Self {
            to: tempfile::tempfile().map_err(written)?,
            format,
            size: 0,
            limit: limits.unpacked().saturating_add(headers),
            task: cx.task("unpack", None),
            buffer: vec![0; PIECE],
        })
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
            self.size += n as u64;
            self.task.add(n as u64)?;
            if self.size > self.limit {
                return Err(Error::Limit {
                    what: "the unpacked archive".to_owned(),
                    limit: self.limit,
                });
            }
            self.to.write_all(&self.buffer[..n]).map_err(written)?;
        }
    }

    /// What was written after the end does not count.
    fn finish(self) -> Result<File> {
        self.to.set_len(self.size).map_err(written)?;
        Ok(self.to)
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
