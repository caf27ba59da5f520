use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::{
    EntryPath, Error, Fault, ReadAt, Result,
    write::splice::{START, Verifier, trailer},
};

/// Bytes that are read from an archive at once.
const CHUNK: usize = 64 << 10;
/// Largest content that is inflated at once: 8 MiB.
const WHOLE: u64 = 8 << 20;

/// What is in a regular file: a handle, so that a tree of any size is light and nothing is read
/// before it is needed.
///
/// ```
/// use repack::Content;
///
/// let content = Content::from("hello");
/// assert_eq!(content.size(), 5);
/// assert_eq!(content.read(1024)?, "hello");
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Content(pub(crate) Repr);

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Repr {
    Bytes(Bytes),
    /// As they are in `source`.
    Stored {
        source: Source,
        offset: u64,
        size: u64,
        /// None where the archive has none.
        crc: Option<u32>,
        /// The same content as a deflate stream, if it is there, too.
        packed: Option<Arc<Content>>,
    },
    /// A raw deflate stream (RFC 1951) in `source`.
    Deflated {
        source: Arc<dyn ReadAt>,
        offset: u64,
        compressed: u64,
        size: u64,
        crc: u32,
    },
}

/// What content that is not compressed is read from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Open, with other content in it.
    Shared(Arc<dyn ReadAt>),
    /// A file below a directory, opened when it is read: there may be more of them than a process can
    /// have open.
    OnDisk { root: Arc<Path>, path: EntryPath },
}

impl Source {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Shared(source) => source.read_exact_at(buffer, offset),
            Self::OnDisk { .. } if buffer.is_empty() => Ok(()),
            Self::OnDisk { root, path } => {
                let path = root.join(path.to_native());
                let file = File::open(&path).map_err(Error::file("open", &path))?;
                ReadAt::read_exact_at(&file, buffer, offset)
            }
        }
    }
}

impl Default for Repr {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl Content {
    /// A range of `source` as it is; `size` in bytes, `crc` the CRC-32 that it must have if that
    /// is known.
    pub fn stored(source: Arc<dyn ReadAt>, offset: u64, size: u64, crc: Option<u32>) -> Self {
        Self(Repr::Stored {
            source: Source::Shared(source),
            offset,
            size,
            crc,
            packed: None,
        })
    }

    /// A file below a directory as it is.
    pub(crate) fn on_disk(root: Arc<Path>, path: EntryPath, size: u64) -> Self {
        Self(Repr::Stored {
            source: Source::OnDisk { root, path },
            offset: 0,
            size,
            crc: None,
            packed: None,
        })
    }

    /// The same content as a deflate stream, which need not be made again.
    pub(crate) fn with_packed(mut self, deflated: Self) -> Self {
        if let Repr::Stored { packed, .. } = &mut self.0 {
            *packed = Some(Arc::new(deflated));
        }
        self
    }

    /// A raw deflate stream of `compressed` bytes in `source`, which inflates to `size` bytes with
    /// the CRC-32 `crc`. All of this is checked when it is read or written, not now.
    pub fn deflated(
        source: Arc<dyn ReadAt>,
        offset: u64,
        compressed: u64,
        size: u64,
        crc: u32,
    ) -> Self {
        Self(Repr::Deflated {
            source,
            offset,
            compressed,
            size,
            crc,
        })
    }

    /// Size in bytes, not compressed.
    pub fn size(&self) -> u64 {
        match &self.0 {
            Repr::Bytes(bytes) => bytes.len() as u64,
            Repr::Stored { size, .. } | Repr::Deflated { size, .. } => *size,
        }
    }

    /// The CRC-32 that an archive declares; none if it declares none.
    pub fn declared_crc32(&self) -> Option<u32> {
        match &self.0 {
            Repr::Bytes(_) => None,
            Repr::Stored { crc, .. } => *crc,
            Repr::Deflated { crc, .. } => Some(*crc),
        }
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// [`Error::Limit`] if it is larger than `limit` bytes; [`Error::Entry`] as [`Content::open`],
    /// there without a name: [`Tree::read`](crate::Tree::read) knows it.
    pub fn read(&self, limit: u64) -> Result<Bytes> {
        self.read_named(limit, b"")
    }

    /// Reads it in pieces. The reader fails with an [`Error`] in the [`io::Error`] unless it ends with the size and
    /// CRC-32 that the archive declares, having used all of the compressed bytes.
    pub fn open(&self) -> Reader<'_> {
        Reader::new(self)
    }

