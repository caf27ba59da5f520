use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, MaybeDone, maybe_done},
    stream,
};
use ocicore::{BoxStream, Cx, Error, Result};
use rustix::buffer::spare_capacity;

use super::{
    Meta, is_missing, meta,
    room::{LARGE, Room},
};

/// Bytes that come along with opening, so that a manifest or config takes one step.
const FIRST: usize = 128 << 10;
/// Bytes of each further step, the first for which there is room.
const STEPS: [usize; 2] = [LARGE, 256 << 10];
/// The same where there is none.
const SMALL: usize = 64 << 10;

/// A file that is open at a range, with the first bytes read.
pub(super) struct Opened {
    first: Bytes,
    rest: Option<Rest>,
}

struct Rest {
    file: File,
    range: Range<u64>,
    room: Room,
}

/// Reads one chunk ahead of who polls, where there is room: while one is sent, another thread reads
/// the next.
struct Ahead {
    next: Option<MaybeDone<BoxFuture<'static, Step>>>,
}

/// A chunk, and what is left after it.
type Step = Result<(Bytes, Option<Rest>)>;

pub(super) fn open(
    path: &Path,
    range: Range<u64>,
    room: &Room,
) -> io::Result<Option<(Meta, Opened)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(None);
    }
    let meta = meta(&found);
    let mut rest = Rest {
        file,
        range: range.start..range.end.min(meta.size),
        room: room.clone(),
    };
    let first = rest.read(FIRST, Vec::new())?.into();
    let rest = (!rest.range.is_empty()).then_some(rest);
    Ok(Some((meta, Opened { first, rest })))
}

impl Opened {
    pub(super) fn into_stream(self) -> BoxStream<Bytes> {
        let first = stream::iter((!self.first.is_empty()).then_some(Ok(self.first)));
        match self.rest {
            None => first.boxed(),
            Some(rest) => first.chain(Ahead::new(rest)).boxed(),
        }
    }
}

impl Rest {
    fn step(mut self) -> BoxFuture<'static, Step> {
        async move {
            Cx::default()
                .blocking(move |_| {
                    let left = self.left();
                    let room = |step: usize| {
                        let most = step.min(left);
                        Some((most, self.room.of(most)?))
                    };
                    let chunk = match STEPS.into_iter().find_map(room) {
                        Some((most, share)) => {
                            let bytes = self.read(most, self.room.buffer(most))?;
                            self.room.counted(bytes, share)
                        }
                        None => self.read(SMALL, Vec::new())?.into(),
                    };
                    Ok((chunk, (!self.range.is_empty()).then_some(self)))
                })
                .await
                .map_err(|error| Error::io("read", "content", "the file system", error))
        }
        .boxed()
    }

    fn left(&self) -> usize {
        let left = self.range.end.saturating_sub(self.range.start);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Reads that many bytes, or what is left.
    fn read(&mut self, most: usize, mut chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let len = self.left().min(most);
        chunk.reserve_exact(len);
        while chunk.len() < len {
            let at = self.range.start + chunk.len() as u64;
            // The spare capacity need not be zeroed, and is filled by one call.
            match rustix::io::pread(&self.file, spare_capacity(&mut chunk), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A `Vec` may hold more than was asked for.
        chunk.truncate(len);
        self.range.start += len as u64;
        Ok(chunk)
    }
}

impl Ahead {
    fn new(rest: Rest) -> Self {
        Self {
            next: Some(maybe_done(rest.step())),
        }
    }
}

impl Stream for Ahead {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        ready!(next.poll_unpin(context));
        let step = Pin::new(next).take_output();
        self.next = None;
        Poll::Ready(step.map(|step| {
            let (chunk, rest) = step?;
            self.next = rest.map(|rest| {
                let mut next = maybe_done(rest.step());
                if chunk.len() > SMALL {
                    // A future does nothing before its first poll, which here begins to read.
                    let _ = next.poll_unpin(context);
                }
                next
            });
            Ok(chunk)
        }))
    }
}
