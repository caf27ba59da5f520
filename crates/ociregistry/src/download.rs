//! Content as a stream that goes on where a broken connection left it.

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ocicore::{Blob, BoxStream, Cx, Descriptor, Repository};
use reqwest::{
    Method,
    header::{HeaderValue, RANGE},
};

use crate::{
    Error, Result, auth::Scopes, range, retry::Attempts, store::RegistryStore, wire::Incoming,
};

/// Content of a repository, by its descriptor.
#[derive(Clone)]
pub(crate) struct RemoteBlob {
    store: RegistryStore,
    descriptor: Descriptor,
}

impl RemoteBlob {
    pub(crate) fn new(store: RegistryStore, descriptor: Descriptor) -> Self {
        Self { store, descriptor }
    }

    /// Asks for what is left. The rest of the answer begins at `left.start`, but for the bytes to
    /// be passed over if the registry knows no ranges.
    async fn get(&self, left: &Range<u64>) -> Result<Part> {
        let size = self.descriptor.size();
        let (store, digest) = (&self.store, self.descriptor.digest());
        let url = store.endpoint.blob(store.name.path(), digest);
        let scopes = Scopes::pull(store.name.path());
        let mut call = store.call(Method::GET, url, scopes, &[200, 206]);
        let whole = *left == (0..size);
        if !whole {
            let value = HeaderValue::try_from(range::request(left))
                .map_err(|_| store.fault("a range that no header may hold"))?;
            call.headers.insert(RANGE, value);
        }
        // A stream has no context; who drops it, cancels it.
        let incoming = store.registry.0.call_once(&Cx::default(), &call).await?;
        incoming.refuse_encoding()?;
        if incoming.status() == 206 {
            let field = incoming.header("content-range");
            let part = range::answered(field, left, size).map_err(|fault| store.fault(fault))?;
            return Ok(Part {
                incoming,
                skip: 0,
                left: part.end - part.start,
            });
        }
        if let Some(announced) = incoming.announced().filter(|announced| *announced != size) {
            return Err(Error::Store(ocicore::Error::Size {
                digest: (*digest).into(),
                expected: size,
                actual: announced,
            }));
        }
        Ok(Part {
            incoming,
            skip: left.start,
            left: left.end - left.start,
        })
    }
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBlob")
            .field("repository", &self.store.name)
            .field("descriptor", &self.descriptor)
            .finish()
    }
}

impl Blob for RemoteBlob {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let size = self.descriptor.size();
        // An empty part is no reason to ask; an empty blob may still be missing.
        if range.is_empty() && size > 0 {
            return stream::empty().boxed();
        }
        let download = Download {
            attempts: Attempts::new(&self.store.registry.0.retry),
            left: range.start..range.end.min(size),
            part: None,
            started: false,
            blob: self.clone(),
        };
        stream::try_unfold(download, |mut download| async move {
            match download.next().await {
                Ok(Some(chunk)) => Ok(Some((chunk, download))),
                Ok(None) => Ok(None),
                Err(error) => {
                    let RemoteBlob { store, descriptor } = &download.blob;
                    Err(error.into_port("read", descriptor.digest(), &store.name))
                }
            }
        })
        .boxed()
    }

    fn origin(&self) -> Option<&Repository> {
        Some(&self.store.name)
    }
}

/// One answer of possibly several.
#[derive(Debug)]
struct Part {
    incoming: Incoming,
    /// Bytes before those that are wanted.
    skip: u64,
    /// Bytes of it that are wanted.
    left: u64,
}

#[derive(Debug)]
struct Download {
    blob: RemoteBlob,
    left: Range<u64>,
    part: Option<Part>,
    started: bool,
    attempts: Attempts,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.left.is_empty() && self.started {
                return Ok(None);
            }
            match self.try_next().await {
                Ok(Some(chunk)) => {
                    self.left.start += chunk.len() as u64;
                    self.attempts.progressed();
                    return Ok(Some(chunk));
                }
                Ok(None) => {}
                Err(error) => {
                    self.part = None;
                    let inner = &self.blob.store.registry.0;
                    inner
                        .pause(&Cx::default(), &mut self.attempts, error)
                        .await?;
                }
            }
        }
    }

    /// The next bytes that are wanted; none when the part has ended as it should.
    async fn try_next(&mut self) -> Result<Option<Bytes>> {
        let part = match &mut self.part {
            Some(part) => part,
            None => {
                let part = self.blob.get(&self.left).await?;
                self.started = true;
                self.part.insert(part)
            }
        };
        if part.left == 0 {
            self.part = None;
            return Ok(None);
        }
        let truncated = |source: Option<Error>| Error::Truncated {
            place: self.blob.store.name.to_string(),
            at: self.left.start,
            size: self.blob.descriptor.size(),
            source: source.map(Into::into),
        };
        let mut chunk = match part.incoming.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Err(truncated(None)),
            Err(error @ Error::Transport { .. }) => return Err(truncated(Some(error))),
            Err(error) => return Err(error),
        };
        let skipped = part.skip.min(chunk.len() as u64);
        part.skip -= skipped;
        // Both fit, for they are not more than what is in memory.
        let _ = chunk.split_to(usize::try_from(skipped).unwrap_or(chunk.len()));
        chunk.truncate(
            usize::try_from(part.left)
                .unwrap_or(usize::MAX)
                .min(chunk.len()),
        );
        part.left -= chunk.len() as u64;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }
}
