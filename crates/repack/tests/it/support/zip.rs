//! Zip archives with every field under control, right by default.

use super::{crc32, deflate};

pub(crate) const UNIX: u8 = 3;
pub(crate) const DOS: u8 = 0;

/// One entry; what local header and central directory say can be set apart.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) local_name: Option<Vec<u8>>,
    pub(crate) made_by: u8,
    pub(crate) flags: u16,
    pub(crate) local_flags: Option<u16>,
    pub(crate) method: u16,
    pub(crate) local_method: Option<u16>,
    pub(crate) crc: u32,
    pub(crate) local_crc: Option<u32>,
    pub(crate) size: u64,
    pub(crate) local_size: Option<u64>,
    pub(crate) compressed: u64,
    pub(crate) st_mode: u32,
    pub(crate) extra: Vec<u8>,
    pub(crate) local_extra: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// After the data, as it is.
    pub(crate) descriptor: Vec<u8>,
    /// Where the central directory says that the local header is, if not where it is.
    pub(crate) offset: Option<u32>,
    pub(crate) zip64: bool,
}

impl Member {
    pub(crate) fn stored(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            made_by: UNIX,
            flags: 0,
            local_flags: None,
            method: 0,
            local_method: None,
            crc: crc32(content),
            local_crc: None,
            size: content.len() as u64,
            local_size: None,
            compressed: content.len() as u64,
            st_mode: 0o100_644,
            extra: Vec::new(),
            local_extra: Vec::new(),
            data: content.to_vec(),
            descriptor: Vec::new(),
            offset: None,
            zip64: false,
        }
    }

    pub(crate) fn deflated(name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        let data = deflate(content);
        Self {
            method: 8,
            compressed: data.len() as u64,
            data,
            ..Self::stored(name, content)
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// With an Info-ZIP Unicode path (APPNOTE.TXT §4.6.9) for the name that it has.
    pub(crate) fn with_unicode_name(mut self, name: &[u8]) -> Self {
        self.extra.extend(0x7075_u16.to_le_bytes());
        let len = u16::try_from(5 + name.len()).unwrap();
        self.extra.extend(len.to_le_bytes());
        self.extra.push(1);
        self.extra.extend(crc32(&self.name).to_le_bytes());
        self.extra.extend(name);
        self
    }

    /// Sizes and CRC-32 after the data, as Java and pipes have it.
    pub(crate) fn with_descriptor(mut self) -> Self {
        self.flags |= 8;
        (self.local_crc, self.local_size) = (Some(0), Some(0));
        self.descriptor = b"PK\x07\x08".to_vec();
        self.descriptor.extend(self.crc.to_le_bytes());
        if self.zip64 {
            self.descriptor.extend(self.compressed.to_le_bytes());
            self.descriptor.extend(self.size.to_le_bytes());
        } else {
            self.descriptor.extend(low(self.compressed).to_le_bytes());
            self.descriptor.extend(low(self.size).to_le_bytes());
        }
        self
    }
}

/// A whole archive.
pub(crate) fn build(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for member in members {
        let offset = u32::try_from(out.len()).unwrap();
        local(&mut out, member);
        out.extend(&member.data);
        out.extend(&member.descriptor);
        header(&mut central, member, member.offset.unwrap_or(offset));
    }
    let start = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(members.len()).unwrap();
    out.extend(&central);
    out.extend(b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(u32::try_from(central.len()).unwrap().to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn local(out: &mut Vec<u8>, member: &Member) {
    let name = member.local_name.as_ref().unwrap_or(&member.name);
    let size = member.local_size.unwrap_or(member.size);
    let compressed = if member.flags & 8 == 0 {
        member.compressed
    } else {
        member.local_size.unwrap_or(member.compressed)
    };
    out.extend(b"PK\x03\x04");
    out.extend(20_u16.to_le_bytes());
    out.extend(member.local_flags.unwrap_or(member.flags).to_le_bytes());
    out.extend(member.local_method.unwrap_or(member.method).to_le_bytes());
    out.extend([0, 0, 0x21, 0x5d]);
    out.extend(member.local_crc.unwrap_or(member.crc).to_le_bytes());
    let mut extra = member.local_extra.clone();
    if member.zip64 {
        out.extend([0xff; 8]);
        extra.extend([1, 0, 16, 0]);
        extra.extend(size.to_le_bytes());
        extra.extend(compressed.to_le_bytes());
    } else {
        out.extend(low(compressed).to_le_bytes());
        out.extend(low(size).to_le_bytes());
    }
    out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    out.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
    out.extend(name);
    out.extend(extra);
}

fn header(out: &mut Vec<u8>, member: &Member, offset: u32) {
    out.extend(b"PK\x01\x02");
    out.extend([20, member.made_by, 20, 0]);
    out.extend(member.flags.to_le_bytes());
    out.extend(member.method.to_le_bytes());
    out.extend([0, 0, 0x21, 0x5d]);
    out.extend(member.crc.to_le_bytes());
    let mut extra = member.extra.clone();
    if member.zip64 {
        out.extend([0xff; 8]);
        extra.extend([1, 0, 16, 0]);
        extra.extend(member.size.to_le_bytes());
        extra.extend(member.compressed.to_le_bytes());
    } else {
        out.extend(low(member.compressed).to_le_bytes());
        out.extend(low(member.size).to_le_bytes());
    }
    out.extend(u16::try_from(member.name.len()).unwrap().to_le_bytes());
    out.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
    out.extend([0; 6]);
    out.extend((member.st_mode << 16).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend(&member.name);
    out.extend(extra);
}

fn low(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
