//! Where an upload in chunks stands (distribution-spec §Pushing a blob in chunks). Pure.

use std::ops::Range;

use url::Url;

use crate::{endpoint, range::Uploaded};

/// Size of chunks for a registry that refuses a content as too large for one request.
const FALLBACK: u64 = 16 << 20;
/// No chunk becomes smaller than this because a registry refuses larger ones.
const SMALLEST: u64 = 64 << 10;

/// Size of chunks for a content that was refused as too large for one request, by a registry that
/// wants chunks of `least`; none if it cannot come in several.
pub(crate) fn part_of(size: u64, least: u64) -> Option<u64> {
    let chunk = FALLBACK.min(size.div_ceil(2)).max(least);
    (chunk < size).then_some(chunk)
}

/// An upload that a registry has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    location: Url,
    size: u64,
    offset: u64,
    chunk: u64,
    least: u64,
}

/// What to do next. Closed: an upload is sent or finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Range<u64>),
    Finish,
}

impl Session {
    /// `least` is the registry's `OCI-Chunk-Min-Length`, 0 if it has none.
    pub(crate) fn new(location: Url, size: u64, chunk: u64, least: u64) -> Self {
        Self {
            location,
            size,
            offset: 0,
            chunk: chunk.max(least).max(1),
            least,
        }
    }

    pub(crate) fn location(&self) -> &Url {
        &self.location
    }

    pub(crate) fn next(&self) -> Step {
        if self.offset == self.size {
            return Step::Finish;
        }
        Step::Send(self.offset..self.size.min(self.offset.saturating_add(self.chunk)))
    }

    /// The registry took the chunk. What its `Range` says is not read: some send an old one, and
    /// the digest proves the whole.
    pub(crate) fn sent(&mut self, range: &Range<u64>) {
        self.offset = range.end;
    }

    /// Where the upload goes on; without a `Location` it stays where it is.
    pub(crate) fn moved(&mut self, base: &Url, location: Option<&str>) -> Result<(), String> {
        if let Some(location) = location {
            self.location = endpoint::join(base, location)?;
        }
        Ok(())
    }

    /// Goes on from where the registry says that it is; if that may be two places, and a chunk from
    /// one of them was `refused`, from the other.
    pub(crate) fn resume(&mut self, uploaded: Uploaded, refused: bool) -> Result<(), String> {
        self.offset = match uploaded {
            Uploaded::Bytes(bytes) if bytes <= self.size => bytes,
            Uploaded::Bytes(bytes) => {
                let size = self.size;
                return Err(format!("it has {bytes} bytes of an upload of {size}"));
            }
            Uploaded::NoneOrOne => match (self.offset, refused) {
                (0, true) | (1, false) => 1,
                _ => 0,
            },
        };
        Ok(())
    }

    /// The registry refused a chunk as too large. False if it cannot be smaller.
    pub(crate) fn shrink(&mut self) -> bool {
        let smaller = self.chunk.min(self.size) / 2;
        let possible = smaller >= self.least.max(SMALLEST);
        if possible {
            self.chunk = smaller;
        }
        possible
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(size: u64, chunk: u64, least: u64) -> Session {
        Session::new("https://r.io/v2/a/u/1".parse().unwrap(), size, chunk, least)
    }

    #[test]
    fn chunks_have_the_size_that_the_registry_wants() {
        let mut upload = session(10, 3, 4);
        let mut sent = Vec::new();
        while let Step::Send(range) = upload.next() {
            upload.sent(&range);
            sent.push(range);
        }
        assert_eq!(sent, [0..4, 4..8, 8..10]);
        assert_eq!(session(0, 3, 0).next(), Step::Finish);
        assert_eq!(session(5, 0, 0).next(), Step::Send(0..1));
        assert_eq!(session(5, u64::MAX, 0).next(), Step::Send(0..5));
    }

    #[test]
    fn an_upload_goes_on_where_the_registry_is() {
        let mut upload = session(10, 4, 0);
        upload.sent(&(0..4));
        upload.resume(Uploaded::Bytes(2), false).unwrap();
        assert_eq!(upload.next(), Step::Send(2..6));
        upload.resume(Uploaded::NoneOrOne, false).unwrap();
        assert_eq!(upload.next(), Step::Send(0..4));
        upload.resume(Uploaded::Bytes(10), false).unwrap();
        assert_eq!(upload.next(), Step::Finish);
        assert_eq!(
            upload.resume(Uploaded::Bytes(11), false).unwrap_err(),
            "it has 11 bytes of an upload of 10"
        );
        let base = upload.location().clone();
        upload.moved(&base, Some("2?x=1")).unwrap();
        upload.moved(&base, None).unwrap();
        assert_eq!(upload.location().as_str(), "https://r.io/v2/a/u/2?x=1");
        assert!(upload.moved(&base, Some("")).is_err());
    }

    /// `0-0` may be either: what was not refused is tried.
    #[test]
    fn one_byte_or_none() {
        let mut upload = session(10, 4, 0);
        for (offset, refused, expected) in [
            (4, false, 0),
            (4, true, 0),
            (0, false, 0),
            (0, true, 1),
            (1, false, 1),
            (1, true, 0),
        ] {
            upload.sent(&(0..offset));
            upload.resume(Uploaded::NoneOrOne, refused).unwrap();
            let next = Step::Send(expected..expected + 4);
            assert_eq!(upload.next(), next, "{offset} {refused}");
        }
    }

    #[test]
    fn chunks_shrink_to_a_limit() {
        let mut upload = session(1 << 20, 256 << 10, 0);
        assert!(upload.shrink() && upload.shrink());
        assert_eq!(upload.next(), Step::Send(0..64 << 10));
        assert!(!upload.shrink());
        assert!(!session(1 << 20, 256 << 10, 200 << 10).shrink());
    }

    #[test]
    fn what_is_too_large_goes_in_parts() {
        for (size, least, expected) in [
            (1 << 30, 0, Some(16 << 20)),
            (1 << 30, 20 << 20, Some(20 << 20)),
            (5, 0, Some(3)),
            (5, 5, None),
            (5, u64::MAX, None),
            (2, 0, Some(1)),
            (1, 0, None),
            (0, 0, None),
        ] {
            assert_eq!(part_of(size, least), expected, "{size} {least}");
        }
    }

    proptest! {
        #[test]
        fn all_bytes_are_sent_once(size in 0u64..10_000, chunk in 0u64..500, least in 0u64..500) {
            let (mut upload, mut at) = (session(size, chunk, least), 0);
            while let Step::Send(range) = upload.next() {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > at);
                at = range.end;
                upload.sent(&range);
            }
            prop_assert_eq!(at, size);
        }
    }
}
