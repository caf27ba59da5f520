//! What a worker does with one job.

mod stream;

use std::{io, mem, sync::Arc};

use bytes::Bytes;
use flate2::Crc;

use super::{Chunk, Sent, Sum, SyncSender};
use crate::{
    Content, EntryPath, Error, Result,
    content::Repr,
    write::{
        arena::{Arena, Buffer},
        codec::Encoder,
        plan::{File, GROUP, Job, Member, Part},
        splice::{self, Verifier},
    },
};

/// Bytes of a large result after which it is handed on, so that it makes room piece by piece: large enough that
/// this costs nothing, and small enough for a cache.
pub(super) const PIECE: usize = 512 << 10;

/// What is worth keeping from job to job.
pub(super) struct Tools {
    encoder: Encoder,
    verifier: Verifier,
    /// Room for a small file's member.
    member: Vec<u8>,
}

/// Where results go, and the memory for them.
pub(super) struct Out<'a> {
    pub(super) sender: &'a SyncSender<Sent>,
    /// As much as the job [needs](need), for nobody else.
    pub(super) memory: Arc<Arena>,
    /// The file whose content it is.
    pub(super) of: Option<&'a EntryPath>,
}

impl Out<'_> {
    fn buffer(&self, len: usize) -> Result<Buffer> {
        self.memory.lend(len).ok_or(Error::Cancelled)
    }

    fn send(&self, raw: Buffer, packed: Buffer, sums: Vec<Sum>) -> Result<()> {
        let chunk = Chunk {
            raw,
            packed,
            sums,
            of: self.of.cloned(),
        };
        // Nobody reads any more only after another error, or when cancelled.
        self.sender
            .send(Sent::Chunk(chunk))
            .map_err(|_| Error::Cancelled)
    }
}

/// Bytes for all buffers of a job: its content, and what compression adds at most to what does not shrink.
pub(super) fn need(job: &Job, in_flight: usize) -> usize {
    let cost = job.cost(in_flight);
    cost.saturating_add(cost / 64).saturating_add(64 << 10)
}

