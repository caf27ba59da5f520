//! The `Repositories` view of a server: the same storage without HTTP.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryFutureExt, stream};
use ocicore::{
    Blob, BoxStream, Cx, Descriptor, Digest, ImageSink, ImageSource, ImageStore, Name, Place,
    RawManifest, Repositories, Repository, Result, Stored, Tag,
};

use crate::{
    Error,
    links::{Links, blob_unknown},
    upload::{Chunk, Session},
};

/// All repositories of a server.
#[derive(Debug)]
pub(crate) struct ServerRepositories {
    pub(crate) links: Arc<Links>,
    /// Under which the catalog names the repositories.
    pub(crate) host: String,
}

impl Repositories for ServerRepositories {
    /// A server is one registry, by whatever host it is called: only the path counts.
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>> {
        Ok(Arc::new(ServerRepository {
            links: Arc::clone(&self.links),
            name: name.clone(),
        }))
    }

    fn catalog(&self, _: &Cx) -> BoxStream<Repository> {
        let (links, host) = (Arc::clone(&self.links), self.host.clone());
        let names = async move {
            links
                .catalog()
                .await
                .map_err(|e| port("list", &host, &host, e))
        };
        let host = self.host.clone();
        names
            .map_ok(move |names| {
                stream::iter(
                    names
                        .into_iter()
                        .map(move |path| Repository::new(&host, path)),
                )
            })
            .try_flatten_stream()
            .boxed()
    }
}

#[derive(Clone)]
struct ServerRepository {
    links: Arc<Links>,
    name: Repository,
}

impl fmt::Debug for ServerRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerRepository").field(&self.name).finish()
    }
}

impl ServerRepository {
    fn error(&self, action: &'static str, subject: impl ToString, error: Error) -> ocicore::Error {
        port(action, subject, &self.name, error)
    }

    async fn find(&self, action: &'static str, name: &Name) -> Result<Descriptor> {
        let found = self
            .links
            .resolve(self.name.path(), name)
            .await
            .map_err(|error| self.error(action, name, error))?;
        found.ok_or_else(|| ocicore::Error::not_found(action, name, &self.name))
    }
}

#[async_trait]
impl ImageSource for ServerRepository {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        cx.check()?;
        self.find("resolve", name).await
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        cx.check()?;
        let descriptor = self.find("read", name).await?;
        let bytes = self
            .links
            .manifest(self.name.path(), &descriptor)
            .await
            .map_err(|error| self.error("read", name, error))?;
        RawManifest::verified(descriptor.media_type().clone(), bytes, descriptor.digest())
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        Arc::new(ServerBlob {
            repository: self.clone(),
            descriptor: descriptor.clone(),
        })
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        cx.check()?;
        let page = self
            .links
            .referrers(self.name.path(), subject, None, None, usize::MAX)
            .await
            .map_err(|error| self.error("list the referrers of", subject, error))?;
        Ok(page.items)
    }

    fn tags(&self, _: &Cx) -> BoxStream<Tag> {
        let own = self.clone();
        let tags = async move {
            own.links
                .tags(own.name.path(), None, usize::MAX)
                .await
                .map_err(|error| own.error("list", "tags", error))
        };
        tags.map_ok(|page| stream::iter(page.items.into_iter().map(Ok)))
            .try_flatten_stream()
            .boxed()
    }
}

#[async_trait]
impl ImageSink for ServerRepository {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        cx.check()?;
        let digest = descriptor.digest();
        let size = self
            .links
            .blob(self.name.path(), digest)
            .await
            .map_err(|error| self.error("resolve", digest, error))?;
        Ok(size.is_some())
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        cx.check()?;
        let descriptor = blob.descriptor();
        let digest = descriptor.digest();
        let path = self.name.path();
        let fault = |error| self.error("write", digest, error);
        let there = self.links.use_blob(path, digest).await.map_err(fault)?;
        if there.is_some_and(|size| size == descriptor.size()) {
            return Ok(Stored::Present);
        }
        if let Some(origin) = blob.origin()
            && origin != &self.name
            && self
                .links
                .mount(path, origin.path(), digest)
                .await
                .map_err(fault)?
        {
            return Ok(Stored::Mounted);
        }
        let task = cx.task("push", Some(descriptor.size()));
        let content = ocicore::verified_blob(blob);
        let content = until_cancelled(cx, content)
            .map(move |chunk| {
                let chunk = chunk?;
                task.add(chunk.len() as u64)?;
                Ok(chunk)
            })
            .boxed();
        let mut session = Session::begin(&self.links, path, digest.algorithm())
            .await
            .map_err(fault)?;
        match session.append(Chunk::Stream, content, u64::MAX).await {
            Ok(()) => {}
            Err(error) => {
                session.abort().await.map_err(fault)?;
                // The fault of the content itself, not of the storage.
                return Err(match error {
                    Error::Body { source } => match source.downcast::<ocicore::Error>() {
                        Ok(error) => *error,
                        Err(source) => fault(Error::Body { source }),
                    },
                    error => fault(error),
                });
            }
        }
        session.finish(&self.links, digest).await.map_err(fault)?;
        Ok(Stored::Written)
    }

    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        cx.check()?;
        let tags = match place {
            Place::Child => &[],
            Place::Root(tags) => tags,
        };
        self.links
            .put_manifest(self.name.path(), manifest, tags)
            .await
            .map_err(|error| self.error("write", manifest.digest(), error))?;
        Ok(())
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        cx.check()?;
        let path = self.name.path();
        let there = match name {
            Name::Tag(tag) => self.links.delete_tag(path, tag).await,
            Name::Digest(digest) => self.links.delete_manifest(path, digest).await,
        };
        match there.map_err(|error| self.error("delete", name, error))? {
            true => Ok(()),
            false => Err(ocicore::Error::not_found("delete", name, &self.name)),
        }
    }
}

#[derive(Debug)]
struct ServerBlob {
    repository: ServerRepository,
    descriptor: Descriptor,
}

impl Blob for ServerBlob {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let repository = self.repository.clone();
        let digest = *self.descriptor.digest();
        let opened = async move {
            let path = repository.name.path();
            let found = match repository.links.blob(path, &digest).await {
                Ok(Some(size)) => repository.links.open_blob(path, &digest, size, range).await,
                Ok(None) => Err(blob_unknown(path, &digest)),
                Err(error) => Err(error),
            };
            let content = found.map_err(|error| repository.error("read", digest, error))?;
            Ok::<_, ocicore::Error>(content)
        };
        opened.try_flatten_stream().boxed()
    }

    fn origin(&self) -> Option<&Repository> {
        Some(&self.repository.name)
    }
}

/// Ends with an error when `cx` is cancelled, even while `content` stalls.
fn until_cancelled(cx: &Cx, content: BoxStream<Bytes>) -> BoxStream<Bytes> {
    let end = cx.clone();
    let cancelled = stream::iter(Some(())).filter_map(move |()| {
        let cancelled = end.check().err();
        std::future::ready(cancelled.map(|cancelled| Err(cancelled.into())))
    });
    content.take_until(cx.cancelled()).chain(cancelled).boxed()
}

/// An error as the ports have it, with ours as its source.
fn port(
    action: &'static str,
    subject: impl ToString,
    store: impl ToString,
    error: Error,
) -> ocicore::Error {
    match error {
        Error::Storage(error) => error,
        Error::DigestMismatch { expected, actual } => ocicore::Error::Digest { expected, actual },
        error => ocicore::Error::store(action, subject, store, error.class(), error),
    }
}
