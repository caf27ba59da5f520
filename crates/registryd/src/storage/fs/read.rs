use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use ocicore::{BoxStream, Cx, Error, Result};

use super::{Meta, is_missing, meta};

/// Bytes that come along with opening, so that a manifest or config takes one step.
const FIRST: u64 = 128 << 10;
/// Bytes of each further step.
const CHUNK: u64 = 512 << 10;

/// A file that is open at a range, with the first bytes read.
pub(super) struct Opened {
    first: Bytes,
    rest: Option<Rest>,
}

struct Rest {
    file: File,
    left: u64,
}

pub(super) fn open(path: &Path, range: Range<u64>) -> io::Result<Option<(Meta, Opened)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(None);
    }
    let meta = meta(&found);
    let end = range.end.min(meta.size);
    let left = end.saturating_sub(range.start);
    if left == 0 {
        return Ok(Some((
            meta,
            Opened {
                first: Bytes::new(),
                rest: None,
            },
        )));
    }
    if range.start > 0 {
        file.seek(SeekFrom::Start(range.start))?;
    }
    let first = read_chunk(&mut file, left.min(FIRST))?;
    let left = left.saturating_sub(first.len() as u64);
    let rest = (left > 0).then_some(Rest { file, left });
    Ok(Some((meta, Opened { first, rest })))
}

impl Opened {
    /// Reads one chunk ahead of who polls.
    pub(super) fn into_stream(self) -> BoxStream<Bytes> {
        let first = stream::iter((!self.first.is_empty()).then_some(Ok(self.first)));
        let Some(rest) = self.rest else {
            return first.boxed();
        };
        let rest = stream::unfold(Some(rest.next()), |next| async move {
            match next?.await {
                Ok((chunk, rest)) => Some((Ok(chunk), rest.map(Rest::next))),
                Err(error) => Some((Err(error), None)),
            }
        });
        first.chain(rest).boxed()
    }
}

impl Rest {
    fn next(mut self) -> BoxFuture<'static, Result<(Bytes, Option<Self>)>> {
        async move {
            Cx::default()
                .blocking(move |_| {
                    let chunk = read_chunk(&mut self.file, self.left.min(CHUNK))?;
                    self.left -= chunk.len() as u64;
                    Ok((chunk, (self.left > 0).then_some(self)))
                })
                .await
                .map_err(|error| Error::io("read", "content", "the file system", error))
        }
        .boxed()
    }
}

fn read_chunk(file: &mut File, len: u64) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
    // Reads into the spare capacity, which need not be zeroed.
    file.take(len).read_to_end(&mut chunk)?;
    if chunk.len() as u64 == len {
        Ok(chunk.into())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
