use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a large piece. A step wakes a thread, whose cost counts for more than that of a piece that leaves the
/// processor's cache before it is sent or written.
pub(super) const LARGE: usize = 1 << 20;
/// Bytes of large pieces at most, so that many who are slow do not hold much memory.
const ROOM: usize = 8 << 20;
/// Bytes that are counted as one.
const UNIT: usize = 64 << 10;
/// Buffers of the largest pieces that are kept for the next ones: what threads that read allocate and others free comes
/// back to the system late.
const SPARE: usize = 4;

/// Where large pieces are counted.
#[derive(Clone, Debug)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A part of the room, until it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

/// A piece that counts until it is sent.
struct Counted {
    bytes: Vec<u8>,
    room: Room,
    _share: Share,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            units: Arc::new(Semaphore::new(ROOM / UNIT)),
            spare: Arc::default(),
        }
    }
}

impl Room {
    /// Room for that many bytes, if there is as much.
    pub(super) fn of(&self, bytes: usize) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.units).try_acquire_many_owned(units).ok()
    }

    /// An empty buffer, perhaps with memory for a piece of that many bytes.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        match bytes == LARGE {
            true => self.spare().pop().unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// A piece that has its share, until it is dropped.
    pub(super) fn counted(&self, bytes: Vec<u8>, share: Share) -> Bytes {
        Bytes::from_owner(Counted {
            bytes,
            room: self.clone(),
            _share: share,
        })
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.room.spare();
        if bytes.capacity() >= LARGE && spare.len() < SPARE {
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
