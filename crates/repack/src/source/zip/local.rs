//! The headers of one entry, read from the archive and compared with the central one.

use std::{io, ops::Range};

use super::{
    bytes::{IN_ZIP64, extra_field, u16_at, u32_at, u64_at},
    central::Header,
};
use crate::{Error, Fault, ReadAt, Result};

/// Fixed part of the header, APPNOTE.TXT §4.3.7.
const LOCAL: usize = 30;
/// General purpose bit 3: CRC and sizes are in a data descriptor after the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;
/// Bytes that are read at once where entries are small.
const WINDOW: usize = 32 << 10;

/// The archive that headers are read from.
pub(super) struct Archive<'a> {
    source: &'a dyn ReadAt,
    size: u64,
    /// Where the central directory begins: no entry reaches into it.
    directory: u64,
    /// What was read last, and where it lies.
    window: Vec<u8>,
    at: u64,
}

impl<'a> Archive<'a> {
    pub(super) fn new(source: &'a dyn ReadAt, size: u64, directory: u64) -> Self {
        Self {
            source,
            size,
            directory,
            window: Vec::new(),
            at: 0,
        }
    }

    /// So many bytes at `at`. If they must be read, then as many more as `ahead`, for what is
    /// asked for next.
    fn read(&mut self, at: u64, len: usize, ahead: usize) -> io::Result<&[u8]> {
        let rest = self.size.saturating_sub(at);
        if at > self.size || rest < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let within = at
            .checked_sub(self.at)
            .and_then(|by| usize::try_from(by).ok());
        if let Some(start) = within
            && start.saturating_add(len) <= self.window.len()
        {
            return Ok(&self.window[start..start + len]);
        }
        let len_ahead = usize::try_from(rest).map_or(len + ahead, |rest| rest.min(len + ahead));
        self.window.clear();
        self.window.resize(len_ahead, 0);
        self.source.read_exact_at(&mut self.window, at)?;
        self.at = at;
        Ok(&self.window[..len])
    }
}

/// Compares the local header with the central one and returns where the data lies.
pub(super) fn check(archive: &mut Archive<'_>, entry: &Header<'_>) -> Result<Range<u64>> {
    let start = entry.local;
    let refuse = |fault| entry.refuse(fault);
    let (size, directory) = (archive.size, archive.directory);
    let mut read = |at: u64, len: usize, ahead: usize| match archive.read(at, len, ahead) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(refuse(Fault::Truncated)),
        other => other
            .map(<[u8]>::to_vec)
            .map_err(|error| Error::io("read the archive", error)),
    };
    let name = entry.raw_name;
    // Where the next header is near, one read is for several.
    let ahead = if entry.compressed < WINDOW as u64 / 4 {
        WINDOW
    } else {
        0
    };
    let header = read(start, LOCAL + name.len(), ahead)?;
    if header[..4] != *b"PK\x03\x04" {
        return Err(refuse(Fault::NoLocalHeader));
    }
    let flags = u16_at(&header, 6);
    let differs = |what| Err(refuse(Fault::LocalHeader(what)));
    // Encrypted or not, descriptor or not, and the encoding of the name.
    if (flags ^ entry.flags) & (1 | HAS_DESCRIPTOR) != 0 {
        return differs("the flags");
    }
    if u16_at(&header, 8) != entry.method {
        return differs("the compression method");
    }
    let (name_len, extra_len) = (u16_at(&header, 26), u16_at(&header, 28));
    let (name_len, extra_len) = (usize::from(name_len), usize::from(extra_len));
    if name_len != name.len() || header[LOCAL..] != *name {
        return differs("the name");
    }
    let extra_start = start + (LOCAL + name_len) as u64;
    let data_start = extra_start + extra_len as u64;
    let data_end = data_start
        .checked_add(entry.compressed)
        .ok_or_else(|| refuse(Fault::Truncated))?;
    if data_end > size {
        return Err(refuse(Fault::Truncated));
    }
    if data_end > directory {
        return Err(refuse(Fault::Overlap));
    }
    let (mut compressed, mut unpacked) = (u32_at(&header, 18).into(), u32_at(&header, 22).into());
    if compressed == u64::from(IN_ZIP64) || unpacked == u64::from(IN_ZIP64) {
        let extra = read(extra_start, extra_len, 0)?;
        // A local zip64 field has both sizes (§4.5.3); some writers put in only what is needed.
        if let Some(values) = extra_field(&extra, 1) {
            let mut values = values.chunks_exact(8).map(|value| u64_at(value, 0));
            if unpacked == u64::from(IN_ZIP64) {
                unpacked = values.next().unwrap_or(unpacked);
            }
            if compressed == u64::from(IN_ZIP64) {
                compressed = values.next().unwrap_or(compressed);
            }
        }
    }
    let crc = u32_at(&header, 14);
    if flags & HAS_DESCRIPTOR == 0 {
        if crc != entry.crc {
            return differs("the CRC-32");
        }
        if compressed != entry.compressed || unpacked != entry.size {
            return differs("the size");
        }
        return Ok(data_start..data_end);
    }
    // With a descriptor these are zero, or right all the same.
    let agrees =
        |there: u64, expected: u64| there == 0 || there == expected || there == u64::from(IN_ZIP64);
    if !agrees(crc.into(), entry.crc.into())
        || !agrees(compressed, entry.compressed)
        || !agrees(unpacked, entry.size)
    {
        return differs("the size or CRC-32");
    }
    let room = usize::try_from(directory - data_end).map_or(24, |room| room.min(24));
    if !descriptor_agrees(&read(data_end, room, ahead)?, entry) {
        return Err(refuse(Fault::Descriptor));
    }
    Ok(data_start..data_end)
}

/// A descriptor has 4 or 8 bytes for each size, and a signature or not (§4.3.9).
fn descriptor_agrees(bytes: &[u8], entry: &Header<'_>) -> bool {
    let (crc, compressed, size) = (entry.crc, entry.compressed, entry.size);
    let without_signature = bytes.strip_prefix(b"PK\x07\x08");
    [Some(bytes), without_signature]
        .into_iter()
        .flatten()
        .any(|bytes| {
            let narrow = bytes.len() >= 12
                && u64::from(u32_at(bytes, 4)) == compressed & u64::from(u32::MAX)
                && u64::from(u32_at(bytes, 8)) == size & u64::from(u32::MAX);
            let wide =
                bytes.len() >= 20 && u64_at(bytes, 4) == compressed && u64_at(bytes, 12) == size;
            (narrow || wide) && u32_at(bytes, 0) == crc
        })
}
