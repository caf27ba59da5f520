//! The headers of one entry, read from the archive: the parser has only the central one.

use std::{io, ops::Range};

use ::zip::read::ZipFileEntry;

use crate::{Error, Fault, ReadAt, Result, error::printable};

/// Fixed parts of the headers, APPNOTE.TXT §4.3.7 and §4.3.12.
const LOCAL: usize = 30;
const CENTRAL: usize = 46;
/// Says in a field of 32 bits that the value is in the zip64 extra field.
const IN_ZIP64: u32 = u32::MAX;
/// General purpose bit 3: CRC and sizes are in a data descriptor after the data.
const HAS_DESCRIPTOR: u16 = 1 << 3;

/// The archive that headers are read from.
pub(super) struct Archive<'a> {
    pub(super) source: &'a dyn ReadAt,
    pub(super) size: u64,
    /// Where the central directory begins: no entry reaches into it.
    pub(super) directory: u64,
}

/// What of a central header the parser does not keep.
pub(super) struct Central {
    /// As it is there, also if an Info-ZIP Unicode path field has another.
    pub(super) name: Vec<u8>,
    /// Compression method by number.
    pub(super) method: u16,
    /// Where the local header is, if that fits into 32 bits.
    pub(super) local: u64,
    /// Where the next central header is.
    pub(super) next: u64,
}

impl Archive<'_> {
    /// The central header at `at`.
    pub(super) fn central(&self, at: u64) -> Result<Central> {
        let failed = |error| Error::io("read the archive", error);
        let header = self.read(at, CENTRAL).map_err(failed)?;
        let lens = [28, 30, 32].map(|offset| usize::from(u16_at(&header, offset)));
        let name = self.read(at + CENTRAL as u64, lens[0]).map_err(failed)?;
        let len = CENTRAL + lens.iter().sum::<usize>();
        Ok(Central {
            name,
            method: u16_at(&header, 10),
            local: u32_at(&header, 42).into(),
            next: at + len as u64,
        })
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        if at.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = vec![0; len];
        self.source.read_exact_at(&mut buffer, at)?;
        Ok(buffer)
    }
}

/// Compares the local header with the central one, whose `method` is known, and returns where the
/// data lies.
pub(super) fn check(
    archive: &Archive<'_>,
    entry: &ZipFileEntry<'_>,
    method: u16,
) -> Result<Range<u64>> {
    let start = entry.header_start();
    let refuse = |fault| Error::Entry {
        path: printable(entry.name_raw()),
        offset: start,
        fault,
    };
    let read = |at: u64, len: usize| match archive.read(at, len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(refuse(Fault::Truncated)),
        other => other.map_err(|error| Error::io("read the archive", error)),
    };
    // One read for all, since the name is most often the one that is expected.
    let expected_name = entry.name_raw();
    let mut header = read(start, LOCAL + expected_name.len())?;
    if header[..4] != *b"PK\x03\x04" {
        return Err(refuse(Fault::NoLocalHeader));
    }
    let flags = u16_at(&header, 6);
    let central_flags = entry.flags().as_u16();
    let differs = |what| Err(refuse(Fault::LocalHeader(what)));
    // Encrypted or not, descriptor or not, and the encoding of the name.
    if (flags ^ central_flags) & (1 | HAS_DESCRIPTOR) != 0 {
        return differs("the flags");
    }
    if u16_at(&header, 8) != method {
        return differs("the compression method");
    }
    let (name_len, extra_len) = (u16_at(&header, 26), u16_at(&header, 28));
    let (name_len, extra_len) = (usize::from(name_len), usize::from(extra_len));
    if name_len != expected_name.len() || header[LOCAL..] != *expected_name {
        header = read(start, LOCAL + name_len)?;
        // The parser's name may be that of an Info-ZIP Unicode path field.
        if header[LOCAL..] != archive.central(entry.central_header_start())?.name {
            return differs("the name");
        }
    }
    let extra_start = start + (LOCAL + name_len) as u64;
    let data_start = extra_start + extra_len as u64;
    let data_end = data_start
        .checked_add(entry.compressed_size())
        .ok_or_else(|| refuse(Fault::Truncated))?;
    if data_end > archive.size {
        return Err(refuse(Fault::Truncated));
    }
    if data_end > archive.directory {
        return Err(refuse(Fault::Overlap));
    }
    let (mut compressed, mut size) = (u32_at(&header, 18).into(), u32_at(&header, 22).into());
    if compressed == u64::from(IN_ZIP64) || size == u64::from(IN_ZIP64) {
        let extra = read(extra_start, extra_len)?;
        // A local zip64 field has both sizes (§4.5.3); some writers put in only what is needed.
        if let Some(values) = zip64(&extra) {
            let mut values = values.chunks_exact(8).map(|value| u64_at(value, 0));
            if size == u64::from(IN_ZIP64) {
                size = values.next().unwrap_or(size);
            }
            if compressed == u64::from(IN_ZIP64) {
                compressed = values.next().unwrap_or(compressed);
            }
        }
    }
    let crc = u32_at(&header, 14);
    if flags & HAS_DESCRIPTOR == 0 {
        if crc != entry.crc32() {
            return differs("the CRC-32");
        }
        if compressed != entry.compressed_size() || size != entry.size() {
            return differs("the size");
        }
        return Ok(data_start..data_end);
    }
    // With a descriptor these are zero, or right all the same.
    let agrees =
        |there: u64, expected: u64| there == 0 || there == expected || there == u64::from(IN_ZIP64);
    if !agrees(crc.into(), entry.crc32().into())
        || !agrees(compressed, entry.compressed_size())
        || !agrees(size, entry.size())
    {
        return differs("the size or CRC-32");
    }
    let room = usize::try_from(archive.directory - data_end).map_or(24, |room| room.min(24));
    if !descriptor_agrees(&read(data_end, room)?, entry) {
        return Err(refuse(Fault::Descriptor));
    }
    Ok(data_start..data_end)
}

/// A descriptor has 4 or 8 bytes for each size, and a signature or not (§4.3.9).
fn descriptor_agrees(bytes: &[u8], entry: &ZipFileEntry<'_>) -> bool {
    let (crc, compressed, size) = (entry.crc32(), entry.compressed_size(), entry.size());
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

/// The zip64 field of the extra fields (§4.5.3).
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let len = usize::from(u16_at(extra, 2));
        let body = extra.get(4..4 + len)?;
        if u16_at(extra, 0) == 1 {
            return Some(body);
        }
        extra = &extra[4 + len..];
    }
    None
}

/// The callers have read so many bytes.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
