//! Memory for what is in flight: one allocation, of which pieces are lent.
//!
//! It bounds what is in memory at one time, and what came back is lent again: new memory is cleared by the
//! kernel page by page, which costs as much as hashing it.

use std::{
    mem, ops,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};

/// So many bytes, all of them or a part of another arena, to which they go back once it is [closed](Arena::close) or dropped.
#[derive(Debug)]
pub(crate) struct Arena {
    state: Mutex<State>,
    freed: Condvar,
    total: usize,
    of: Option<Arc<Arena>>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their addresses, none of which touches the next.
    free: Vec<BytesMut>,
    waiting: usize,
    closed: bool,
}

/// Bytes of an arena, which go back to it, or of the heap.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: BytesMut,
    arena: Option<Arc<Arena>>,
}

impl Arena {
    /// Takes no room before it is used.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: vec![BytesMut::zeroed(total)],
                ..State::default()
            }),
            freed: Condvar::new(),
            total,
            of: None,
        })
    }

    /// All of its bytes, lent or not.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// A part for one job, which must not wait for what others have. Waits until there is room;
    /// none once this is closed. What would never fit has memory of its own.
    pub(crate) fn part(self: &Arc<Self>, bytes: usize) -> Option<Arc<Self>> {
        if bytes > self.total {
            return Some(Self::new(bytes));
        }
        let piece = self.take(bytes)?;
        Some(Arc::new(Self {
            state: Mutex::new(State {
                free: vec![piece],
                ..State::default()
            }),
            freed: Condvar::new(),
            total: bytes,
            of: Some(Arc::clone(self)),
        }))
    }

    /// A buffer with whatever was in it before. Waits as [`Arena::part`].
    pub(crate) fn lend(self: &Arc<Self>, bytes: usize) -> Option<Buffer> {
        if bytes == 0 || bytes > self.total {
            return Some(vec![0; bytes].into());
        }
        Some(Buffer {
            bytes: self.take(bytes)?,
            arena: Some(Arc::clone(self)),
        })
    }

    /// Nobody gets or waits for anything more. What a part has, and what comes back to it from
    /// now on, is for others at once.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(of) = &self.of {
            let free = mem::take(&mut state.free);
            drop(state);
            free.into_iter().for_each(|piece| of.give_back(piece));
        }
        self.freed.notify_all();
    }

    /// From the first place with room, so that no more memory is used than needed.
    fn take(&self, bytes: usize) -> Option<BytesMut> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(at) = state.free.iter().position(|free| free.len() >= bytes) {
                let taken = state.free[at].split_to(bytes);
                if state.free[at].is_empty() {
                    state.free.remove(at);
                }
                return Some(taken);
            }
            state.waiting += 1;
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    fn give_back(&self, bytes: BytesMut) {
        let mut state = self.lock();
        if let Some(of) = &self.of
            && state.closed
        {
            drop(state);
            return of.give_back(bytes);
        }
        let free = &mut state.free;
        let at = free.partition_point(|other| other.as_ptr() < bytes.as_ptr());
        free.insert(at, bytes);
        // With the next one, then with the one before.
        for at in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            if let Some(next) = free.get(at + 1)
                && free[at].as_ptr_range().end == next.as_ptr()
            {
                let next = free.remove(at + 1);
                free[at].unsplit(next);
            }
        }
        // A call of the kernel, even for nobody.
        if state.waiting > 0 {
            self.freed.notify_all();
        }
    }

    /// A panic of another thread leaves nothing half changed but memory that is lost.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.close();
    }
}

impl Buffer {
    /// The first `len` bytes, or all if there are fewer; the rest stays. Each goes back by itself.
    pub(crate) fn split_to(&mut self, len: usize) -> Self {
        Self {
            bytes: self.bytes.split_to(len.min(self.bytes.len())),
            arena: self.arena.clone(),
        }
    }

    /// Keeps the first `len` bytes; the others go back.
    pub(crate) fn truncate(&mut self, len: usize) {
        let first = self.split_to(len);
        *self = first;
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Bytes::from(bytes).into(),
            arena: None,
        }
    }
}

impl ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(arena) = self.arena.take()
            && !self.bytes.is_empty()
        {
            arena.give_back(mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    fn free(arena: &Arena) -> Vec<usize> {
        arena.lock().free.iter().map(BytesMut::len).collect()
    }

    #[test]
    fn who_asks_for_too_much_waits() {
        let arena = Arena::new(10);
        let first = arena.part(4).unwrap();
        let second = arena.part(6).unwrap();
        let (sender, receiver) = mpsc::channel();
        let waiting = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let whole = waiting.part(10).unwrap();
            sender.send(()).unwrap();
            drop(whole);
            waiting.lend(10).is_some()
        });
        drop(first);
        assert!(receiver.try_recv().is_err(), "the second still has bytes");
        drop(second);
        receiver.recv().unwrap();
        assert!(thread.join().unwrap());
        assert_eq!(arena.part(11).unwrap().total, 11, "of its own");
        assert_eq!(free(&arena), [10]);
        arena.close();
        assert!(arena.part(1).is_none() && arena.lend(1).is_none());
    }

    #[test]
    fn pieces_come_back_in_any_order_and_become_one() {
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let arena = Arena::new(100);
            let part = arena.part(90).unwrap();
            let mut lent = [30, 10, 50].map(|bytes| part.lend(bytes));
            assert_eq!((free(&part), free(&arena)), (vec![], vec![10]));
            drop(part);
            for at in order {
                lent[at].as_mut().unwrap().fill(1);
                lent[at] = None;
            }
            assert_eq!(free(&arena), [100]);
        }
    }

    #[test]
    fn what_comes_back_to_a_closed_part_is_for_others_at_once() {
        let arena = Arena::new(100);
        let part = arena.part(90).unwrap();
        let mut lent = part.lend(60).unwrap();
        lent.copy_from_slice(&[b"abcdef".repeat(10)].concat());
        assert_eq!((free(&part), free(&arena)), (vec![30], vec![10]));
        part.close();
        assert_eq!((free(&part), free(&arena)), (vec![], vec![40]));
        assert!(part.lend(1).is_none());
        let first = lent.split_to(6);
        assert_eq!(
            (&*first, &lent[..3], lent.len()),
            (&b"abcdef"[..], &b"abc"[..], 54)
        );
        drop(first);
        assert_eq!(free(&arena), [6, 40]);
        let rest = lent.split_to(54);
        assert!(lent.is_empty());
        drop((part, lent));
        assert_eq!(free(&arena), [6, 40], "what was split off is still there");
        drop(rest);
        assert_eq!(free(&arena), [100]);
    }

    #[test]
    fn a_buffer_is_as_long_as_it_says() {
        let arena = Arena::new(8);
        let mut buffer = arena.lend(8).unwrap();
        buffer.copy_from_slice(b"12345678");
        buffer.truncate(3);
        assert_eq!(&*buffer, b"123");
        assert_eq!(free(&arena), [5], "of which others can have the rest");
        buffer.truncate(8);
        assert_eq!(&*buffer, b"123");
        assert_eq!(&*Buffer::from(b"heap".to_vec()), b"heap");
        drop(buffer);
        // What was in it is still there.
        assert_eq!(&*arena.lend(8).unwrap(), b"12345678");
        assert_eq!(arena.lend(0).unwrap().len(), 0);
    }
}
