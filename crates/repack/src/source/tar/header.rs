//! Fields of a tar header.

use std::ops::Range;

use tar::Header;

use crate::{Device, Fault, Metadata, Mtime};

/// Where the fields are.
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
/// What writers put into the size field when the real size is only in the PAX header.
const FULL: i128 = 0o77_777_777_777;

/// The sum of all bytes, with blanks in place of the sum itself; old writers took them as signed.
pub(super) fn checksum_is_right(block: &[u8; 512]) -> bool {
    let Ok(declared) = Header::from_byte_slice(block).cksum() else {
        return false;
    };
    let bytes = || block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
    let unsigned: u32 = bytes().map(|&byte| u32::from(byte)).sum();
    let signed: i32 = bytes().map(|&byte| i32::from(byte.cast_signed())).sum();
    declared == unsigned || i32::try_from(declared) == Ok(signed)
}

/// The size of the content by the PAX header, else by the field.
pub(super) fn size(header: &Header, pax: Option<&[u8]>) -> Result<u64, Fault> {
    let fault = Fault::Field("size");
    let field = field(header, SIZE);
    let Some(pax) = pax else {
        return field.and_then(|size| size.try_into().ok()).ok_or(fault);
    };
    let size = number(pax).ok_or(fault)?;
    match field {
        Some(field) if ![size.into(), 0, FULL].contains(&field) => Err(Fault::Twice("size")),
        _ => Ok(size),
    }
}

/// Mode, owner and time, each by the PAX header, else by the field.
pub(super) fn metadata<'a>(
    header: &Header,
    pax: &impl Fn(&[u8]) -> Option<&'a [u8]>,
) -> Result<Metadata, Fault> {
    let id = |key: &'static str, range| match pax(key.as_bytes()) {
        Some(value) => number(value).ok_or(Fault::Field(key)),
        None => unsigned(header, range, key),
    };
    let mtime = match pax(b"mtime") {
        Some(value) => decimal(value),
        None => field(header, MTIME)
            .and_then(|seconds| seconds.try_into().ok())
            .map(Mtime::from_seconds),
    };
    Ok(Metadata {
        // Some writers put the type of the file there, too.
        mode: unsigned::<u32>(header, MODE, "mode")? & 0o7777,
        uid: id("uid", UID)?,
        gid: id("gid", GID)?,
        mtime: mtime.ok_or(Fault::Field("mtime"))?,
        ..Metadata::default()
    })
}

pub(super) fn device(header: &Header) -> Result<Device, Fault> {
    Ok(Device {
        major: unsigned(header, MAJOR, "device number")?,
        minor: unsigned(header, MINOR, "device number")?,
    })
}

/// What GNU puts into a long name ends with a NUL.
pub(super) fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn unsigned<T: TryFrom<i128>>(
    header: &Header,
    range: Range<usize>,
    name: &'static str,
) -> Result<T, Fault> {
    let value = field(header, range).and_then(|value| value.try_into().ok());
    value.ok_or(Fault::Field(name))
}

fn field(header: &Header, range: Range<usize>) -> Option<i128> {
    numeric(&header.as_bytes()[range])
}

/// A field that is not negative.
pub(super) fn octal(bytes: &[u8]) -> Option<u64> {
    numeric(bytes)?.try_into().ok()
}

/// Octal digits between blanks and NULs, nothing for 0, or GNU's signed base 256.
fn numeric(bytes: &[u8]) -> Option<i128> {
    if bytes[0] & 0x80 != 0 {
        // The other seven bits of the first byte are the sign and the highest bits.
        let first = i128::from(bytes[0] & 0x7f) - i128::from(bytes[0] & 0x40) * 2;
        let value = bytes[1..].iter();
        return Some(value.fold(first, |value, &byte| value << 8 | i128::from(byte)));
    }
    let text = bytes.trim_ascii_start();
    let end = text.iter().position(|byte| matches!(byte, 0 | b' '));
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0, |value, &byte| match byte {
        b'0'..=b'7' => Some(value << 3 | i128::from(byte - b'0')),
        _ => None,
    })
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    // `parse` takes a plus sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    text.parse().ok()
}

/// Seconds with decimals; more than nine of them are cut.
fn decimal(text: &[u8]) -> Option<Mtime> {
    let text = str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    decimals
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    let seconds = i128::from(number(whole.as_bytes())?);
    let nine: String = decimals
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: i128 = nine.parse().ok()?;
    let total = seconds * 1_000_000_000 + nanos;
    let total = if negative { -total } else { total };
    Some(Mtime {
        seconds: i64::try_from(total.div_euclid(1_000_000_000)).ok()?,
        nanoseconds: u32::try_from(total.rem_euclid(1_000_000_000)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_decimals_and_signs() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("0", Some((0, 0))),
            ("-0.5", Some((-1, 500_000_000))),
            ("", None),
            ("+1", None),
            ("1.x", None),
            ("1e9", None),
            ("99999999999999999999", None),
        ] {
            let actual = decimal(text.as_bytes()).map(|m| (m.seconds, m.nanoseconds));
            assert_eq!(actual, expected, "{text}");
        }
    }

    #[test]
    fn fields_are_octal_or_base_256() {
        for (bytes, expected) in [
            (*b"0000644\0", Some(0o644)),
            (*b"   644 \0", Some(0o644)),
            (*b"77777777", Some(0o77_777_777)),
            ([0; 8], Some(0)),
            (*b"        ", Some(0)),
            (*b"644\0 \0\0\0", Some(0o644)),
            (*b"64 4\0\0\0\0", None),
            (*b"rwxr-xr-", None),
            (*b"8\0\0\0\0\0\0\0", None),
            (*b"-1\0\0\0\0\0\0", None),
            ([0xff; 8], Some(-1)),
            ([0x80, 0, 0, 0, 0, 0, 1, 0], Some(256)),
            ([0xc0, 0, 0, 0, 0, 0, 0, 0], Some(-(1 << 62))),
        ] {
            let mut header = Header::new_gnu();
            header.as_old_mut().mode = bytes;
            assert_eq!(field(&header, MODE), expected, "{}", bytes.escape_ascii());
        }
    }
}
