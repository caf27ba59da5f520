//! What a worker does with one job.

use std::{io::Read, mem, sync::Arc};

use bytes::Bytes;
use flate2::Crc;

use super::{Chunk, Sent, Sum, SyncSender};
use crate::{
    Content, EntryPath, Error, Result,
    content::Repr,
    write::{
        budget::Permit,
        codec::Encoder,
        plan::{File, GROUP, Job, Part},
        splice::{self, Verifier},
    },
};

/// What is worth keeping from job to job.
pub(super) struct Tools {
    encoder: Encoder,
    verifier: Verifier,
    /// Room for a small file's member.
    member: Vec<u8>,
}

/// Where results go.
pub(super) struct Out<'a, 't> {
    pub(super) sender: &'a SyncSender<Sent<'t>>,
    pub(super) permit: Arc<Permit>,
    /// The file whose content it is.
    pub(super) of: Option<&'t EntryPath>,
}

impl<'t> Out<'_, 't> {
    fn send(&self, raw: Vec<u8>, packed: Vec<u8>, sums: Vec<Sum<'t>>) -> Result<()> {
        let chunk = Chunk {
            raw,
            packed,
            sums,
            of: self.of,
            permit: Some(Arc::clone(&self.permit)),
        };
        // Nobody reads any more only after another error, or when cancelled.
        self.sender
            .send(Sent::Chunk(chunk))
            .map_err(|_| Error::Cancelled)
    }
}

impl Tools {
    pub(super) fn new(encoder: Encoder, verifier: Verifier) -> Self {
        Self {
            encoder,
            verifier,
            member: Vec::new(),
        }
    }

    pub(super) fn run<'t>(&mut self, job: &Job<'t>, out: &Out<'_, 't>) -> Result<()> {
        match job {
            Job::Glue { parts, store } => self.glue(parts, *store, out),
            Job::Splice(file) => self.splice(*file, out),
            Job::SpliceStream(file) => stream(*file, out),
            Job::Recompress(file) => self.recompress(*file, out),
        }
    }

    fn glue<'t>(&mut self, parts: &[Part<'t>], store: bool, out: &Out<'_, 't>) -> Result<()> {
        let size: u64 = parts.iter().map(Part::size).sum();
        let mut raw = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let mut sums = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => raw.extend_from_slice(bytes),
                Part::Content(file, range) => {
                    let start = raw.len();
                    match &file.content.0 {
                        Repr::Deflated { .. } => {
                            let mut member = mem::take(&mut self.member);
                            self.inflate(*file, &mut member, &mut raw)?;
                            self.member = member;
                        }
                        Repr::Bytes(_) | Repr::Stored { .. } => {
                            let len = usize::try_from(range.end - range.start).unwrap_or(0);
                            raw.resize(start + len, 0);
                            file.content
                                .read_stored(&mut raw[start..], range.start)
                                .map_err(|error| file.failed(error))?;
                            let mut crc = Crc::new();
                            crc.update(&raw[start..]);
                            let last = range.end == file.content.size();
                            let file = *file;
                            sums.push(Sum { file, crc, last });
                        }
                    }
                }
            }
        }
        let packed = if store {
            self.encoder.store(&raw)?
        } else {
            self.encoder.encode(&raw)?
        };
        out.send(raw, packed, sums)
    }

    fn splice<'t>(&mut self, file: File<'t>, out: &Out<'_, 't>) -> Result<()> {
        let (mut member, mut raw) = (Vec::new(), Vec::new());
        self.inflate(file, &mut member, &mut raw)?;
        out.send(raw, member, Vec::new())
    }

    /// Reads a whole deflate stream, frames it as a member, and appends what it inflates to.
    fn inflate(&mut self, file: File<'_>, member: &mut Vec<u8>, raw: &mut Vec<u8>) -> Result<()> {
        let Repr::Deflated {
            compressed,
            size,
            crc,
            ..
        } = file.content.0
        else {
            return Ok(());
        };
        let too_large = || Error::Limit {
            what: format!("entry `{}`", file.path),
            limit: usize::MAX as u64,
        };
        let len = usize::try_from(compressed).map_err(|_| too_large())?;
        let raw_len = usize::try_from(size).map_err(|_| too_large())?;
        let (start, end) = (splice::START.len(), splice::START.len() + len);
        member.clear();
        member.resize(len + splice::FRAMING, 0);
        member[..start].copy_from_slice(&splice::START);
        file.content
            .read_stored(&mut member[start..end], 0)
            .map_err(|error| file.failed(error))?;
        member[end..].copy_from_slice(&splice::trailer(crc, size));
        let before = raw.len();
        raw.resize(before + raw_len, 0);
        if !self.verifier.inflate(member, &mut raw[before..]) {
            // The same bytes once more, by a reader that says what is wrong with them.
            let bytes = Bytes::copy_from_slice(&member[start..end]);
            raw.truncate(before);
            Content::deflated(Arc::new(bytes), 0, compressed, size, crc)
                .open()
                .read_to_end(raw)
                .map_err(|error| file.failed(error))?;
        }
        Ok(())
    }

    /// Inflates and compresses piece by piece.
    fn recompress<'t>(&mut self, file: File<'t>, out: &Out<'_, 't>) -> Result<()> {
        let mut content = file.content.open();
        loop {
            let mut raw = Vec::new();
            let n = content
                .by_ref()
                .take(GROUP)
                .read_to_end(&mut raw)
                .map_err(|error| file.failed(error))?;
            if n == 0 {
                return Ok(());
            }
            let packed = self.encoder.encode(&raw)?;
            out.send(raw, packed, Vec::new())?;
        }
    }
}

/// Frames and inflates a deflate stream piece by piece. Its end is verified before the trailer is
/// sent, and without the trailer nothing is renamed into place.
fn stream<'t>(file: File<'t>, out: &Out<'_, 't>) -> Result<()> {
    const PIECE: usize = 1 << 20;
    let mut content = file.content.open();
    let mut packed = splice::START.to_vec();
    let mut raw = vec![0; PIECE];
    let mut filled = 0;
    loop {
        let n = content
            .read_both(&mut raw[filled..], &mut packed)
            .map_err(|error| file.failed(error))?;
        filled += n;
        if n > 0 && filled < PIECE && packed.len() < PIECE {
            continue;
        }
        let mut piece = mem::replace(&mut raw, vec![0; PIECE]);
        piece.truncate(filled);
        filled = 0;
        if n == 0 {
            let crc = file.content.declared_crc32().unwrap_or(0);
            packed.extend(splice::trailer(crc, file.content.size()));
            return out.send(piece, packed, Vec::new());
        }
        out.send(piece, mem::take(&mut packed), Vec::new())?;
    }
}
