use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use futures_util::TryStreamExt;
use ocicore::{Descriptor, Digest, RawManifest, RepositoryPath, Tag};

use crate::{
    Result,
    links::{Links, ManifestLink, keys},
    storage::{Meta, Version},
};

/// Everything that one repository has.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) tags: BTreeMap<Tag, TagLink>,
    pub(super) manifests: BTreeMap<Digest, Manifest>,
    pub(super) blobs: BTreeMap<Digest, Meta>,
}

#[derive(Debug)]
pub(super) struct TagLink {
    pub(super) target: Digest,
    pub(super) modified: SystemTime,
    pub(super) version: Version,
}

#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) version: Version,
    modified: SystemTime,
    children: Vec<Digest>,
    blobs: Vec<Digest>,
    subject: Option<Digest>,
}

/// What of a repository is to stay.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) manifests: BTreeSet<Digest>,
    pub(super) blobs: BTreeSet<Digest>,
}

impl Marked {
    pub(super) async fn read(links: &Links, name: &RepositoryPath) -> Result<Self> {
        let mut marked = Self::default();
        // In the order against that of pushes: a tag whose manifest is not seen is none of a
        // manifest that was pushed meanwhile.
        let mut blobs = links.storage.list(&keys::blobs(name), None);
        while let Some((key, meta)) = blobs.try_next().await? {
            if let Some(digest) = keys::digest_of(&key) {
                marked.blobs.insert(digest, meta);
            }
        }
        let mut manifests = links.storage.list(&keys::manifests(name), None);
        while let Some((key, meta)) = manifests.try_next().await? {
            // It may be gone by now.
            let link: Option<ManifestLink> = links.document(&key).await?;
            if let Some(link) = link {
                let manifest = Manifest::read(links, name, &link, meta).await?;
                marked.manifests.insert(*link.descriptor.digest(), manifest);
            }
        }
        let mut tags = links.storage.list(&keys::tags(name), None);
        while let Some((key, meta)) = tags.try_next().await? {
            let target: Option<Descriptor> = links.document(&key).await?;
            if let (Ok(tag), Some(target)) = (key.name().parse(), target) {
                let link = TagLink {
                    target: *target.digest(),
                    modified: meta.modified,
                    version: meta.version,
                };
                marked.tags.insert(tag, link);
            }
        }
        Ok(marked)
    }

    /// Blobs that any manifest names, whether they are here or not.
    pub(super) fn blobs_of_manifests(&self) -> impl Iterator<Item = &Digest> {
        self.manifests.values().flat_map(|manifest| &manifest.blobs)
    }

    /// What stays without those tags: what a tag leads to, and what is untagged and `young`, with
    /// everything that these name, and all that refers to them.
    pub(super) fn keep(&self, gone: &BTreeSet<&Tag>, young: impl Fn(SystemTime) -> bool) -> Kept {
        let tagged = self.tags.iter().filter(|(tag, _)| !gone.contains(tag));
        let mut todo: Vec<Digest> = tagged.map(|(_, link)| link.target).collect();
        let young = self
            .manifests
            .iter()
            .filter(|(_, link)| young(link.modified));
        todo.extend(young.map(|(digest, _)| *digest));
        let mut referrers: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for (digest, manifest) in &self.manifests {
            if let Some(subject) = manifest.subject {
                referrers.entry(subject).or_default().push(*digest);
            }
        }
        let mut kept = Kept::default();
        while let Some(digest) = todo.pop() {
            if !kept.manifests.insert(digest) {
                continue;
            }
            todo.extend(referrers.get(&digest).into_iter().flatten());
            if let Some(manifest) = self.manifests.get(&digest) {
                todo.extend(&manifest.children);
                kept.blobs.extend(&manifest.blobs);
            }
        }
        kept
    }
}

impl Manifest {
    async fn read(
        links: &Links,
        name: &RepositoryPath,
        link: &ManifestLink,
        meta: Meta,
    ) -> Result<Self> {
        let bytes = links.manifest(name, &link.descriptor).await?;
        let digest = link.descriptor.digest();
        let media_type = link.descriptor.media_type().clone();
        let raw = RawManifest::verified(media_type, bytes, digest)?;
        let found = raw.links()?;
        Ok(Self {
            version: meta.version,
            modified: meta.modified,
            children: found
                .manifests
                .iter()
                .map(|child| *child.digest())
                .collect(),
            blobs: found.blobs().map(|blob| *blob.digest()).collect(),
            subject: link.subject,
        })
    }
}
