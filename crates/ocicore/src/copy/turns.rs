//! How much moves at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of content that are one turn.
const TURN: u64 = 256 << 10;
/// Turns that large content takes: so many small blobs move instead of it.
const LARGEST: u32 = 8;

/// Turns of content that is moved: a small blob costs hardly more than its way, so that many of
/// them go at once; a large one fills the line, and memory, by itself.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    largest: u32,
}

impl Turns {
    /// So many turns at once, at least one.
    pub(super) fn new(jobs: usize) -> Self {
        let jobs = jobs.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Semaphore::new(jobs),
            largest: u32::try_from(jobs).map_or(LARGEST, |jobs| jobs.min(LARGEST)),
        }
    }

    /// Waits until content of `size` bytes may be moved, in the order of asking; it has its turns
    /// until what is returned is dropped.
    pub(super) async fn of(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let turns = u32::try_from(size.div_ceil(TURN)).unwrap_or(u32::MAX);
        let turns = turns.clamp(1, self.largest);
        // It is never closed, and no more is asked for than there is.
        self.all.acquire_many(turns).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// How many of such content have their turns at once.
    fn at_once(jobs: usize, size: u64) -> usize {
        let turns = Turns::new(jobs);
        let taken = (0..1000).map_while(|_| turns.of(size).now_or_never());
        taken.collect::<Vec<_>>().len()
    }

    #[test]
    fn many_small_ones_or_some_large_ones() {
        for (jobs, size, expected) in [
            (48, 0, 48),
            (48, 1, 48),
            (48, TURN, 48),
            (48, TURN + 1, 24),
            (48, 3 * TURN, 16),
            (56, 7 * TURN, 8),
            (56, 7 * TURN + 1, 7),
            (48, u64::MAX, 6),
            (8, u64::MAX, 1),
            (2, u64::MAX, 1),
            (1, 1, 1),
            (0, 1, 1),
        ] {
            assert_eq!(at_once(jobs, size), expected, "{jobs} {size}");
        }
    }
}
