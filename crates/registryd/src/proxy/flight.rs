use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, Fuse},
};
use ocicore::{BoxStream, Class, Cx, Descriptor, Digest, ImageStore, RepositoryPath};
use tokio::sync::{RwLock, watch};

use crate::{
    Error, Result,
    links::Links,
    upload::{Chunk, Session},
};

/// Bytes of the first piece that is stored and shown, so that clients begin soon.
const FIRST_PIECE: u64 = 64 << 10;
/// Bytes of later pieces; each of them is one wait for the disk.
const LARGEST_PIECE: u64 = 4 << 20;
/// A piece ends after this time, so that a slow upstream is seen byte by byte, too.
const PIECE_TIME: Duration = Duration::from_millis(250);

/// A blob on its way here, waited for and read by all who want it.
///
/// It is stored in pieces. Between two of them, clients read what is there; the end of the blob is
/// shown only once the whole is verified and kept, so that nobody takes wrong content for good.
#[derive(Clone)]
pub(crate) struct Flight {
    links: Arc<Links>,
    repository: RepositoryPath,
    descriptor: Descriptor,
    state: watch::Receiver<State>,
    session: Arc<RwLock<Option<Session>>>,
}

#[derive(Clone, Debug)]
enum State {
    /// That many bytes can be read.
    Coming(u64),
    Landed,
    Failed(Arc<Error>),
}

impl Flight {
    /// Begins to fetch, in a task that goes on when whoever asked goes away. `ended` is dropped
    /// at its end, however that comes.
    pub(super) fn depart(
        cx: &Cx,
        links: &Arc<Links>,
        store: Arc<dyn ImageStore>,
        repository: &RepositoryPath,
        descriptor: Descriptor,
        ended: impl Send + 'static,
    ) -> Self {
        let (sender, state) = watch::channel(State::Coming(0));
        let flight = Self {
            links: Arc::clone(links),
            repository: repository.clone(),
            descriptor,
            state,
            session: Arc::default(),
        };
        let (own, cx) = (flight.clone(), cx.clone());
        tokio::spawn(async move {
            let result = own.fetch(&cx, &*store, &sender).await;
            // Before others hear of it, so that who comes after does not wait for what is over.
            drop(ended);
            sender.send_replace(match result {
                Ok(()) => State::Landed,
                Err(error) => State::Failed(Arc::new(error)),
            });
        });
        flight
    }

    /// Size in bytes, as the manifest says it.
    pub(crate) fn size(&self) -> u64 {
        self.descriptor.size()
    }

    fn digest(&self) -> &Digest {
        self.descriptor.digest()
    }

    /// Waits for the first bytes.
    pub(super) async fn begun(&self) -> Result<(), Arc<Error>> {
        self.reach(|state| !matches!(state, State::Coming(0)))
            .await
            .map(|_| ())
    }

    /// Waits until the blob is here.
    pub(super) async fn landed(&self) -> Result<(), Arc<Error>> {
        self.reach(|state| matches!(state, State::Landed))
            .await
            .map(|_| ())
    }

    /// Bytes of the blob, as they come. Ends with an error if the upstream does not keep its word.
    pub(crate) fn read(self, range: Range<u64>) -> BoxStream<Bytes> {
        stream::try_unfold((self, range), |(flight, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let (part, end) = flight.part(&range).await.map_err(port)?;
            Ok::<_, ocicore::Error>(Some((part, (flight, end..range.end))))
        })
        .try_flatten()
        .boxed()
    }

    /// What is there of `range`, at least one byte, and where it ends.
    async fn part(&self, range: &Range<u64>) -> Result<(BoxStream<Bytes>, u64), Arc<Error>> {
        loop {
            let state = self.reach(|state| match state {
                State::Coming(end) => *end > range.start,
                State::Landed | State::Failed(_) => true,
            });
            if let State::Coming(end) = state.await? {
                let end = end.min(range.end);
                if let Some(session) = &*self.session.read().await {
                    // With its first chunk it is open, and the end of the upload matters no more.
                    let mut content = session.read(range.start..end);
                    let first = content.next().await;
                    return Ok((stream::iter(first).chain(content).boxed(), end));
                }
                // It is being made a blob.
                self.reach(|state| !matches!(state, State::Coming(_)))
                    .await?;
                continue;
            }
            let content = self
                .links
                .open_blob(&self.repository, self.digest(), self.size(), range.clone())
                .await?;
            return Ok((content, range.end));
        }
    }

