//! What a repository keeps of an upstream.

use std::time::SystemTime;

use ocicore::{Descriptor, Digest, RawManifest, RepositoryPath, Tag};

use super::{Links, ManifestLink, json, keys};
use crate::{Error, Result, storage::When};

impl Links {
    /// Stores a manifest of an upstream, whose blobs are then expected to be there.
    pub(crate) async fn cache_manifest(
        &self,
        repository: &RepositoryPath,
        manifest: &RawManifest,
    ) -> Result<()> {
        let links = manifest.links().map_err(|source| Error::ManifestInvalid {
            source: source.into(),
        })?;
        for blob in links.blobs() {
            let key = keys::expected(repository, blob.digest());
            let blob = Descriptor::new(blob.media_type().clone(), *blob.digest(), blob.size());
            self.storage.put(&key, json(&blob)?, When::Always).await?;
        }
        let digest = manifest.digest();
        let content = keys::content(digest);
        let bytes = manifest.bytes().clone();
        self.storage.put(&content, bytes, When::Always).await?;
        let link = ManifestLink {
            descriptor: manifest.descriptor().clone(),
            subject: links.subject.as_ref().map(|subject| *subject.digest()),
        };
        let key = keys::manifest(repository, digest);
        self.storage.put(&key, json(&link)?, When::Always).await?;
        Ok(())
    }

    /// Descriptor of a blob that an upstream has.
    pub(crate) async fn expected(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Option<Descriptor>> {
        self.document(&keys::expected(repository, digest)).await
    }

    /// What an upstream's tag pointed to, and when that was asked.
    pub(crate) async fn upstream_tag(
        &self,
        repository: &RepositoryPath,
        tag: &Tag,
    ) -> Result<Option<(Descriptor, SystemTime)>> {
        let key = keys::upstream_tag(repository, tag);
        let Some(meta) = self.storage.head(&key).await? else {
            return Ok(None);
        };
        let kept: Option<Descriptor> = self.document(&key).await?;
        Ok(kept.map(|descriptor| (descriptor, meta.modified)))
    }

    pub(crate) async fn keep_upstream_tag(
        &self,
        repository: &RepositoryPath,
        tag: &Tag,
        descriptor: &Descriptor,
    ) -> Result<()> {
        let key = keys::upstream_tag(repository, tag);
        self.storage
            .put(&key, json(descriptor)?, When::Always)
            .await?;
        Ok(())
    }
}
