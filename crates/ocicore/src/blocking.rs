use std::{fmt, future::Future, io, pin::Pin, task::Poll};

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;

use crate::{BoxStream, Cx, Error};

impl Cx {
    /// Runs sync work on a thread of its own; the only `spawn_blocking` of the workspace. When the
    /// future is dropped, the closure's context is cancelled, so that its loops end.
    ///
    /// # Panics
    /// If the closure panics, with its panic; if there is no tokio runtime.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> T + Send + 'static,
    ) -> T {
        struct Guard(Cx);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.cancel();
            }
        }
        let guard = Guard(self.child());
        let cx = guard.0.clone();
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let handle = tokio::task::spawn_blocking(move || work(cx));
        match handle.await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// A stream of bytes as [`io::Read`], for use inside [`Cx::blocking`] only. It ends when its
/// context is cancelled, so that a stalled peer cannot hold the thread.
pub struct Reader {
    stream: BoxStream<Bytes>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    chunk: Bytes,
    handle: Handle,
}

impl Reader {
    /// Reads `stream` until `cx` is cancelled.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn new(cx: &Cx, stream: BoxStream<Bytes>) -> Self {
        Self {
            stream,
            stop: Box::pin(cx.cancelled()),
            chunk: Bytes::new(),
            handle: Handle::current(),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.chunk.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// The next bytes as they came, which spares the copy that [`io::Read::read`] makes; none at
    /// the end.
    ///
    /// # Errors
    /// The stream's, and [`Error::Cancelled`].
    pub fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.fill().map(|()| std::mem::take(&mut self.chunk))?;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Waits until there are bytes, or the end.
    fn fill(&mut self) -> io::Result<()> {
        while self.chunk.is_empty() {
            let (stream, stop) = (&mut self.stream, &mut self.stop);
            let next = self.handle.block_on(std::future::poll_fn(|context| {
                if stop.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Some(Err(Error::Cancelled)));
                }
                stream.as_mut().poll_next(context)
            }));
            match next {
                None => return Ok(()),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    // A completed future must not be polled again.
                    self.stop = Box::pin(std::future::pending());
                    self.stream = Box::pin(futures_util::stream::empty());
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let n = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Duration};

    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn a_stream_is_read() {
        let cx = Cx::default();
        let chunks = stream::iter([
            Ok(Bytes::from("he")),
            Ok(Bytes::new()),
            Ok(Bytes::from("y")),
        ]);
        let text = cx
            .blocking(move |cx| {
                let mut text = String::new();
                Reader::new(&cx, chunks.boxed())
                    .read_to_string(&mut text)
                    .map(|_| text)
            })
            .await;
        assert_eq!(text.unwrap(), "hey");
    }

    #[tokio::test]
    async fn chunks_are_as_they_came() {
        let cx = Cx::default();
        let chunks = stream::iter([
            Ok(Bytes::from("hello")),
            Ok(Bytes::new()),
            Ok(Bytes::from("you")),
            Err(Error::Cancelled),
        ]);
        cx.blocking(move |cx| {
            let mut reader = Reader::new(&cx, chunks.boxed());
            let mut first = [0; 2];
            reader.read_exact(&mut first).unwrap();
            assert_eq!(reader.chunk().unwrap().unwrap(), "llo");
            assert_eq!(reader.chunk().unwrap().unwrap(), "you");
            assert!(reader.chunk().is_err());
            assert_eq!(reader.chunk().unwrap(), None);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_dropped_future_ends_its_thread() {
        let (done, ended) = tokio::sync::oneshot::channel();
        let cx = Cx::default();
        let work = cx.blocking(move |cx| {
            let mut reader = Reader::new(&cx, stream::pending().boxed());
            let error = reader.read(&mut [0; 8]).unwrap_err();
            done.send(Error::from_io(error, |_| unreachable!()))
                .unwrap();
        });
        assert!(
            tokio::time::timeout(Duration::from_millis(20), work)
                .await
                .is_err()
        );
        assert!(matches!(ended.await.unwrap(), Error::Cancelled));
    }
}
