//! Content as a stream that goes on where a broken connection left it.

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ocicore::{Blob, BoxStream, Cx, Descriptor, Repository};
use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue, RANGE},
};

use crate::{
    Error, Result,
    auth::Scopes,
    endpoint,
    hosts::Site,
    range,
    retry::Attempts,
    store::RegistryStore,
    wire::{Incoming, Outgoing},
};

/// Bytes after which attempts are counted anew: a server that sends less between two failures, and
/// then a little more, would be asked for ever. A part that is shorter, and not all that was asked
/// for, is a failure, too.
const PROGRESS: u64 = 64 << 10;

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
    /// be passed over if the server knows no ranges.
    async fn get(&self, left: &Range<u64>, source: usize) -> Result<Part> {
        let size = self.descriptor.size();
        let mut headers = HeaderMap::new();
        if *left != (0..size) {
            let value = HeaderValue::try_from(range::request(left))
                .map_err(|_| self.store.fault("a range that no header may hold"))?;
            headers.insert(RANGE, value);
        }
        let mirrors = &self.store.mirrors;
        let incoming = match (mirrors.get(source), source.checked_sub(mirrors.len() + 1)) {
            (Some(mirror), _) => {
                let found = self.get_at(mirror, headers).await;
                self.store.registry.0.rest.note(mirror, &found);
                found?
            }
            (None, None) => self.get_at(&self.store.home, headers).await?,
            (None, Some(n)) => {
                let url = self.descriptor.urls().get(n).map_or("", String::as_str);
                self.get_from_owner(headers, url).await?
            }
        };
        incoming.refuse_encoding()?;
        let place = incoming.place.clone();
        if incoming.status() == 206 {
            let field = incoming.header("content-range");
            let part = range::answered(field, left, size)
                .map_err(|fault| Error::protocol(place, fault))?;
            let brings = part.end - part.start;
            return Ok(Part {
                incoming,
                skip: 0,
                left: brings,
                dawdles: part.end < left.end && brings < PROGRESS,
            });
        }
        let announced = incoming.announced();
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            let digest = self.descriptor.digest();
            let fault =
                format!("`{digest}` has {announced} bytes there, its descriptor says {size}");
            return Err(Error::protocol(place, fault));
        }
        Ok(Part {
            incoming,
            skip: left.start,
            left: left.end - left.start,
            dawdles: false,
        })
    }

    /// How many places there are to ask: mirrors, the registry, the owners of the content.
    fn sources(&self) -> usize {
        self.store.mirrors.len() + 1 + self.descriptor.urls().len()
    }

    /// The first place to ask of those from the `n`th on: mirrors that did not answer a moment ago
    /// are passed over.
    fn source_from(&self, n: usize) -> usize {
        let (mirrors, rest) = (&self.store.mirrors, &self.store.registry.0.rest);
        let live = |n: &usize| mirrors.get(*n).is_none_or(|mirror| !rest.has(mirror));
        (n..self.sources()).find(live).unwrap_or(self.sources())
    }

    fn attempts(&self, source: usize) -> Attempts {
        let site = self.store.mirrors.get(source);
        Attempts::new(self.store.retry_at(site.unwrap_or(&self.store.home)))
    }

    async fn get_at(&self, site: &Site, headers: HeaderMap) -> Result<Incoming> {
        let store = &self.store;
        let url = site.endpoint.blob(&site.path, self.descriptor.digest());
        let scopes = Scopes::pull(&site.path);
        let mut call = store.call(site, Method::GET, url, scopes, &[200, 206]);
        call.headers = headers;
        // A stream has no context; who drops it, cancels it.
        store.registry.0.call_once(&Cx::default(), &call).await
    }

    /// Asks the owner of a layer that registries need not hold (image-spec descriptor.md, `urls`);
    /// nothing goes there but the question.
    async fn get_from_owner(&self, headers: HeaderMap, url: &str) -> Result<Incoming> {
        let wire = &self.store.registry.0.wire;
        let place = format!("the owner of {}", self.store.name);
        let url = endpoint::join(self.store.home.endpoint.base(), url)
            .map_err(|fault| Error::protocol(&place, fault))?;
        wire.refuse_plain(&place, &url)?;
        let mut outgoing = Outgoing::new(Method::GET, url.clone(), endpoint::authority(&url));
        outgoing.headers = headers;
        Box::pin(wire.send(&outgoing))
            .await?
            .expect(&[200, 206])
            .await
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
        let source = self.source_from(0);
        let download = Download {
            attempts: self.attempts(source),
            moved: 0,
            left: range.start..range.end.min(size),
            part: None,
            started: false,
            source,
            refused: None,
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
    /// Whether it is a small part of what was asked for.
    dawdles: bool,
}

#[derive(Debug)]
struct Download {
    blob: RemoteBlob,
    left: Range<u64>,
    part: Option<Part>,
    started: bool,
    attempts: Attempts,
    /// Bytes since attempts were counted anew.
    moved: u64,
    /// Whom to ask: mirrors, then the registry, then the owners that the descriptor names.
    source: usize,
    /// What the registry said, if an owner is asked.
    refused: Option<Error>,
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
                    self.moved += chunk.len() as u64;
                    if self.moved >= PROGRESS {
                        self.moved = 0;
                        self.attempts.progressed();
                    }
                    return Ok(Some(chunk));
                }
                Ok(None) => {}
                Err(error) => {
                    self.part = None;
                    let inner = &self.blob.store.registry.0;
                    let cx = Cx::default();
                    if let Err(error) = inner.pause(&cx, &mut self.attempts, error).await {
                        let home = self.blob.store.mirrors.len();
                        if self.source == home {
                            self.refused = Some(error);
                        } else {
                            tracing::debug!(%error, "not there");
                        }
                        self.source = self.blob.source_from(self.source + 1);
                        if self.source == self.blob.sources() {
                            let lost = || self.blob.store.fault("nobody was asked");
                            return Err(self.refused.take().unwrap_or_else(lost));
                        }
                        self.attempts = self.blob.attempts(self.source);
                    }
                }
            }
        }
    }

    /// The next bytes that are wanted; none when the part has ended as it should.
    async fn try_next(&mut self) -> Result<Option<Bytes>> {
        let part = match &mut self.part {
            Some(part) => part,
            None => {
                let part = self.blob.get(&self.left, self.source).await?;
                self.started = true;
                self.part.insert(part)
            }
        };
        let truncated = |source: Option<Error>| Error::Truncated {
            place: self.blob.store.name.to_string(),
            at: self.left.start,
            size: self.blob.descriptor.size(),
            source: source.map(Into::into),
        };
        if part.left == 0 {
            let dawdles = part.dawdles;
            self.part = None;
            return if dawdles {
                Err(truncated(None))
            } else {
                Ok(None)
            };
        }
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