    async fn reach(&self, wanted: impl Fn(&State) -> bool) -> Result<State, Arc<Error>> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| wanted(state) || matches!(state, State::Failed(_)));
        match reached.await.as_deref() {
            Ok(State::Failed(error)) => Err(Arc::clone(error)),
            Ok(state) => Ok(state.clone()),
            // The task is gone without a word: the runtime is being shut down.
            Err(_) => Err(Arc::new(ocicore::Error::Cancelled.into())),
        }
    }

    /// Brings the blob here, whole and verified, or nothing of it.
    async fn fetch(
        &self,
        cx: &Cx,
        store: &dyn ImageStore,
        state: &watch::Sender<State>,
    ) -> Result<()> {
        let algorithm = self.digest().algorithm();
        let session = Session::begin(&self.links, &self.repository, algorithm).await?;
        *self.session.write().await = Some(session);
        let fetched = self.fill(cx, store, state).await;
        let Some(session) = self.session.write().await.take() else {
            return fetched;
        };
        match fetched {
            Ok(()) => session.finish(&self.links, self.digest()).await,
            Err(error) => {
                session.abort().await?;
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        cx: &Cx,
        store: &dyn ImageStore,
        state: &watch::Sender<State>,
    ) -> Result<()> {
        let size = self.size();
        let content = store.blob(&self.descriptor).open(0..size);
        let content = Arc::new(Mutex::new(content.fuse()));
        let (mut offset, mut len) = (0, FIRST_PIECE);
        while offset < size {
            cx.check().map_err(ocicore::Error::from)?;
            let piece = piece(Arc::clone(&content), len);
            if let Some(session) = &mut *self.session.write().await {
                let appended = session.append(Chunk::Stream, piece, size).await;
                appended.map_err(of_the_content)?;
                offset = session.offset();
            }
            let over = lock(&content).is_done();
            if over && offset < size {
                return Err(Error::SizeMismatch {
                    what: format!("blob `{}`", self.digest()),
                    expected: size,
                    actual: offset,
                });
            }
            if offset < size {
                state.send_replace(State::Coming(offset));
            }
            len = (len * 2).min(LARGEST_PIECE);
        }
        Ok(())
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("repository", &self.repository)
            .field("descriptor", &self.descriptor)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

type Content = Arc<Mutex<Fuse<BoxStream<Bytes>>>>;

/// The next `len` bytes or a little more, or what comes within [`PIECE_TIME`].
fn piece(content: Content, len: u64) -> BoxStream<Bytes> {
    let mut left = len;
    let chunks = stream::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        let next = ready!(lock(&content).poll_next_unpin(context));
        if let Some(Ok(chunk)) = &next {
            left = left.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(next)
    });
    chunks.take_until(tokio::time::sleep(PIECE_TIME)).boxed()
}

fn lock(content: &Content) -> std::sync::MutexGuard<'_, Fuse<BoxStream<Bytes>>> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fault of what was appended, which a session wraps as that of a client's body.
fn of_the_content(error: Error) -> Error {
    match error {
        Error::Body { source } => match source.downcast::<ocicore::Error>() {
            Ok(error) => Error::Storage(*error),
            Err(source) => Error::Body { source },
        },
        error => error,
    }
}

fn port(error: Arc<Error>) -> ocicore::Error {
    let class = match error.class() {
        Class::Cancelled => Class::Cancelled,
        _ => Class::Transient,
    };
    ocicore::Error::store("read", "a blob", "an upstream", class, error)
}
