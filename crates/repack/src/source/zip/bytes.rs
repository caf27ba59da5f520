//! Numbers of zip headers; the callers have read so many bytes.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Says in a field of 32 bits that the value is in the zip64 extra field.
pub(super) const IN_ZIP64: u32 = u32::MAX;

/// The extra field of this kind (APPNOTE.TXT §4.5), the first one if there are several.
pub(super) fn extra_field(mut extra: &[u8], kind: u16) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let len = usize::from(u16_at(extra, 2));
        let body = extra.get(4..4 + len)?;
        if u16_at(extra, 0) == kind {
            return Some(body);
        }
        extra = &extra[4 + len..];
    }
    None
}
