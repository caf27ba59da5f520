//! Repositories above a [`Storage`]: which blobs, manifests, tags and referrers each one has.
//!
//! All content lies once, under its digest. A repository has it by a link, so that a mount is one
//! small write. Links are written after what they point to, and removed before it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use ocicore::{
    BoxStream, Class, Cx, Descriptor, Digest, MediaType, Name, RawManifest, RepositoryPath, Tag,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::cache::ContentCache;
use crate::{
    Error, Result,
    storage::{Key, Storage, Version, When},
};

mod cache;
mod cached;
pub(crate) mod keys;

/// No link or tag is larger: it holds a descriptor with a manifest's annotations.
const LINK_LIMIT: u64 = 8 << 20;
/// Bytes of a page of referrers, as many as of a manifest. One that is larger comes alone.
const PAGE_LIMIT: usize = 4 << 20;
/// Bytes of a blob that is kept in memory after it was read.
const SMALL: u64 = 128 << 10;
/// Links that are looked at together.
const CONCURRENCY: usize = 16;

/// Repositories of one storage.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) storage: Arc<dyn Storage>,
    cache: ContentCache,
    /// A link that a client relies on is written anew when it is older, so that garbage
    /// collection leaves it alone for a while.
    refresh: Duration,
    sparse: Sparse,
}

/// What to do with an image manifest some of whose layers are missing. Closed: one does it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sparse {
    /// Take it, as some clients keep a part of an image only.
    #[default]
    Accept,
    /// Refuse it, so that whatever is pushed can be pulled.
    Refuse,
}

/// What a repository keeps of a manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ManifestLink {
    pub(crate) descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Digest>,
}

/// Some of a sorted list, and whether there is more.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

impl Links {
    pub(crate) fn new(storage: Arc<dyn Storage>, refresh: Duration, sparse: Sparse) -> Self {
        Self {
            storage,
            cache: ContentCache::default(),
            refresh,
            sparse,
        }
    }

    /// For who is no server.
    pub(crate) fn offline(storage: &Arc<dyn Storage>) -> Self {
        Self::new(Arc::clone(storage), Duration::MAX, Sparse::default())
    }

    /// Size of a blob, none if the repository does not have it.
    pub(crate) async fn blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<u64>> {
        let link = self.read(&keys::blob(repository, digest)).await?;
        Ok(link.and_then(|link| size_of(&link)))
    }

    /// The same for who will rely on it: the link is kept from garbage collection for a while.
    pub(crate) async fn use_blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<u64>> {
        let link = self.use_link(&keys::blob(repository, digest)).await?;
        Ok(link.and_then(|link| size_of(&link)))
    }

    /// Bytes of a blob of `size` that the repository has.
    pub(crate) async fn open_blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
        size: u64,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<Bytes>> {
        let unknown = || blob_unknown(repository, digest);
        if size <= SMALL {
            // Less than a second look at the disk, for configs above all.
            let content = self.content(digest, size).await?.ok_or_else(unknown)?;
            let within =
                |at: u64| usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
            let (start, end) = (within(range.start), within(range.end));
            let part = content.slice(start.min(end)..end);
            return Ok(stream::once(async { Ok(part) }).boxed());
        }
        let content = self.storage.open(&keys::content(digest), range).await?;
        Ok(content.ok_or_else(unknown)?.body)
    }

