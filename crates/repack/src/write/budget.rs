//! A bound on the bytes that are in memory at one time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// So many bytes may be in flight. One job that needs more than all of them still gets its turn,
/// alone.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    freed: Condvar,
    total: usize,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    closed: bool,
}

/// Bytes that are taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            freed: Condvar::new(),
            total,
        })
    }

    /// Waits until there is room; none once it is closed.
    pub(crate) fn acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut state = self.lock();
        while !state.closed && state.used > 0 && state.used + bytes > self.total {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.used += bytes;
        Some(Permit {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Nobody gets or waits for anything more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.freed.notify_all();
    }

    /// The state is plain numbers, which a panic of another thread cannot leave half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.lock().used -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn who_asks_for_too_much_waits_or_is_alone() {
        let budget = Budget::new(10);
        let first = budget.acquire(4).unwrap();
        let second = budget.acquire(6).unwrap();
        let (sender, receiver) = mpsc::channel();
        let waiting = Arc::clone(&budget);
        let thread = thread::spawn(move || {
            let big = waiting.acquire(100).unwrap();
            sender.send(()).unwrap();
            drop(big);
            waiting.acquire(10).is_some()
        });
        drop(first);
        assert!(receiver.try_recv().is_err(), "the second still has bytes");
        drop(second);
        receiver.recv().unwrap();
        assert!(thread.join().unwrap());
        budget.close();
        assert!(budget.acquire(1).is_none());
    }
}