impl Tools {
    pub(super) fn new(encoder: Encoder, verifier: Verifier) -> Self {
        Self {
            encoder,
            verifier,
            member: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, job: &Job, out: &Out<'_>) -> Result<()> {
        let result = match job {
            Job::Members(members) => self.members(members, out),
            Job::Splice(file) => stream::splice(file, out),
            Job::Recompress(file) => self.recompress(file, out),
        };
        out.memory.close();
        result
    }

    fn members(&mut self, members: &[Member], out: &Out<'_>) -> Result<()> {
        let (mut size, mut bound) = (0, 0);
        for member in members {
            let len = usize::try_from(member.size()).unwrap_or(usize::MAX);
            size += len;
            bound += match member {
                Member::Glue { .. } => self.encoder.bound(len),
                Member::Splice(file) => framed(file, file.content.stored_size())?,
            };
        }
        let (mut raw, mut packed) = (out.buffer(size)?, out.buffer(bound)?);
        // Nothing more is needed: each piece that is written makes room for others.
        out.memory.close();
        let mut sums = Vec::new();
        let mut rest = &mut *raw;
        let mut made = 0;
        for member in members {
            // They add up to all of it.
            let len = usize::try_from(member.size()).unwrap_or(usize::MAX);
            let there;
            (there, rest) = mem::take(&mut rest).split_at_mut(len);
            made += match member {
                Member::Glue { parts, store } => {
                    self.glue(parts, there, &mut sums)?;
                    if *store {
                        self.encoder.store(there, &mut packed[made..])?
                    } else {
                        self.encoder.encode(there, &mut packed[made..])?
                    }
                }
                Member::Splice(file) => {
                    let len = framed(file, file.content.stored_size())?;
                    self.inflate(file, &mut packed[made..made + len], there)?;
                    len
                }
            };
        }
        packed.truncate(made);
        let chunks = raw.len().max(packed.len()).div_ceil(PIECE).max(1);
        let (some, piece) = (raw.len().div_ceil(chunks), packed.len().div_ceil(chunks));
        for _ in 0..chunks {
            out.send(
                raw.split_to(some),
                packed.split_to(piece),
                mem::take(&mut sums),
            )?;
        }
        Ok(())
    }

    /// Puts the parts together.
    fn glue(&mut self, parts: &[Part], mut rest: &mut [u8], sums: &mut Vec<Sum>) -> Result<()> {
        for part in parts {
            // They add up to all of it.
            let len = usize::try_from(part.size()).unwrap_or(usize::MAX);
            let there;
            (there, rest) = rest.split_at_mut(len);
            match part {
                Part::Bytes(bytes) => there.copy_from_slice(bytes),
                Part::Content(file, range) => match &file.content.0 {
                    // More than it can be if it was deflated to be smaller.
                    Repr::Deflated { compressed, .. } if *compressed > 2 * GROUP => {
                        fill(&file.content, there).map_err(|error| file.failed(error))?;
                    }
                    Repr::Deflated { compressed, .. } => {
                        let mut member = mem::take(&mut self.member);
                        member.resize(framed(file, *compressed)?, 0);
                        self.inflate(file, &mut member, there)?;
                        self.member = member;
                    }
                    Repr::Bytes(_) | Repr::Stored { .. } => {
                        file.content
                            .read_stored(there, range.start)
                            .map_err(|error| file.failed(error))?;
                        if file.content.declared_crc32().is_none() {
                            continue;
                        }
                        let mut crc = Crc::new();
                        crc.update(there);
                        let last = range.end == file.content.size();
                        if last && range.start == 0 {
                            file.check(&crc)?;
                        } else {
                            let file = file.clone();
                            sums.push(Sum { file, crc, last });
                        }
                    }
                },
            }
        }
        Ok(())
    }

    /// Reads a whole deflate stream, frames it as a `member`, which is as long as that, and inflates
    /// it to `raw`, which is as long as it says.
    fn inflate(&mut self, file: &File, member: &mut [u8], raw: &mut [u8]) -> Result<()> {
        let Repr::Deflated {
            compressed,
            size,
            crc,
            ..
        } = file.content.0
        else {
            return Ok(());
        };
        let (start, end) = (splice::START.len(), member.len() - TRAILER);
        member[..start].copy_from_slice(&splice::START);
        file.content
            .read_stored(&mut member[start..end], 0)
            .map_err(|error| file.failed(error))?;
        member[end..].copy_from_slice(&splice::trailer(crc, size));
        if self.verifier.inflate(member, raw) {
            return Ok(());
        }
        // The same bytes once more.
        let bytes = Bytes::copy_from_slice(&member[start..end]);
        let content = Content::deflated(Arc::new(bytes), 0, compressed, size, crc);
        fill(&content, raw).map_err(|error| file.failed(error))
    }

    /// Inflates and compresses piece by piece.
    fn recompress(&mut self, file: &File, out: &Out<'_>) -> Result<()> {
        let mut content = file.content.open();
        loop {
            let mut raw = out.buffer(usize::try_from(GROUP).unwrap_or(usize::MAX))?;
            let n = content.fill(&mut raw).map_err(|error| file.failed(error))?;
            if n == 0 {
                return Ok(());
            }
            raw.truncate(n);
            let mut packed = out.buffer(self.encoder.bound(n))?;
            let len = self.encoder.encode(&raw, &mut packed)?;
            packed.truncate(len);
            out.send(raw, packed, Vec::new())?;
        }
    }
}

/// CRC-32 and size at the end of a member.
const TRAILER: usize = splice::FRAMING - splice::START.len();

/// Reads it whole, by the reader that says what is wrong.
fn fill(content: &Content, raw: &mut [u8]) -> io::Result<()> {
    let mut reader = content.open();
    reader.fill(raw)?;
    io::copy(&mut reader, &mut io::sink())?;
    Ok(())
}

/// Length of a member with so many compressed bytes.
fn framed(file: &File, compressed: u64) -> Result<usize> {
    let len = usize::try_from(compressed).ok();
    let framed = len.and_then(|len| len.checked_add(splice::FRAMING));
    framed.ok_or_else(|| too_large(file))
}

fn too_large(file: &File) -> Error {
    Error::Limit {
        what: format!("entry `{}`", file.path),
        limit: usize::MAX as u64,
    }
}
