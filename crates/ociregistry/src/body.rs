//! A blob as the body of a request.

use std::{
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use ocicore::{Blob, BoxStream, Digest};
use tokio::time::Instant;

/// When something moved for the last time.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    start: Instant,
    last: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: Arc::default(),
        }
    }

    pub(crate) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(passed, Ordering::Relaxed);
    }
}

/// Where the error of the blob's own stream is left for whoever sends the request.
pub(crate) type FaultSlot = Arc<Mutex<Option<ocicore::Error>>>;

/// Streams a range of a blob and fails unless it has exactly the announced size: the last piece is
/// held back until the stream has ended.
pub(crate) struct StreamBody {
    // Only ever reached through `&mut`; the mutex makes the stream shareable between threads.
    stream: Mutex<BoxStream<Bytes>>,
    held: Option<Bytes>,
    digest: Digest,
    size: u64,
    left: u64,
    activity: Activity,
    fault: FaultSlot,
}

/// The blob's stream failed; its own error is in the [`FaultSlot`].
#[derive(Debug, thiserror::Error)]
#[error("the content to be sent failed")]
pub(crate) struct SourceFailed;

impl StreamBody {
    pub(crate) fn new(
        blob: &dyn Blob,
        range: Range<u64>,
        activity: Activity,
        fault: FaultSlot,
    ) -> Self {
        let size = range.end.saturating_sub(range.start);
        Self {
            stream: Mutex::new(blob.open(range)),
            held: None,
            digest: *blob.descriptor().digest(),
            size,
            left: size,
            activity,
            fault,
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ocicore::Error>> {
        let stream = self
            .stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let chunk = ready!(stream.as_mut().poll_next(cx)).transpose()?;
        self.activity.touch();
        Poll::Ready(Ok(chunk))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ocicore::Error>> {
        loop {
            match ready!(self.poll_source(cx))? {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => {
                    let len = chunk.len() as u64;
                    if len > self.left {
                        return Poll::Ready(Err(self.wrong_size(self.size - self.left + len)));
                    }
                    self.left -= len;
                    if self.left > 0 {
                        return Poll::Ready(Ok(Some(chunk)));
                    }
                    self.held = Some(chunk);
                }
                None if self.left > 0 => {
                    return Poll::Ready(Err(self.wrong_size(self.size - self.left)));
                }
                None => return Poll::Ready(Ok(self.held.take())),
            }
        }
    }

    fn wrong_size(&self, actual: u64) -> ocicore::Error {
        ocicore::Error::Size {
            digest: self.digest.into(),
            expected: self.size,
            actual,
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = SourceFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SourceFailed>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.poll_piece(cx)) {
            Ok(piece) => piece.map(|piece| Ok(Frame::data(piece))),
            Err(error) => {
                *this.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(SourceFailed))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |held| held.len() as u64);
        SizeHint::with_exact(self.left + held)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use ocicore::{BytesBlob, Descriptor, MediaType};

    use super::*;

    async fn send(pieces: &'static [&'static str], size: u64) -> Result<String, String> {
        let described = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b""), size);
        let fault = FaultSlot::default();
        let blob = BytesBlob::described(described, "");
        let mut body = StreamBody::new(&blob, 0..size, Activity::new(), fault.clone());
        body.stream = Mutex::new(stream::iter(pieces).map(|p| Ok(Bytes::from(*p))).boxed());
        assert_eq!(body.size_hint().exact(), Some(size));
        let mut sent = String::new();
        let mut body = std::pin::pin!(body);
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let Ok(frame) = frame else {
                let fault = fault.lock().unwrap().take().unwrap();
                return Err(format!("{sent}: {fault}").replace(&Digest::of(b"").to_string(), "D"));
            };
            sent += &String::from_utf8_lossy(frame.data_ref().unwrap());
        }
        assert!(body.is_end_stream());
        Ok(sent)
    }

    #[tokio::test]
    async fn the_last_piece_waits_for_the_end() {
        assert_eq!(send(&["ab", "", "c"], 3).await.as_deref(), Ok("abc"));
        assert_eq!(send(&["abc", ""], 3).await.as_deref(), Ok("abc"));
        let wrong = |text: &str| Err(text.to_owned());
        assert_eq!(
            send(&["ab"], 3).await,
            wrong("ab: content of `D` has 2 bytes, its descriptor says 3")
        );
        assert_eq!(
            send(&["ab", "cd"], 3).await,
            wrong("ab: content of `D` has 4 bytes, its descriptor says 3")
        );
        assert_eq!(
            send(&["ab", "c", "d"], 3).await,
            wrong("ab: content of `D` has 4 bytes, its descriptor says 3")
        );
    }
}
