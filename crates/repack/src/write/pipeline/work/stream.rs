//! A deflate stream of any size, copied piece by piece.

use std::{io, mem};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Crc;

use super::{Out, PIECE};
use crate::{
    Error, Fault, Result,
    content::Repr,
    write::{
        arena::Buffer,
        plan::File,
        splice::{START, trailer},
    },
};

/// Frames and inflates it. Its end is verified before the trailer is sent, and without the trailer nothing is renamed
/// into place.
pub(super) fn splice(file: &File, out: &Out<'_>) -> Result<()> {
    let Repr::Deflated {
        compressed,
        size,
        crc,
        ..
    } = file.content.0
    else {
        return Ok(());
    };
    let mut inflate = Decompress::new(false);
    let mut sum = Crc::new();
    let mut packed = Input::new(file, out)?;
    let mut raw = out.buffer(PIECE)?;
    let mut made = 0;
    loop {
        packed.fill()?;
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(packed.unused(), &mut raw[made..], FlushDecompress::None)
            .map_err(|_| fault(file))?;
        // Both are at most the lengths of the buffers.
        let used = usize::try_from(inflate.total_in() - before_in).unwrap_or(0);
        let given = usize::try_from(inflate.total_out() - before_out).unwrap_or(0);
        packed.used += used;
        made += given;
        let is_end = status == Status::StreamEnd;
        if inflate.total_out() > size || used == 0 && given == 0 && !is_end {
            return Err(fault(file));
        }
        if is_end || made == raw.len() {
            raw.truncate(made);
            sum.update(&raw);
            out.send(raw, mem::take(&mut packed.before), Vec::new())?;
            made = 0;
            if is_end {
                break;
            }
            raw = out.buffer(PIECE)?;
        }
    }
    let is_sound = inflate.total_in() == compressed && inflate.total_out() == size;
    if !is_sound || sum.sum() != crc {
        return Err(fault(file));
    }
    out.send(Buffer::default(), packed.piece, Vec::new())?;
    let trailer = trailer(crc, size).to_vec();
    out.send(Buffer::default(), trailer.into(), Vec::new())
}

/// The compressed bytes, which are sent as they are once they were inflated, with what was inflated if that comes soon.
struct Input<'a> {
    file: &'a File,
    out: &'a Out<'a>,
    /// A piece that is inflated, and not sent.
    before: Buffer,
    piece: Buffer,
    /// What of the piece is inflated.
    used: usize,
    /// Bytes of the stream that were read.
    at: u64,
}

impl<'a> Input<'a> {
    /// Begins with the header of a member, for which nothing is to be inflated.
    fn new(file: &'a File, out: &'a Out<'a>) -> Result<Self> {
        Ok(Self {
            file,
            out,
            before: Buffer::default(),
            piece: START.to_vec().into(),
            used: START.len(),
            at: 0,
        })
    }

    fn unused(&self) -> &[u8] {
        &self.piece[self.used..]
    }

    /// Reads on, unless there is something, or nothing more.
    fn fill(&mut self) -> Result<()> {
        let rest = self.file.content.stored_size() - self.at;
        if self.used < self.piece.len() || rest == 0 {
            return Ok(());
        }
        self.put_aside()?;
        let len = usize::try_from(rest).map_or(PIECE, |rest| rest.min(PIECE));
        self.piece = self.out.buffer(len)?;
        self.used = 0;
        self.file
            .content
            .read_stored(&mut self.piece, self.at)
            .map_err(|error| self.file.failed(error))?;
        self.at += len as u64;
        Ok(())
    }

    /// Sends what was put aside before, if it is still there.
    fn put_aside(&mut self) -> Result<()> {
        let before = mem::replace(&mut self.before, mem::take(&mut self.piece));
        if before.is_empty() {
            return Ok(());
        }
        self.out.send(Buffer::default(), before, Vec::new())
    }
}

/// Reads all of it once more, by a reader that says what is wrong.
fn fault(file: &File) -> Error {
    match io::copy(&mut file.content.open(), &mut io::sink()) {
        Err(error) => file.failed(error),
        Ok(_) => file.refused(Fault::Deflate),
    }
}
