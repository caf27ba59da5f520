//! Content on its way up: mounted if it is there, else sent in one request or in chunks.

mod session;

use bytes::Bytes;
use futures_util::TryStreamExt;
use ocicore::{Blob, Class, Cx, RepositoryPath, Stored};
use reqwest::{
    Method,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue},
};
use url::Url;

use self::session::{Session, Step};
use crate::{
    Error, Result, Upload,
    auth::Scopes,
    call::Call,
    endpoint,
    hosts::Check,
    range,
    retry::Attempts,
    store::RegistryStore,
    wire::{Incoming, Payload},
};

/// Up to so many bytes content is read and verified before it is sent; larger content is verified
/// by the registry, and by its size on the way.
const SMALL: u64 = 256 << 10;

impl RegistryStore {
    /// Makes a blob be in this repository.
    pub(crate) async fn push(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        let inner = &self.registry.0;
        let mut attempts = Attempts::new(&inner.retry);
        let mut push = Push {
            store: self,
            blob,
            from: Some(self.mount_source(blob.origin())),
            content: None,
            mode: inner.upload,
            location: None,
            sent: false,
            furthest: 0,
        };
        loop {
            let error = match push.attempt(cx, &mut attempts).await {
                Ok(Some(stored)) => return Ok(stored),
                Ok(None) => continue,
                Err(error) => error,
            };
            let class = match is_forgotten(&error) {
                true => Class::Transient,
                false => error.class(),
            };
            if let Err(error) = inner.pause_as(class, cx, &mut attempts, error).await {
                push.abandon(cx).await;
                return Err(error);
            }
        }
    }
}

/// One blob on its way.
struct Push<'a> {
    store: &'a RegistryStore,
    blob: &'a dyn Blob,
    /// The repository to mount from, which may be this one; none where a registry refuses to look.
    from: Option<&'a RepositoryPath>,
    /// Small content, verified.
    content: Option<Bytes>,
    mode: Upload,
    /// The upload that is open.
    location: Option<Url>,
    /// Whether all bytes have been sent before.
    sent: bool,
    /// Where the furthest chunk that any upload of it took ends: only what goes beyond is progress.
    furthest: u64,
}

/// What became of a content that was sent. Closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Whole,
    /// The registry does not say how much it has.
    Lost,
}

/// What the registry answers to the start of an upload.
enum Start {
    There(Stored),
    Upload { location: Url, least: u64 },
}

