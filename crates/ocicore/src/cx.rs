use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::SystemTime,
};

use tokio::sync::watch;

/// The one error of [`Task::add`] and [`Cx::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Receives progress. The libraries report, programs render.
///
/// Called from several threads at once, and often: an implementation must be quick.
pub trait Progress: fmt::Debug + Send + Sync {
    /// A piece of work begins. It is counted in bytes, unless the last word of the label names
    /// another unit: `entries`, `images` or `jobs`.
    fn start(&self, id: TaskId, label: &str, total: Option<u64>);
    /// `done` of the total is done; never less than before.
    fn advance(&self, id: TaskId, done: u64);
    /// The work is over, well or not.
    fn finish(&self, id: TaskId);
}

/// Tells one [`Task`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

/// Tells the time, so that tests can.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time of day.
    fn now(&self) -> SystemTime;
}

/// Context of an operation: progress, cancellation, clock. Cheap to clone and `'static`.
///
/// ```
/// use ocicore::Cx;
///
/// let cx = Cx::default();
/// let task = cx.task("read", Some(10));
/// task.add(4)?;
/// cx.cancel();
/// assert!(task.add(1).is_err());
/// # Ok::<(), ocicore::Cancelled>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cx {
    node: Arc<Node>,
    progress: Option<Arc<dyn Progress>>,
    clock: Arc<dyn Clock>,
}

/// A child is cancelled with its parent, and not the other way round.
#[derive(Debug)]
struct Node {
    own: watch::Sender<bool>,
    parent: Option<Arc<Node>>,
}

impl Default for Cx {
    fn default() -> Self {
        Self {
            node: Arc::new(Node {
                own: watch::Sender::new(false),
                parent: None,
            }),
            progress: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Cx {
    /// Reports progress to `progress`.
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A context of its own, which can be cancelled alone and is cancelled with this one.
    pub fn child(&self) -> Self {
        let node = Node {
            own: watch::Sender::new(false),
            parent: Some(Arc::clone(&self.node)),
        };
        Self {
            node: Arc::new(node),
            ..self.clone()
        }
    }

    /// Cancels everything that runs under this context and its children.
    pub fn cancel(&self) {
        self.node.own.send_replace(true);
    }

    /// Fails once cancelled; for loops that report no progress.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        let mut at = Some(&self.node);
        while let Some(node) = at {
            if *node.own.borrow() {
                return Err(Cancelled);
            }
            at = node.parent.as_ref();
        }
        Ok(())
    }

    /// Waits until cancelled.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut waits = Vec::new();
        let mut at = Some(&self.node);
        while let Some(node) = at {
            // Keeps the node, for a receiver alone would see it dropped and end.
            let node_kept = Arc::clone(node);
            let wait: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
                let mut receiver = node_kept.own.subscribe();
                // The sender cannot be gone: it is in the node.
                let _ = receiver.wait_for(|cancelled| *cancelled).await;
            });
            waits.push(wait);
            at = node.parent.as_ref();
        }
        poll_fn(move |context| {
            if waits
                .iter_mut()
                .any(|wait| wait.as_mut().poll(context).is_ready())
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    /// Awaits `work`, or fails as soon as cancelled, dropping it.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled), or that of the work.
    pub async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = crate::Result<T>>,
    ) -> crate::Result<T> {
        self.check()?;
        let mut stop = std::pin::pin!(self.cancelled());
        let mut work = std::pin::pin!(work);
        poll_fn(move |context| {
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Cancelled.into()));
            }
            work.as_mut().poll(context)
        })
        .await
    }

    /// A piece of work with progress, counted as [`Progress::start`] says.
    pub fn task(&self, label: &str, total: Option<u64>) -> Task {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = TaskId(NEXT.fetch_add(1, Ordering::Relaxed));
        if let Some(progress) = &self.progress {
            progress.start(id, label, total);
        }
        Task {
            cx: self.clone(),
            shared: Arc::new(Shared {
                id,
                done: AtomicU64::new(0),
                progress: self.progress.clone(),
            }),
        }
    }

    /// The time of day by this context's clock.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }
}

/// Progress of one piece of work, shared by all threads that do it. It ends when its last clone is
/// dropped.
#[derive(Clone, Debug)]
pub struct Task {
    cx: Cx,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: TaskId,
    done: AtomicU64,
    progress: Option<Arc<dyn Progress>>,
}

impl Task {
    /// Reports `n` more as done and returns the sum; the cancellation point of sync loops.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn add(&self, n: u64) -> Result<u64, Cancelled> {
        self.cx.check()?;
        let done = self.shared.done.fetch_add(n, Ordering::Relaxed) + n;
        if let Some(progress) = &self.shared.progress {
            progress.advance(self.shared.id, done);
        }
        Ok(done)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.finish(self.id);
        }
    }
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<String>>);

    impl Progress for Log {
        fn start(&self, _: TaskId, label: &str, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{label} {total:?}"));
        }
        fn advance(&self, _: TaskId, done: u64) {
            self.0.lock().unwrap().push(format!("{done}"));
        }
        fn finish(&self, _: TaskId) {
            self.0.lock().unwrap().push("end".to_owned());
        }
    }

    #[test]
    fn progress_ends_with_the_last_clone() {
        let log = Arc::new(Log::default());
        let task = Cx::default()
            .with_progress(log.clone())
            .task("push", Some(3));
        let other = task.clone();
        assert_eq!(task.add(1), Ok(1));
        drop(task);
        assert_eq!(other.add(2), Ok(3));
        drop(other);
        assert_eq!(*log.0.lock().unwrap(), ["push Some(3)", "1", "3", "end"]);
    }

    #[tokio::test]
    async fn a_child_is_cancelled_with_its_parent_only_downwards() {
        let parent = Cx::default();
        let (child, other) = (parent.child(), parent.child());
        child.cancel();
        child.cancelled().await;
        assert!(parent.check().is_ok() && other.check().is_ok());
        let waiting = tokio::spawn(other.cancelled());
        parent.cancel();
        waiting.await.unwrap();
        assert_eq!(other.check(), Err(Cancelled));
    }
}