    /// As [`Content::read`], for messages that name the entry.
    pub(crate) fn read_named(&self, limit: u64, name: &[u8]) -> Result<Bytes> {
        if self.size() > limit {
            return Err(Error::Limit {
                what: format!(
                    "entry `{}` of {} bytes",
                    crate::error::printable(name),
                    self.size()
                ),
                limit,
            });
        }
        if let Repr::Bytes(bytes) = &self.0 {
            return Ok(bytes.clone());
        }
        if let Some(whole) = self.inflate_whole() {
            return Ok(whole);
        }
        let mut whole = Vec::new();
        self.open()
            .read_to_end(&mut whole)
            .map_err(|error| self.named(name, error))?;
        Ok(whole.into())
    }

    /// A deflate stream of moderate size, inflated at once, which is twice as fast. None if not all is
    /// as the archive says: then the slower reader finds out what.
    fn inflate_whole(&self) -> Option<Bytes> {
        let Repr::Deflated {
            source,
            offset,
            compressed,
            size,
            crc,
        } = &self.0
        else {
            return None;
        };
        if *size > WHOLE || *compressed > WHOLE {
            return None;
        }
        let mut member = START.to_vec();
        member.resize(START.len() + usize::try_from(*compressed).ok()?, 0);
        source
            .read_exact_at(&mut member[START.len()..], *offset)
            .ok()?;
        member.extend(trailer(*crc, *size));
        let mut raw = vec![0; usize::try_from(*size).ok()?];
        let sound = Verifier::new().inflate(&member, &mut raw);
        sound.then(|| raw.into())
    }

    /// Whether both have the same bytes in their archives, stored or compressed alike, so that they
    /// are the same; faster than reading them. `false` says nothing: what is in memory is not
    /// compared, nor what another compressor made.
    ///
    /// # Errors
    /// If an archive cannot be read.
    pub fn is_stored_as(&self, other: &Self) -> io::Result<bool> {
        let alike = match (&self.0, &other.0) {
            (Repr::Stored { .. }, Repr::Stored { .. }) => true,
            (Repr::Deflated { crc: one, .. }, Repr::Deflated { crc: other, .. }) => one == other,
            _ => false,
        };
        let size = self.stored_size();
        if !alike || self.size() != other.size() || size != other.stored_size() {
            return Ok(false);
        }
        let (mut one, mut two) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        while at < size {
            let n = usize::try_from(size - at).map_or(CHUNK, |rest| rest.min(CHUNK));
            self.read_stored(&mut one[..n], at)?;
            other.read_stored(&mut two[..n], at)?;
            if one[..n] != two[..n] {
                return Ok(false);
            }
            at += n as u64;
        }
        Ok(true)
    }

    /// Bytes that it has in its archive.
    pub(crate) fn stored_size(&self) -> u64 {
        match &self.0 {
            Repr::Deflated { compressed, .. } => *compressed,
            _ => self.size(),
        }
    }

    /// Reads a range as it is in the archive, compressed or not.
    pub(crate) fn read_stored(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match &self.0 {
            Repr::Bytes(bytes) => bytes.read_exact_at(buffer, at),
            Repr::Stored { source, offset, .. } => {
                source.read_exact_at(buffer, offset.saturating_add(at))
            }
            Repr::Deflated { source, offset, .. } => {
                source.read_exact_at(buffer, offset.saturating_add(at))
            }
        }
    }

    /// Puts the name of the entry into an error of its reader.
    pub(crate) fn named(&self, name: &[u8], error: io::Error) -> Error {
        match error.downcast::<Fault>() {
            Ok(fault) => self.refused(name, fault),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.refused(name, Fault::Truncated)
            }
            Err(error) => Error::io("read the archive", error),
        }
    }

    pub(crate) fn refused(&self, name: &[u8], fault: Fault) -> Error {
        Error::Entry {
            path: crate::error::printable(name),
            offset: self.place().unwrap_or(0),
            fault,
        }
    }