impl Push<'_> {
    /// None if the upload has to begin anew at once: what failed before that was waited for, or
    /// will be done otherwise.
    async fn attempt(&mut self, cx: &Cx, attempts: &mut Attempts) -> Result<Option<Stored>> {
        let (location, least) = match self.start(cx).await? {
            // The answer to the last byte was lost, but not the bytes.
            Start::There(_) if self.sent => return Ok(Some(Stored::Written)),
            Start::There(stored) => return Ok(Some(stored)),
            Start::Upload { location, least } => (location, least),
        };
        self.location = Some(location.clone());
        let size = self.blob.descriptor().size();
        if size <= SMALL && self.content.is_none() {
            self.content = Some(ocicore::read(self.blob, SMALL).await?);
        }
        let chunk = match self.mode {
            Upload::Chunked(chunk) => Some(chunk).filter(|chunk| size > (*chunk).max(least)),
            Upload::Monolithic => None,
        };
        let sent = match chunk {
            Some(chunk) => {
                let session = Session::new(location, size, chunk, least);
                self.in_chunks(cx, attempts, session).await
            }
            None => self.at_once(cx, location).await,
        };
        match sent {
            Ok(Sent::Whole) => {
                self.location = None;
                Ok(Some(Stored::Written))
            }
            Ok(Sent::Lost) => Ok(None),
            Err(Error::Answer(answer)) if answer.status() == 413 && chunk.is_none() => {
                let Some(smaller) = session::part_of(size, least) else {
                    return Err(Error::Answer(answer));
                };
                tracing::debug!(%answer, "sending in chunks");
                self.mode = Upload::Chunked(smaller);
                Ok(None)
            }
            Err(Error::Answer(answer)) if answer.class() == Class::Invalid => {
                // Whose fault is it? The source is asked once more, and says what it really has.
                self.verify_source().await?;
                Err(Error::Answer(answer))
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for the blob to be there; where it cannot be had from another repository, an upload
    /// begins.
    async fn start(&mut self, cx: &Cx) -> Result<Start> {
        let check = (self.store.registry.0.hosts).check(&self.store.home.endpoint);
        if check == Check::Head && self.store.head_blob(cx, self.blob.descriptor()).await? {
            return Ok(Start::There(Stored::Present));
        }
        let target = &self.store.home.path;
        loop {
            let error = match self.begin(cx).await {
                Ok(start) => return Ok(start),
                Err(error) => error,
            };
            self.from = match self.from {
                // Who may not read there may still write here.
                Some(from) if from != target && refuses_mount(&error) => Some(target),
                // Who does not know what to look for may still take it.
                Some(from) if from == target && is_not_understood(&error) => None,
                _ => return Err(error),
            };
            tracing::debug!(%error, "not mounted");
        }
    }

    async fn begin(&self, cx: &Cx) -> Result<Start> {
        let (store, target) = (self.store, &self.store.home.path);
        let digest = self.blob.descriptor().digest();
        let endpoint = &store.home.endpoint;
        let (url, expected): (_, &[u16]) = match self.from {
            Some(from) => (endpoint.mount(target, digest, from), &[201, 202]),
            None => (endpoint.upload(target), &[202]),
        };
        let mut scopes = Scopes::push(target);
        if let Some(from) = self.from.filter(|from| *from != target) {
            scopes = scopes.and(&Scopes::pull(from));
        }
        let call = store.call(&store.home, Method::POST, url, scopes, expected);
        let incoming = store.registry.0.call_once(cx, &call).await?;
        if incoming.status() == 201 {
            return Ok(Start::There(if self.from == Some(target) {
                Stored::Present
            } else {
                Stored::Mounted
            }));
        }
        let location = incoming
            .header("location")
            .ok_or_else(|| store.fault("it begins an upload without `Location`"))?;
        let least = incoming.header("oci-chunk-min-length");
        Ok(Start::Upload {
            location: endpoint::join(&incoming.url, location).map_err(|f| store.fault(f))?,
            least: least
                .and_then(|l| l.trim().parse().ok())
                .unwrap_or_default(),
        })
    }

    async fn at_once(&mut self, cx: &Cx, location: Url) -> Result<Sent> {
        self.sent = true;
        let url = endpoint::with_digest(location, self.blob.descriptor().digest());
        let mut call = self.call(Method::PUT, url, &[201, 200, 204]);
        call.payload = self.payload(0..self.blob.descriptor().size());
        self.store.registry.0.call_once(cx, &call).await?;
        Ok(Sent::Whole)
    }

    async fn in_chunks(
        &mut self,
        cx: &Cx,
        attempts: &mut Attempts,
        mut session: Session,
    ) -> Result<Sent> {
        let inner = &self.store.registry.0;
        while let Step::Send(range) = session.next() {
            let error = match self.send_chunk(cx, &mut session, &range).await {
                Ok(()) => {
                    if range.end > self.furthest {
                        self.furthest = range.end;
                        attempts.progressed();
                    }
                    continue;
                }
                Err(error) => error,
            };
            let status = error.answer().map(crate::Answer::status);
            let class = match status {
                Some(413) if session.shrink() => continue,
                // Out of order: the registry has more or less than it said.
                Some(416) => Class::Transient,
                _ if is_forgotten(&error) => return Err(error),
                _ => error.class(),
            };
            inner.pause_as(class, cx, attempts, error).await?;
            let before = session.clone();
            let refused = status == Some(416);
            while let Err(error) = self.ask(cx, &mut session, refused).await {
                if is_forgotten(&error) || says_nothing(&error) {
                    tracing::debug!(%error, "the upload begins anew");
                    return Ok(Sent::Lost);
                }
                inner.pause(cx, attempts, error).await?;
            }
            if refused && session.next() == before.next() {
                let fault = "it refuses the chunk that it asks for";
                return Err(self.store.fault(fault));
            }
        }
        self.sent = true;
        let digest = self.blob.descriptor().digest();
        let url = endpoint::with_digest(session.location().clone(), digest);
        let call = self.call(Method::PUT, url, &[201, 200, 204]);
        inner.call_once(cx, &call).await?;
        Ok(Sent::Whole)
    }

    async fn send_chunk(
        &mut self,
        cx: &Cx,
        session: &mut Session,
        range: &std::ops::Range<u64>,
    ) -> Result<()> {
        let store = self.store;
        // The specification says 202; ECR says 201.
        let mut call = self.call(Method::PATCH, session.location().clone(), &[202, 201, 204]);
        let field = HeaderValue::try_from(range::chunk(range))
            .map_err(|_| store.fault("a range that no header may hold"))?;
        call.headers.insert(CONTENT_RANGE, field);
        call.payload = self.payload(range.clone());
        let incoming = store.registry.0.call_once(cx, &call).await?;
        session.sent(range);
        self.moved(session, &incoming)
    }

    /// Asks the registry how much it has, after it `refused` a chunk, or one was lost
    /// (distribution-spec §Getting the upload status).
    async fn ask(&mut self, cx: &Cx, session: &mut Session, refused: bool) -> Result<()> {
        let store = self.store;
        let call = self.call(Method::GET, session.location().clone(), &[204, 200, 202]);
        let incoming = store.registry.0.call_once(cx, &call).await?;
        let field = incoming
            .header("range")
            .ok_or_else(|| store.fault("it does not say how much of an upload it has"))?;
        let uploaded = range::uploaded(field)
            .ok_or_else(|| store.fault("its `Range` of an upload is not `0-LAST`"))?;
        session
            .resume(uploaded, refused)
            .map_err(|fault| store.fault(fault))?;
        self.moved(session, &incoming)
    }

    fn moved(&mut self, session: &mut Session, incoming: &Incoming) -> Result<()> {
        session
            .moved(&incoming.url, incoming.header("location"))
            .map_err(|fault| self.store.fault(fault))?;
        self.location = Some(session.location().clone());
        Ok(())
    }

    fn call<'s>(&'s self, method: Method, url: Url, expected: &'s [u16]) -> Call<'s> {
        let scopes = Scopes::push(&self.store.home.path);
        let mut call = self
            .store
            .call(&self.store.home, method, url, scopes, expected);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, kind);
        call
    }

    fn payload(&self, range: std::ops::Range<u64>) -> Payload<'_> {
        match &self.content {
            // Small content goes whole or, by an odd chunk size, in parts.
            Some(content) => match (usize::try_from(range.start), usize::try_from(range.end)) {
                (Ok(start), Ok(end)) if start <= end && end <= content.len() => {
                    Payload::Bytes(content.slice(start..end))
                }
                _ => Payload::Blob(self.blob, range),
            },
            None => Payload::Blob(self.blob, range),
        }
    }

    /// Fails with the source's fault if its content is not what its descriptor says.
    async fn verify_source(&self) -> Result<()> {
        let mut content = ocicore::verified_blob(self.blob);
        while content.try_next().await?.is_some() {}
        Ok(())
    }

    /// Tells the registry to forget an upload that failed; if it does not, it will by itself.
    async fn abandon(&mut self, cx: &Cx) {
        if let Some(location) = self.location.take() {
            let call = self.call(Method::DELETE, location, &[204, 200, 202]);
            if let Err(error) = self.store.registry.0.call_once(cx, &call).await {
                tracing::debug!(%error, "an upload was left behind");
            }
        }
    }
}

/// Whether an upload cannot go on and has to begin anew: a registry that was restarted may know
/// nothing of it, and docker-registry takes no chunk more once one was cut, for the state in its
/// `Location` is older than what it has then.
fn is_forgotten(error: &Error) -> bool {
    error.answer().is_some_and(|answer| {
        answer.has_code("BLOB_UPLOAD_UNKNOWN")
            || (answer.status() == 404 && answer.has_code("BLOB_UPLOAD_INVALID"))
    })
}

/// Whether a registry may take a content that it does not mount from another repository.
fn refuses_mount(error: &Error) -> bool {
    error.class() == Class::Denied || is_not_understood(error)
}

/// Whether a registry says that there is no such thing, or no such request: without naming another
/// repository, or any, it may be another answer.
fn is_not_understood(error: &Error) -> bool {
    let status = error.answer().map(crate::Answer::status);
    matches!(status, Some(400 | 404)) && error.class() != Class::Transient
}

/// Whether a registry that was asked where an upload stands never will say so: not all of them know
/// that question, some answer it without `Range`.
fn says_nothing(error: &Error) -> bool {
    matches!(
        error.class(),
        Class::NotFound | Class::Unsupported | Class::Conflict | Class::Invalid
    )
}
