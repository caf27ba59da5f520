//! The central directory (APPNOTE.TXT §4.3.12), read from its start to its end and not kept.

use super::{
    bytes::{IN_ZIP64, extra_field, u16_at, u32_at, u64_at},
    end::{Directory, refused},
};
use crate::{Error, Fault, ReadAt, Result, error::printable};

const CENTRAL: usize = 46;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// What the central directory says of an entry.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// As it is there.
    pub(super) raw_name: &'a [u8],
    /// That of an Info-ZIP Unicode path field, if there is one and it belongs to this name.
    pub(super) unicode_name: Option<&'a [u8]>,
    /// System on which the archive was made (§4.4.2).
    pub(super) system: u8,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) compressed: u64,
    pub(super) size: u64,
    pub(super) attributes: u32,
    /// Where the local header is.
    pub(super) local: u64,
}

/// Goes over all headers.
pub(super) struct Headers<'a> {
    source: &'a dyn ReadAt,
    directory: Directory,
    left: u64,
    buffer: Vec<u8>,
    /// What of the buffer is used.
    used: usize,
    /// Where the end of the buffer lies.
    at: u64,
}

impl<'a> Headers<'a> {
    pub(super) fn new(source: &'a dyn ReadAt, directory: Directory) -> Self {
        Self {
            source,
            directory,
            left: directory.count,
            buffer: Vec::new(),
            used: 0,
            at: directory.start,
        }
    }

    /// The next header; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Header<'_>>> {
        if self.left == 0 {
            if self.used < self.buffer.len() || self.at < self.directory.end {
                return Err(refused(
                    self.place(),
                    "its central directory has more than its entries",
                ));
            }
            return Ok(None);
        }
        self.left -= 1;
        let fixed = self.fill(CENTRAL)?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err(refused(
                self.place(),
                "its central directory has something else than headers",
            ));
        }
        let [name, extra, comment] = [28, 30, 32].map(|field| usize::from(u16_at(fixed, field)));
        let len = CENTRAL + name + extra + comment;
        self.fill(len)?;
        let start = self.used;
        self.used += len;
        header(
            &self.buffer[start..start + len],
            name,
            extra,
            self.directory.before,
        )
        .map(Some)
    }

    /// Where the next header lies.
    fn place(&self) -> u64 {
        self.at - (self.buffer.len() - self.used) as u64
    }

    /// At least so many bytes that are not used yet.
    fn fill(&mut self, len: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.used < len {
            self.buffer.drain(..self.used);
            self.used = 0;
            let have = self.buffer.len();
            let rest = usize::try_from(self.directory.end - self.at).unwrap_or(usize::MAX);
            let more = (PIECE.max(len) - have).min(rest);
            if have + more < len {
                return Err(refused(
                    self.place(),
                    "it ends within the central directory",
                ));
            }
            self.buffer.resize(have + more, 0);
            self.source
                .read_exact_at(&mut self.buffer[have..], self.at)
                .map_err(|error| Error::io("read the archive", error))?;
            self.at += more as u64;
        }
        Ok(&self.buffer[self.used..])
    }
}

fn header(bytes: &[u8], name: usize, extra: usize, before: u64) -> Result<Header<'_>> {
    let raw_name = &bytes[CENTRAL..CENTRAL + name];
    let extra = &bytes[CENTRAL + name..CENTRAL + name + extra];
    let mut wide = extra_field(extra, 1)
        .unwrap_or_default()
        .chunks_exact(8)
        .map(|value| u64_at(value, 0));
    // In this order, and only what the field cannot say (§4.5.3).
    let [size, compressed, local] = [24, 20, 42].map(|field| {
        let narrow = u32_at(bytes, field);
        let value = if narrow == IN_ZIP64 {
            wide.next()
        } else {
            None
        };
        value.unwrap_or(narrow.into())
    });
    let local = local.checked_add(before).ok_or_else(|| Error::Entry {
        path: printable(raw_name),
        offset: local,
        fault: Fault::Truncated,
    })?;
    // Version 1, the CRC-32 of the name that it stands for, the name (§4.6.9).
    let unicode_name = extra_field(extra, 0x7075).and_then(|field| {
        let (head, name) = field.split_at_checked(5)?;
        (head[0] == 1 && u32_at(head, 1) == libdeflater::crc32(raw_name)).then_some(name)
    });
    Ok(Header {
        raw_name,
        unicode_name,
        system: bytes[5],
        flags: u16_at(bytes, 8),
        method: u16_at(bytes, 10),
        crc: u32_at(bytes, 16),
        compressed,
        size,
        attributes: u32_at(bytes, 38),
        local,
    })
}

impl Header<'_> {
    /// The name that counts.
    pub(super) fn name(&self) -> &[u8] {
        self.unicode_name.unwrap_or(self.raw_name)
    }

    /// Refuses this entry.
    pub(super) fn refuse(&self, fault: Fault) -> Error {
        Error::Entry {
            path: printable(self.name()),
            offset: self.local,
            fault,
        }
    }
}
