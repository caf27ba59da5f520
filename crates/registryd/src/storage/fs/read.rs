use std::{
    fs::File,
    io,
    ops::Range,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Meta, is_missing, meta};

/// Bytes that come along with opening, so that a manifest or config takes one step.
const FIRST: usize = 128 << 10;
/// Bytes of each further step, the largest for which there is room. A step wakes a thread, whose
/// cost counts for more than that of a chunk that leaves the processor's cache before it is sent.
const LARGE: [usize; 2] = [1 << 20, 256 << 10];
/// The same while [`ROOM`] is taken.
const SMALL: usize = 64 << 10;
/// Bytes of large chunks that wait to be sent at most, of all readers, so that many who take
/// nothing do not hold much memory.
const ROOM: usize = 8 << 20;
/// Buffers of the largest chunks that are kept for the next ones: what threads that read allocate and others free comes
/// back to the system late.
const SPARE: usize = 4;

/// Where large chunks are counted, in units of [`SMALL`].
#[derive(Clone, Debug)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A large chunk, which counts until it is sent.
struct Counted {
    bytes: Vec<u8>,
    room: Room,
    _units: OwnedSemaphorePermit,
}

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

impl Default for Room {
    fn default() -> Self {
        Self {
            units: Arc::new(Semaphore::new(ROOM / SMALL)),
            spare: Arc::default(),
        }
    }
}

impl Room {
    /// Room for a chunk of that many bytes, if there is as much.
    fn of(&self, most: usize) -> Option<(usize, OwnedSemaphorePermit)> {
        let units = u32::try_from(most.div_ceil(SMALL)).ok()?;
        let units = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some((most, units))
    }

    /// An empty buffer, perhaps with memory for a chunk of that many bytes.
    fn buffer(&self, most: usize) -> Vec<u8> {
        match most == LARGE[0] {
            true => self.spare().pop().unwrap_or_default(),
            false => Vec::new(),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.room.spare();
        if bytes.capacity() >= LARGE[0] && spare.len() < SPARE {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
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
                    let room = |most: usize| self.room.of(most.min(left));
                    let chunk = match LARGE.into_iter().find_map(room) {
                        Some((most, units)) => Bytes::from_owner(Counted {
                            bytes: self.read(most, self.room.buffer(most))?,
                            room: self.room.clone(),
                            _units: units,
                        }),
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
