//! Work that makes more work, for several threads.

use std::{
    num::NonZero,
    panic,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::Result;

/// What waits, and how many are at it.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Vec<T>,
    running: usize,
    failed: bool,
}

/// Does all of the work, the newest first, so that little of it waits. Each thread makes its own
/// `tools`. All threads stop at the first error.
pub(super) fn run<T: Send, U>(
    threads: NonZero<usize>,
    first: T,
    tools: impl Fn() -> U + Sync,
    work: impl Fn(T, &mut U, &Queue<T>) -> Result<()> + Sync,
) -> Result<()> {
    let queue = Queue {
        state: Mutex::new(State {
            waiting: vec![first],
            running: 0,
            failed: false,
        }),
        changed: Condvar::new(),
    };
    let work = || {
        let mut tools = tools();
        while let Some(next) = queue.next() {
            let running = Running(&queue);
            work(next, &mut tools, &queue)?;
            running.done();
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            let other = other
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic));
            result = result.and(other);
        }
        result
    })
}

impl<T> Queue<T> {
    /// More work.
    pub(super) fn push(&self, work: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.extend(work);
        // Most directories have none below them.
        if state.waiting.len() > before {
            self.changed.notify_all();
        }
    }

    /// None when all is done, or when something failed.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.failed {
                return None;
            }
            if let Some(next) = state.waiting.pop() {
                state.running += 1;
                return Some(next);
            }
            if state.running == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped without being done, by an error or a panic, it stops the others.
struct Running<'a, T>(&'a Queue<T>);

impl<T> Running<'_, T> {
    fn done(self) {
        let mut state = self.0.lock();
        state.running -= 1;
        if state.running == 0 && state.waiting.is_empty() {
            self.0.changed.notify_all();
        }
        drop(state);
        std::mem::forget(self);
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.0.lock().failed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Error;

    #[test]
    fn all_is_done_once_and_the_first_error_ends_it() {
        for threads in 1..5 {
            let threads = NonZero::new(threads).unwrap();
            let done = AtomicUsize::new(0);
            let tree = |depth: usize, _: &mut (), queue: &Queue<usize>| {
                done.fetch_add(1, Ordering::Relaxed);
                queue.push((0..depth).map(|_| depth - 1));
                Ok(())
            };
            run(threads, 5, || (), tree).unwrap();
            // 5! · (1/5! + 1/4! + … + 1/0!)
            assert_eq!(done.into_inner(), 326);
            let fails = |n: usize, _: &mut (), queue: &Queue<usize>| {
                queue.push([n + 1, n + 1]);
                if n == 9 {
                    Err(Error::Cancelled)
                } else {
                    Ok(())
                }
            };
            assert!(matches!(
                run(threads, 0, || (), fails),
                Err(Error::Cancelled)
            ));
        }
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let threads = NonZero::new(3).unwrap();
        let panics = |n: usize, _: &mut (), queue: &Queue<usize>| {
            queue.push([n + 1]);
            assert!(n < 3, "on purpose");
            Ok(())
        };
        let caught = panic::catch_unwind(|| run(threads, 0, || (), panics));
        assert!(caught.is_err());
    }
}
