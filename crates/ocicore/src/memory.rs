use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    Blob, BoxStream, BytesBlob, Cx, Descriptor, Digest, Error, ImageSink, ImageSource, ImageStore,
    Name, Place, RawManifest, Repositories, Repository, Result, Stored, Tag, blob, verified_blob,
};

/// A store in memory: for tests, and for small content on its way.
///
/// ```
/// use ocicore::{BytesBlob, Cx, ImageSink, MediaType, Memory, Stored};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (cx, store) = (Cx::default(), Memory::default());
/// let layer = BytesBlob::new(MediaType::OCI_LAYER, "content");
/// assert_eq!(store.put_blob(&cx, &layer).await?, Stored::Written);
/// assert_eq!(store.put_blob(&cx, &layer).await?, Stored::Present);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    blobs: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, RawManifest>,
    tags: BTreeMap<Tag, Digest>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Content> {
        // Each change is one insertion or removal, so that a panic leaves a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, action: &'static str, name: &Name) -> Result<RawManifest> {
        let content = self.lock();
        let digest = match name {
            Name::Digest(digest) => Some(digest),
            Name::Tag(tag) => content.tags.get(tag),
        };
        digest
            .and_then(|digest| content.manifests.get(digest))
            .cloned()
            .ok_or_else(|| Error::not_found(action, name, "memory"))
    }
}

#[async_trait]
impl ImageSource for Memory {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        cx.check()?;
        Ok(self.find("resolve", name)?.descriptor().clone())
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        cx.check()?;
        self.find("read", name)
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        match self.lock().blobs.get(descriptor.digest()) {
            Some(bytes) => Arc::new(BytesBlob::described(descriptor.clone(), bytes.clone())),
            None => Arc::new(Missing(descriptor.clone())),
        }
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        cx.check()?;
        let content = self.lock();
        Ok(content
            .manifests
            .values()
            .filter_map(|raw| raw.as_referrer_of(subject))
            .collect())
    }

    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        if let Err(cancelled) = cx.check() {
            return stream::once(std::future::ready(Err(cancelled.into()))).boxed();
        }
        let tags: Vec<_> = self.lock().tags.keys().cloned().map(Ok).collect();
        stream::iter(tags).boxed()
    }
}

#[async_trait]
impl ImageSink for Memory {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        cx.check()?;
        Ok(self.lock().blobs.contains_key(descriptor.digest()))
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        let descriptor = blob.descriptor();
        if self.has_blob(cx, descriptor).await? {
            return Ok(Stored::Present);
        }
        let mut content = verified_blob(blob);
        let read = async {
            let mut whole = Vec::new();
            while let Some(chunk) = content.try_next().await? {
                whole.extend_from_slice(&chunk);
            }
            Ok(whole)
        };
        let whole = cx.or_cancelled(read).await?;
        self.lock().blobs.insert(*descriptor.digest(), whole.into());
        Ok(Stored::Written)
    }

    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        cx.check()?;
        let digest = *manifest.digest();
        let mut content = self.lock();
        content.manifests.insert(digest, manifest.clone());
        if let Place::Root(tags) = place {
            content
                .tags
                .extend(tags.iter().map(|tag| (tag.clone(), digest)));
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        cx.check()?;
        let mut content = self.lock();
        let gone = match name {
            Name::Tag(tag) => content.tags.remove(tag).is_some(),
            Name::Digest(digest) => {
                content.tags.retain(|_, target| target != digest);
                content.manifests.remove(digest).is_some()
            }
        };
        if gone {
            Ok(())
        } else {
            Err(Error::not_found("delete", name, "memory"))
        }
    }
}

/// A blob that is not there: its stream says so.
#[derive(Debug)]
struct Missing(Descriptor);

impl Blob for Missing {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn open(&self, _: Range<u64>) -> BoxStream<Bytes> {
        blob::failed(Error::not_found("read", self.0.digest(), "memory"))
    }
}

/// Many stores in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryRepositories(Arc<Mutex<BTreeMap<Repository, Memory>>>);

impl Repositories for MemoryRepositories {
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>> {
        let mut repositories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::new(
            repositories.entry(name.clone()).or_default().clone(),
        ))
    }

    fn catalog(&self, _: &Cx) -> BoxStream<Repository> {
        let repositories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filled: BTreeSet<_> = repositories
            .iter()
            .filter(|(_, store)| !store.lock().manifests.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        stream::iter(filled.into_iter().map(Ok)).boxed()
    }
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use super::*;
    use crate::conformance::Suite;

    #[tokio::test]
    async fn conforms() {
        Suite::default()
            .store(async || Arc::new(Memory::default()) as _)
            .await;
    }

    #[tokio::test]
    async fn only_filled_repositories_are_listed() {
        let (cx, many) = (Cx::default(), MemoryRepositories::default());
        let (full, empty) = ("h.io/full".parse().unwrap(), "h.io/empty".parse().unwrap());
        many.repository(&empty).unwrap();
        let manifest = RawManifest::new(crate::MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
        let store = many.repository(&full).unwrap();
        store
            .put_manifest(&cx, &manifest, Place::Root(&[]))
            .await
            .unwrap();
        assert_eq!(
            many.catalog(&cx).try_collect::<Vec<_>>().await.unwrap(),
            [full]
        );
    }
}