    /// Where it lies in its archive; none for memory and files of their own.
    pub(crate) fn place(&self) -> Option<u64> {
        match &self.0 {
            Repr::Bytes(_)
            | Repr::Stored {
                source: Source::OnDisk { .. },
                ..
            } => None,
            Repr::Stored { offset, .. } | Repr::Deflated { offset, .. } => Some(*offset),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Bytes::from(text).into()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

/// Reads a [`Content`] and checks it on the way. Its errors carry a [`Fault`].
#[derive(Debug)]
pub struct Reader<'a> {
    content: &'a Content,
    crc: Crc,
    state: State,
}

#[derive(Debug)]
enum State {
    Plain {
        at: u64,
    },
    Inflating {
        inflate: Box<Decompress>,
        input: Vec<u8>,
        /// What of `input` is used.
        used: usize,
        /// Bytes of the stream that were read.
        at: u64,
    },
    Done,
}

impl<'a> Reader<'a> {
    fn new(content: &'a Content) -> Self {
        let state = match &content.0 {
            Repr::Deflated { .. } => State::Inflating {
                inflate: Box::new(Decompress::new(false)),
                input: Vec::new(),
                used: 0,
                at: 0,
            },
            _ => State::Plain { at: 0 },
        };
        Self {
            content,
            crc: Crc::new(),
            state,
        }
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&self.content.0, &mut self.state) {
            (Repr::Bytes(bytes), State::Plain { at }) => {
                let rest = usize::try_from(*at).ok().and_then(|at| bytes.get(at..));
                let rest = rest.unwrap_or_default();
                let n = rest.len().min(buffer.len());
                buffer[..n].copy_from_slice(&rest[..n]);
                *at += n as u64;
                Ok(n)
            }
            (
                Repr::Stored {
                    source,
                    offset,
                    size,
                    ..
                },
                State::Plain { at },
            ) => {
                let n = usize::try_from(size - *at).map_or(buffer.len(), |n| n.min(buffer.len()));
                source.read_exact_at(&mut buffer[..n], offset.saturating_add(*at))?;
                *at += n as u64;
                Ok(n)
            }
            (
                Repr::Deflated {
                    source,
                    offset,
                    compressed,
                    size,
                    ..
                },
                State::Inflating {
                    inflate,
                    input,
                    used,
                    at,
                },
            ) => loop {
                if *used == input.len() && *at < *compressed {
                    let n = usize::try_from(compressed - *at).map_or(CHUNK, |n| n.min(CHUNK));
                    input.resize(n, 0);
                    source.read_exact_at(input, offset.saturating_add(*at))?;
                    *at += n as u64;
                    *used = 0;
                }
                let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(&input[*used..], buffer, FlushDecompress::None)
                    .map_err(|_| io::Error::other(Fault::Deflate))?;
                // Both are at most the lengths of the buffers.
                let taken = usize::try_from(inflate.total_in() - before_in).unwrap_or(0);
                let given = usize::try_from(inflate.total_out() - before_out).unwrap_or(0);
                *used += taken;
                if inflate.total_out() > *size {
                    return Err(io::Error::other(Fault::Size {
                        expected: *size,
                        actual: inflate.total_out(),
                    }));
                }
                if status == Status::StreamEnd && inflate.total_in() != *compressed {
                    return Err(io::Error::other(Fault::TrailingBytes {
                        used: inflate.total_in(),
                        compressed: *compressed,
                    }));
                }
                if given > 0 || status == Status::StreamEnd {
                    return Ok(given);
                }
                if taken == 0 && *used == input.len() && *at == *compressed {
                    // All bytes are used and the stream has no end.
                    return Err(io::Error::other(Fault::Deflate));
                }
            },
            _ => Ok(0),
        }
    }

    /// Reads until the buffer is full or there is no more, so that less than full is the end, checked.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }

    /// At the end: are all bytes there, and are they the right ones?
    fn check(&self) -> Result<(), Fault> {
        let actual = match &self.state {
            State::Plain { at } => *at,
            State::Inflating { inflate, .. } => inflate.total_out(),
            State::Done => return Ok(()),
        };
        let expected = self.content.size();
        if actual != expected {
            return Err(Fault::Size { expected, actual });
        }
        match self.content.declared_crc32() {
            Some(expected) if expected != self.crc.sum() => Err(Fault::Checksum {
                expected,
                actual: self.crc.sum(),
            }),
            _ => Ok(()),
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || matches!(self.state, State::Done) {
            return Ok(0);
        }
        let n = self.next(buffer)?;
        self.crc.update(&buffer[..n]);
        if n == 0 {
            self.check().map_err(io::Error::other)?;
            self.state = State::Done;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::DeflateEncoder};

    use super::*;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn crc(text: &[u8]) -> u32 {
        let mut crc = Crc::new();
        crc.update(text);
        crc.sum()
    }

    #[test]
    fn all_kinds_read_alike() {
        let text = "hello ".repeat(50_000);
        let packed = deflated(text.as_bytes());
        let len = text.len() as u64;
        let plain: Arc<dyn ReadAt> = Arc::new(Bytes::from(format!("..{text}..")));
        let (compressed, sum) = (packed.len() as u64, crc(text.as_bytes()));
        let packed: Arc<dyn ReadAt> = Arc::new(Bytes::from(packed));
        for content in [
            Content::from(text.clone()),
            Content::stored(plain.clone(), 2, len, Some(sum)),
            Content::stored(plain, 2, len, None),
            Content::deflated(packed, 0, compressed, len, sum),
        ] {
            assert_eq!(content.size(), len);
            assert_eq!(content.read(len).unwrap(), text);
            assert!(matches!(content.read(len - 1), Err(Error::Limit { .. })));
        }
        assert_eq!(Content::default().read(0).unwrap(), "");
    }

    #[test]
    fn the_same_bytes_in_two_archives_are_the_same() {
        // Of these the CRC-32 is the same.
        let words = [b"plumless", b"buckeroo"];
        let stored = |text: &'static [u8; 8]| {
            let source = Arc::new(Bytes::from_static(text));
            Content::stored(source, 0, 8, Some(crc(text)))
        };
        let packed = |text: &[u8]| {
            let packed = Bytes::from(deflated(text));
            Content::deflated(
                Arc::new(packed.clone()),
                0,
                packed.len() as u64,
                8,
                crc(text),
            )
        };
        let [one, other] = words.map(stored);
        assert_eq!(one.declared_crc32(), other.declared_crc32());
        for (content, same, expected) in [
            (&one, stored(words[0]), true),
            (&one, other, false),
            (&packed(words[0]), packed(words[0]), true),
            (&packed(words[0]), packed(words[1]), false),
            (&one, packed(words[0]), false),
            (&Content::from("plumless"), Content::from("plumless"), false),
        ] {
            assert_eq!(
                content.is_stored_as(&same).unwrap(),
                expected,
                "{content:?}"
            );
        }
    }

    #[test]
    fn what_lies_is_found_out() {
        let text = b"some text, some text, some text";
        let mut packed = deflated(text);
        let (compressed, size) = (packed.len() as u64, text.len() as u64);
        packed.extend(b"junk");
        let sum = crc(text);
        let packed: Arc<dyn ReadAt> = Arc::new(Bytes::from(packed));
        let check = |compressed, size, sum, expected: Fault| {
            let content = Content::deflated(packed.clone(), 0, compressed, size, sum);
            match content.read_named(1 << 20, b"x") {
                Err(Error::Entry { fault, .. }) => assert_eq!(fault, expected),
                other => panic!("{other:?}"),
            }
        };
        let wrong_sum = Fault::Checksum {
            expected: 1,
            actual: sum,
        };
        check(compressed, size, 1, wrong_sum);
        let used = compressed;
        for extra in [1, 4] {
            let compressed = compressed + extra;
            check(
                compressed,
                size,
                sum,
                Fault::TrailingBytes { used, compressed },
            );
        }
        check(compressed + 5, size, sum, Fault::Truncated);
        check(compressed - 1, size, sum, Fault::Deflate);
        check(0, 0, 0, Fault::Deflate);
        for declared in [size - 1, size + 1, 0] {
            let (expected, actual) = (declared, size);
            check(compressed, declared, sum, Fault::Size { expected, actual });
        }
    }
}
