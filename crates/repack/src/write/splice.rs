//! A deflate stream of an archive as a gzip member (RFC 1952), inflated on the way to verify it.

use libdeflater::Decompressor;
use memchr::memmem;

/// Header of a member: deflate, no flags, no time, no level, unknown system.
pub(crate) const START: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Bytes that a member has besides the deflate stream.
pub(crate) const FRAMING: usize = START.len() + 8;

/// Trailer of a member: CRC-32 and size modulo 2^32 of what it inflates to.
pub(crate) fn trailer(crc: u32, size: u64) -> [u8; 8] {
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&crc.to_le_bytes());
    let low = u32::try_from(size & u64::from(u32::MAX)).unwrap_or(0);
    trailer[4..].copy_from_slice(&low.to_le_bytes());
    trailer
}

/// Inflates whole members by libdeflate, which is the fastest way and checks CRC-32 and size.
///
/// It does not say where in the member the deflate stream ended. If it ended early, then what
/// followed it was taken for the trailer, and so it is the CRC-32 and size of what came out: a
/// member in which these bytes occur at its end, and nowhere before, is sound.
pub(crate) struct Verifier(Decompressor);

impl Verifier {
    pub(crate) fn new() -> Self {
        Self(Decompressor::new())
    }

    /// Inflates `member` into `raw`, which has the declared size. False if it is not what it
    /// says, or if that cannot be told: then a slower reader finds out what is wrong.
    pub(crate) fn inflate(&mut self, member: &[u8], raw: &mut [u8]) -> bool {
        let Some(end) = member.len().checked_sub(8) else {
            return false;
        };
        self.0.gzip_decompress(member, raw) == Ok(raw.len())
            && memmem::find(member, &trailer(libdeflater::crc32(raw), raw.len() as u64))
                == Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored block of deflate (RFC 1951 §3.2.4).
    fn stored(text: &[u8]) -> Vec<u8> {
        let len = u16::try_from(text.len()).unwrap();
        let mut block = vec![1];
        block.extend(len.to_le_bytes());
        block.extend((!len).to_le_bytes());
        block.extend(text);
        block
    }

    fn member(deflate: &[u8], text: &[u8]) -> Vec<u8> {
        let trailer = trailer(libdeflater::crc32(text), text.len() as u64);
        [&START, deflate, &trailer].concat()
    }

    fn is_sound(member: &[u8], text: &[u8]) -> bool {
        let mut raw = vec![0; text.len()];
        Verifier::new().inflate(member, &mut raw) && raw == text
    }

    #[test]
    fn only_a_stream_that_ends_at_the_trailer_is_sound() {
        let text = b"hello";
        let deflate = stored(text);
        assert!(is_sound(&member(&deflate, text), text));
        let trailer = trailer(libdeflater::crc32(text), 5);
        for junk in [
            &b"x"[..],
            b"12345678",
            // The attack: what follows the stream looks like the trailer.
            &trailer,
            &[&trailer[..], b"rest"].concat(),
        ] {
            let deflate = [&deflate, junk].concat();
            assert!(!is_sound(&member(&deflate, text), text), "{junk:?}");
            // With a declared CRC-32 that is none of the content.
            let member = [&START, &*deflate, &[0; 8]].concat();
            assert!(!is_sound(&member, text), "{junk:?}");
        }
        assert!(!is_sound(
            &member(&deflate[..deflate.len() - 1], text),
            text
        ));
        assert!(!is_sound(&member(&deflate, b"hellO"), text));
        assert!(!is_sound(&member(&deflate, text), b"hello!"));
        assert!(!is_sound(&member(&deflate, text), b"hell"));
        assert!(!is_sound(b"", b""));
    }
}