    /// All bytes of what is small, from memory if it was read before.
    async fn content(&self, digest: &Digest, size: u64) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.cache.get(digest) {
            return Ok(Some(bytes));
        }
        let content = self.storage.open(&keys::content(digest), 0..size).await?;
        let Some(content) = content else {
            return Ok(None);
        };
        let bytes = content.read(size).await?;
        self.cache.insert(*digest, bytes.clone());
        Ok(Some(bytes))
    }

    /// Makes content that is in the storage a blob of the repository.
    pub(crate) async fn link_blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
        size: u64,
    ) -> Result<()> {
        let link = Bytes::from(size.to_string());
        let key = keys::blob(repository, digest);
        self.storage.put(&key, link, When::Always).await?;
        Ok(())
    }

    /// Links a blob that the repository `from` has, else says false.
    pub(crate) async fn mount(
        &self,
        repository: &RepositoryPath,
        from: &RepositoryPath,
        digest: &Digest,
    ) -> Result<bool> {
        match self.use_blob(from, digest).await? {
            None => Ok(false),
            Some(_) if repository == from => Ok(true),
            Some(size) => self.adopt(repository, digest, size).await,
        }
    }

    /// Links a blob that any repository has, else says false.
    pub(crate) async fn mount_any(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<bool> {
        match self.storage.head(&keys::content(digest)).await? {
            None => Ok(false),
            Some(meta) => self.adopt(repository, digest, meta.size).await,
        }
    }

    /// Links content that nobody brings along, else says false: the client has to bring it then.
    ///
    /// Garbage collection condemns content, looks for links once more, and then removes it: either
    /// that look finds this link, or this one finds that the content is condemned, and takes the
    /// link back. A link that was there before it was condemned is left alone, for that look does
    /// find it; and so is that of content that was brought since, as may happen when a collector
    /// was killed.
    async fn adopt(&self, repository: &RepositoryPath, digest: &Digest, size: u64) -> Result<bool> {
        let (key, link) = (
            keys::blob(repository, digest),
            Bytes::from(size.to_string()),
        );
        let before = self.storage.head(&key).await?;
        let is_linked = self.use_blob(repository, digest).await?.is_some();
        // In this order, for the mark goes after the content.
        let mark = self.storage.head(&keys::condemned(digest)).await?;
        let Some(content) = self.storage.head(&keys::content(digest)).await? else {
            return Ok(false);
        };
        match mark {
            None if is_linked => return Ok(true),
            None => {}
            // A younger link may be another request's, which takes it back.
            Some(mark) if is_linked => {
                let is_older = before.is_some_and(|link| link.modified < mark.modified);
                return Ok(is_older || content.modified >= mark.modified);
            }
            Some(_) => return Ok(false),
        }
        let version = match self.storage.put(&key, link, When::Absent).await {
            Ok(version) => version,
            // Another request was quicker, and may still take its link back.
            Err(error) if error.class() == Class::Conflict => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if self.storage.head(&keys::condemned(digest)).await?.is_none()
            && self.storage.head(&keys::content(digest)).await?.is_some()
        {
            return Ok(true);
        }
        self.delete_unchanged(&key, &version).await?;
        Ok(false)
    }

    /// Removes a blob from the repository, else says false.
    pub(crate) async fn delete_blob(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<bool> {
        let key = keys::blob(repository, digest);
        let there = self.storage.head(&key).await?.is_some();
        self.storage.delete(&key, When::Always).await?;
        Ok(there)
    }

    /// Descriptor of a manifest.
    pub(crate) async fn resolve(
        &self,
        repository: &RepositoryPath,
        name: &Name,
    ) -> Result<Option<Descriptor>> {
        match name {
            Name::Tag(tag) => self.document(&keys::tag(repository, tag)).await,
            Name::Digest(digest) => {
                let link: Option<ManifestLink> =
                    self.document(&keys::manifest(repository, digest)).await?;
                Ok(link.map(|link| link.descriptor))
            }
        }
    }

    /// Bytes of a manifest that [`Links::resolve`] found.
    pub(crate) async fn manifest(
        &self,
        repository: &RepositoryPath,
        descriptor: &Descriptor,
    ) -> Result<Bytes> {
        let digest = descriptor.digest();
        let content = self.content(digest, descriptor.size()).await?;
        content.ok_or_else(|| Error::ManifestUnknown {
            repository: repository.to_string(),
            name: digest.to_string(),
        })
    }

    /// Checks a manifest and stores it with some tags; returns its subject.
    pub(crate) async fn put_manifest(
        &self,
        repository: &RepositoryPath,
        manifest: &RawManifest,
        tags: &[Tag],
    ) -> Result<Option<Digest>> {
        let links = manifest.links().map_err(|source| Error::ManifestInvalid {
            source: source.into(),
        })?;
        self.check_blobs(repository, &links).await?;
        for child in &links.manifests {
            self.use_link(&keys::manifest(repository, child.digest()))
                .await?;
        }
        let digest = manifest.digest();
        let descriptor = Descriptor::new(
            manifest.media_type().clone(),
            *digest,
            manifest.descriptor().size(),
        );
        let subject = links.subject.as_ref().map(|subject| *subject.digest());
        let link = ManifestLink {
            descriptor: descriptor.clone(),
            subject,
        };
        let (link_key, link) = (keys::manifest(repository, digest), json(&link)?);
        let content = keys::content(digest);
        let bytes = manifest.bytes().clone();
        self.storage.put(&content, bytes, When::Always).await?;
        self.storage
            .put(&link_key, link.clone(), When::Always)
            .await?;
        // After the link, so that garbage collection, which does this the other way round, either
        // finds the link or is found out.
        self.register(repository).await?;
        if let Some(subject) = &subject {
            let mut referrer = descriptor.clone();
            let config = || {
                links
                    .config
                    .as_ref()
                    .map(|config| config.media_type().clone())
            };
            if let Some(artifact_type) = links.artifact_type.clone().or_else(config) {
                referrer = referrer.with_artifact_type(artifact_type);
            }
            for (name, value) in &links.annotations {
                referrer = referrer.with_annotation(name, value);
            }
            let key = keys::referrer(repository, subject, digest);
            self.storage
                .put(&key, json(&referrer)?, When::Always)
                .await?;
        }
        let target = json(&descriptor)?;
        for tag in tags {
            let key = keys::tag(repository, tag);
            self.storage.put(&key, target.clone(), When::Always).await?;
        }
        // Somebody may have deleted the manifest before it was tagged, see `delete_manifest`.
        if self.storage.head(&link_key).await?.is_none() {
            self.storage.put(&link_key, link, When::Always).await?;
        }
        Ok(subject)
    }

    /// Removes a tag, else says false.
    pub(crate) async fn delete_tag(&self, repository: &RepositoryPath, tag: &Tag) -> Result<bool> {
        let key = keys::tag(repository, tag);
        let there = self.storage.head(&key).await?.is_some();
        self.storage.delete(&key, When::Always).await?;
        Ok(there)
    }

    /// Removes a manifest and all its tags, else says false.
    ///
    /// The link goes first: who puts and tags the manifest at the same time looks at the link once
    /// more after the tag is written, so that no tag is left without its manifest.
    pub(crate) async fn delete_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<bool> {
        let Some(meta) = self
            .storage
            .head(&keys::manifest(repository, digest))
            .await?
        else {
            return Ok(false);
        };
        self.unlink_manifest(repository, digest, &meta.version)
            .await?;
        let mut tags = self.storage.list(&keys::tags(repository), None);
        while let Some((key, meta)) = tags.try_next().await? {
            let target: Option<Descriptor> = self.document(&key).await?;
            if target.is_some_and(|target| target.digest() == digest) {
                // Unless it was moved to another manifest meanwhile.
                self.delete_unchanged(&key, &meta.version).await?;
            }
        }
        Ok(true)
    }

    /// Removes the link of a manifest and its entry as a referrer, if the link is of that version,
    /// else says false.
    ///
    /// What is pushed again at the same time stays: both removals depend on versions that were
    /// read before.
    pub(crate) async fn unlink_manifest(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
        version: &Version,
    ) -> Result<bool> {
        let key = keys::manifest(repository, digest);
        let Some(link) = self.document::<ManifestLink>(&key).await? else {
            return Ok(false);
        };
        let referrer = match &link.subject {
            Some(subject) => {
                let key = keys::referrer(repository, subject, digest);
                let meta = self.storage.head(&key).await?;
                meta.map(|meta| (key, meta.version))
            }
            None => None,
        };
        if !self.delete_unchanged(&key, version).await? {
            return Ok(false);
        }
        if let Some((key, version)) = referrer {
            self.delete_unchanged(&key, &version).await?;
        }
        Ok(true)
    }

    /// Removes an object of that version, else says false.
    pub(crate) async fn delete_unchanged(&self, key: &Key, version: &Version) -> Result<bool> {
        match self.storage.delete(key, When::Unchanged(version)).await {
            Ok(()) => Ok(true),
            Err(error) if error.class() == Class::Conflict => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// All repositories that have anything, in lexical order.
    pub(crate) async fn repositories(&self) -> Result<Vec<RepositoryPath>> {
        let mut names: BTreeSet<RepositoryPath> = self.catalog().await?.into_iter().collect();
        let mut links = self.storage.list(&keys::links(), None);
        while let Some((key, _)) = links.try_next().await? {
            names.extend(keys::owner(&key));
        }
        Ok(names.into_iter().collect())
    }

    /// Takes repositories out of the catalog that hold no manifest and got none for that time.
    pub(crate) async fn forget_empty(&self, cx: &Cx, grace: Duration) -> Result<()> {
        let mut entries = self.storage.list(&keys::catalog(), None);
        while let Some((key, meta)) = entries.try_next().await? {
            let Some(name) = keys::repository_of(&key) else {
                continue;
            };
            if !is_older(cx.now(), meta.modified, grace) || self.has_manifest(&name).await? {
                continue;
            }
            self.storage.delete(&key, When::Always).await?;
            if self.has_manifest(&name).await? {
                self.register(&name).await?;
            }
        }
        Ok(())
    }

    async fn has_manifest(&self, repository: &RepositoryPath) -> Result<bool> {
        let mut manifests = self.storage.list(&keys::manifests(repository), None);
        Ok(manifests.try_next().await?.is_some())
    }

    /// Tags after `after`, at most `limit`, in byte order.
    pub(crate) async fn tags(
        &self,
        repository: &RepositoryPath,
        after: Option<&Tag>,
        limit: usize,
    ) -> Result<Page<Tag>> {
        let prefix = keys::tags(repository);
        let after = after.map(|tag| keys::tag(repository, tag));
        let mut keys = self.storage.list(&prefix, after.as_ref());
        let mut page = Page {
            items: Vec::new(),
            more: false,
        };
        while let Some((key, _)) = keys.try_next().await? {
            let Ok(tag) = key.name().parse() else {
                continue;
            };
            if page.items.len() == limit {
                page.more = true;
                break;
            }
            page.items.push(tag);
        }
        Ok(page)
    }

    /// Manifests with that subject after `after`, in the order of their digests.
    pub(crate) async fn referrers(
        &self,
        repository: &RepositoryPath,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Descriptor>> {
        let prefix = keys::referrers(repository, subject);
        let after = after.map(|digest| keys::referrer(repository, subject, digest));
        let found = self.storage.list(&prefix, after.as_ref());
        let mut found = found
            .map_err(Error::from)
            .map_ok(|(key, _)| self.referrer(key).boxed())
            .try_buffered(CONCURRENCY);
        let mut page = Page {
            items: Vec::new(),
            more: false,
        };
        let mut bytes = 0;
        while let Some(referrer) = found.try_next().await? {
            let Some((referrer, size)) = referrer else {
                continue;
            };
            if artifact_type.is_some_and(|wanted| referrer.artifact_type() != Some(wanted)) {
                continue;
            }
            bytes += size;
            if page.items.len() == limit || bytes > PAGE_LIMIT && !page.items.is_empty() {
                page.more = true;
                break;
            }
            page.items.push(referrer);
        }
        Ok(page)
    }

    /// All repositories that hold or held a manifest, in lexical order.
    pub(crate) async fn catalog(&self) -> Result<Vec<RepositoryPath>> {
        let entries = self.storage.list(&keys::catalog(), None);
        let mut names: Vec<_> = entries
            .try_filter_map(async |(key, _)| Ok(keys::repository_of(&key)))
            .try_collect()
            .await?;
        names.sort();
        Ok(names)
    }

    /// Whether the repository holds or held a manifest.
    pub(crate) async fn exists(&self, repository: &RepositoryPath) -> Result<bool> {
        let entry = self.storage.head(&keys::repository(repository)).await?;
        Ok(entry.is_some())
    }

    /// A referrer and its size as text.
    async fn referrer(&self, key: Key) -> Result<Option<(Descriptor, usize)>> {
        let read = self.read(&key).await?;
        read.map(|bytes| Ok((parse(&key, &bytes)?, bytes.len())))
            .transpose()
    }

    /// Whether the storage answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.storage.head(&keys::lease()).await?;
        Ok(())
    }

    async fn register(&self, repository: &RepositoryPath) -> Result<()> {
        if self.exists(repository).await? {
            return Ok(());
        }
        let key = keys::repository(repository);
        match self.storage.put(&key, Bytes::new(), When::Absent).await {
            // Another request was quicker.
            Err(error) if error.class() == Class::Conflict => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// What an image refers to must be there, with the size that it says. A sparse image, of
    /// which some layers are elsewhere, is taken like a sparse index unless the server is told to
    /// refuse it; one whose config is missing, or all of its layers, was pushed in the wrong order.
    async fn check_blobs(&self, repository: &RepositoryPath, links: &ocicore::Links) -> Result<()> {
        let here =
            |blob: &&Descriptor| !blob.media_type().is_nondistributable() && blob.urls().is_empty();
        let mut missing = None;
        let mut found = 0;
        let checks: Vec<BoxFuture<'_, Result<(&Descriptor, bool)>>> = links
            .blobs()
            .filter(here)
            .map(|blob| self.check_blob(repository, blob).boxed())
            .collect();
        let mut checks = stream::iter(checks).buffer_unordered(CONCURRENCY);
        while let Some((blob, is_there)) = checks.try_next().await? {
            let is_config = links.config.as_ref() == Some(blob);
            match is_there {
                true if !is_config => found += 1,
                true => {}
                false if is_config => return Err(manifest_blob_unknown(repository, blob)),
                false => missing = Some(blob),
            }
        }
        match missing {
            Some(blob) if found == 0 || self.sparse == Sparse::Refuse => {
                Err(manifest_blob_unknown(repository, blob))
            }
            _ => Ok(()),
        }
    }

    async fn check_blob<'a>(
        &self,
        repository: &RepositoryPath,
        blob: &'a Descriptor,
    ) -> Result<(&'a Descriptor, bool)> {
        match self.use_blob(repository, blob.digest()).await? {
            Some(size) if size != blob.size() => Err(Error::SizeMismatch {
                what: format!("blob `{}`", blob.digest()),
                expected: blob.size(),
                actual: size,
            }),
            size => Ok((blob, size.is_some())),
        }
    }

    /// A link that somebody will rely on, written anew if it is old. None if there is none, or
    /// garbage collection removes it at this moment: it must not come back, as its content goes, too.
    async fn use_link(&self, key: &Key) -> Result<Option<Bytes>> {
        loop {
            let Some(object) = self.storage.open(key, 0..LINK_LIMIT).await? else {
                return Ok(None);
            };
            let meta = object.meta.clone();
            let bytes = object.read(LINK_LIMIT).await?;
            if !is_older(SystemTime::now(), meta.modified, self.refresh) {
                return Ok(Some(bytes));
            }
            let unchanged = When::Unchanged(&meta.version);
            match self.storage.put(key, bytes.clone(), unchanged).await {
                Ok(_) => return Ok(Some(bytes)),
                // Gone, or written by another request.
                Err(error) if error.class() == Class::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn document<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>> {
        let Some(bytes) = self.read(key).await? else {
            return Ok(None);
        };
        parse(key, &bytes).map(Some)
    }

    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        match self.storage.open(key, 0..LINK_LIMIT).await? {
            None => Ok(None),
            Some(object) => Ok(Some(object.read(LINK_LIMIT).await?)),
        }
    }
}

fn parse<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| {
        ocicore::Error::store("read", key, "the storage", Class::Other, source).into()
    })
}

fn manifest_blob_unknown(repository: &RepositoryPath, blob: &Descriptor) -> Error {
    Error::ManifestBlobUnknown {
        repository: repository.to_string(),
        digest: (*blob.digest()).into(),
    }
}

pub(crate) fn blob_unknown(repository: &RepositoryPath, digest: &Digest) -> Error {
    Error::BlobUnknown {
        repository: repository.to_string(),
        digest: (*digest).into(),
    }
}

/// Whether it is longer than `limit` since something was written; what is from the future is not old.
pub(crate) fn is_older(now: SystemTime, written: SystemTime, limit: Duration) -> bool {
    now.duration_since(written).is_ok_and(|age| age > limit)
}

fn size_of(link: &[u8]) -> Option<u64> {
    std::str::from_utf8(link).ok()?.parse().ok()
}

fn json(document: &impl Serialize) -> Result<Bytes> {
    let bytes = serde_json::to_vec(document).map_err(|source| {
        ocicore::Error::store("write", "a link", "the storage", Class::Other, source)
    })?;
    Ok(bytes.into())
}
