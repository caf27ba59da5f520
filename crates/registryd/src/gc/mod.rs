//! Garbage collection while the server serves: tags that no rule keeps, manifests that nothing
//! keeps, blobs that no manifest names, content that no repository has, uploads that were given up,
//! and what was noted of an upstream's images that are gone.
//!
//! [`plan`] reads and decides, [`run`] removes. What is used between the two stays: every removal
//! of a link depends on its version, which each use renews, and content is first condemned, then
//! looked for in all repositories once more, then removed, unless it was written anew. Who links
//! content without bringing it along looks whether it is condemned after the link is written, so
//! that one of the two sides always sees the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use ocicore::{Class, Cx, Descriptor, Digest, RepositoryPath, Tag};
use serde::{Serialize, Serializer};

use self::mark::Marked;
pub use self::retention::Rule;
use crate::{
    Result,
    links::{Links, is_older, keys},
    storage::{Storage, UploadId, Version, When},
};

mod lease;
mod mark;
mod retention;

/// Time for which nothing is removed after it was last used.
pub const GRACE: Duration = Duration::from_secs(3600);

/// What to remove.
#[derive(Clone, Debug)]
pub struct Options {
    grace: Duration,
    uploads: Duration,
    untagged: Option<Duration>,
    rules: Vec<Rule>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: GRACE,
            uploads: Duration::from_secs(86_400),
            untagged: None,
            rules: Vec::new(),
        }
    }
}

impl Options {
    /// With another grace than [`GRACE`]. It must be that of the running servers, see
    /// [`Builder::grace`](crate::Builder::grace).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// With another time than a day after which an upload without progress is given up.
    pub fn uploads(mut self, age: Duration) -> Self {
        self.uploads = age;
        self
    }

    /// Removes manifests that no tag leads to, by index or subject, when they are older. Without
    /// this, they are kept.
    pub fn untagged(mut self, age: Duration) -> Self {
        self.untagged = Some(age);
        self
    }

    /// With one more rule for tags. Without any, all are kept.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

/// What would be removed; data, to be shown.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Tags that no rule keeps.
    pub tags: Vec<TagRemoval>,
    /// Manifests that nothing keeps.
    pub manifests: Vec<LinkRemoval>,
    /// Blobs of repositories that no manifest names.
    pub blobs: Vec<LinkRemoval>,
    /// Content that no repository has, then.
    pub content: Vec<ContentRemoval>,
    /// Uploads without progress.
    #[serde(serialize_with = "as_text")]
    pub uploads: Vec<UploadId>,
    #[serde(skip)]
    grace: Duration,
}

/// A tag to be removed.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct TagRemoval {
    /// Where it is.
    pub repository: RepositoryPath,
    /// The tag.
    pub tag: Tag,
    /// What it points to.
    pub digest: Digest,
    #[serde(skip)]
    version: Version,
}

/// A manifest or blob that a repository is to have no more.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct LinkRemoval {
    /// Where it is.
    pub repository: RepositoryPath,
    /// Its digest.
    pub digest: Digest,
    #[serde(skip)]
    version: Version,
}

/// Content to be removed.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ContentRemoval {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    #[serde(skip)]
    version: Version,
}

impl Plan {
    /// Bytes of the content to be removed.
    pub fn bytes(&self) -> u64 {
        self.content.iter().map(|content| content.size).sum()
    }
}

/// What was removed. Less than planned, where something was used meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Number of tags.
    pub tags: usize,
    /// Number of manifests, counted by repository.
    pub manifests: usize,
    /// Number of blobs, counted by repository.
    pub blobs: usize,
    /// Number of uploads.
    pub uploads: usize,
    /// Number of contents.
    pub content: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Decides what to remove, and changes nothing.
///
/// # Errors
/// Those of the storage.
pub async fn plan(cx: &Cx, storage: &Arc<dyn Storage>, options: &Options) -> Result<Plan> {
    let links = Links::offline(storage);
    let now = cx.now();
    let old = |modified, limit| is_older(now, modified, limit);
    let mut plan = Plan {
        grace: options.grace,
        ..Plan::default()
    };
    let mut linked = HashSet::new();
    for (name, marked) in read(cx, &links).await? {
        let tags = marked.tags.iter().map(|(tag, link)| (tag, link.modified));
        let gone: BTreeSet<&Tag> = retention::expired(&options.rules, &name, tags, now)
            .into_iter()
            .collect();
        let kept = marked.keep(&gone, |modified| {
            options
                .untagged
                .is_none_or(|age| !old(modified, age.max(options.grace)))
        });
        for (tag, link) in &marked.tags {
            if gone.contains(tag) {
                plan.tags.push(TagRemoval {
                    repository: name.clone(),
                    tag: tag.clone(),
                    digest: link.target,
                    version: link.version.clone(),
                });
            }
        }
        for (digest, manifest) in &marked.manifests {
            if kept.manifests.contains(digest) {
                continue;
            }
            plan.manifests.push(LinkRemoval {
                repository: name.clone(),
                digest: *digest,
                version: manifest.version.clone(),
            });
        }
        for (digest, blob) in &marked.blobs {
            if kept.blobs.contains(digest) || !old(blob.modified, options.grace) {
                linked.insert(*digest);
                continue;
            }
            plan.blobs.push(LinkRemoval {
                repository: name.clone(),
                digest: *digest,
                version: blob.version.clone(),
            });
        }
        linked.extend(kept.manifests);
    }
    let mut content = storage.list(&keys::contents(), None);
    while let Some((key, meta)) = content.try_next().await? {
        cx.check().map_err(ocicore::Error::from)?;
        if let Some(digest) = keys::content_digest(&key)
            && !linked.contains(&digest)
            && old(meta.modified, options.grace)
        {
            plan.content.push(ContentRemoval {
                digest,
                size: meta.size,
                version: meta.version,
            });
        }
    }
    let mut uploads = storage.uploads();
    while let Some((id, modified)) = uploads.try_next().await? {
        if old(modified, options.uploads) {
            plan.uploads.push(id);
        }
    }
    plan.uploads.sort();
    Ok(plan)
}

/// Removes what was planned and not used since. Of several that run at once, one does.
///
/// # Errors
/// Those of the storage; of class `Conflict` if another one is running.
pub async fn run(cx: &Cx, storage: &Arc<dyn Storage>, plan: &Plan) -> Result<Report> {
    let mut lease = lease::Lease::take(cx, storage).await?;
    let result = tokio::select! {
        result = sweep(cx, storage, plan) => result,
        Err(lost) = lease.keep() => return Err(lost),
    };
    lease.release().await?;
    result
}

/// Collects again and again, until `cx` is cancelled.
pub(crate) async fn keep_collecting(
    cx: Cx,
    storage: Arc<dyn Storage>,
    every: Duration,
    options: Options,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = cx.cancelled() => return,
        }
        let collected = async {
            let plan = plan(&cx, &storage, &options).await?;
            run(&cx, &storage, &plan).await
        };
        match collected.await {
            Ok(report) if report == Report::default() => tracing::debug!("no garbage"),
            Ok(report) => tracing::info!(?report, "garbage is collected"),
            Err(error) if error.class() == Class::Conflict => {
                tracing::debug!("garbage is collected elsewhere");
            }
            Err(_) if cx.check().is_err() => return,
            Err(error) => {
                tracing::warn!(error = %ocicore::in_one_line(&error), "garbage is not collected");
            }
        }
    }
}

async fn sweep(cx: &Cx, storage: &Arc<dyn Storage>, plan: &Plan) -> Result<Report> {
    let links = Links::offline(storage);
    let mut report = Report::default();
    for removal in &plan.tags {
        cx.check().map_err(ocicore::Error::from)?;
        let key = keys::tag(&removal.repository, &removal.tag);
        report.tags += usize::from(links.delete_unchanged(&key, &removal.version).await?);
    }
    for removal in &plan.manifests {
        cx.check().map_err(ocicore::Error::from)?;
        let unused = links
            .unlink_manifest(&removal.repository, &removal.digest, &removal.version)
            .await?;
        report.manifests += usize::from(unused);
    }
    for removal in &plan.blobs {
        cx.check().map_err(ocicore::Error::from)?;
        let key = keys::blob(&removal.repository, &removal.digest);
        report.blobs += usize::from(links.delete_unchanged(&key, &removal.version).await?);
    }
    for id in &plan.uploads {
        match storage.resume(id).await {
            Ok(Some(upload)) => {
                upload.abort().await?;
                report.uploads += 1;
            }
            Ok(None) => {}
            // Somebody goes on with it after all.
            Err(error) if error.class() == Class::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    links.forget_empty(cx, plan.grace).await?;
    sweep_content(cx, storage, &links, plan, &mut report).await?;
    Ok(report)
}

async fn sweep_content(
    cx: &Cx,
    storage: &Arc<dyn Storage>,
    links: &Links,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    for content in &plan.content {
        let key = keys::condemned(&content.digest);
        storage.put(&key, Bytes::new(), When::Always).await?;
    }
    // Whoever linked one of them before it was condemned is seen here; whoever does after sees
    // that it is condemned.
    let mut linked: HashSet<&Digest> = HashSet::new();
    let all = read(cx, links).await?;
    for marked in all.values() {
        linked.extend(marked.manifests.keys());
        linked.extend(marked.blobs.keys());
        linked.extend(marked.tags.values().map(|tag| &tag.target));
    }
    for content in &plan.content {
        if !linked.contains(&content.digest) {
            let key = keys::content(&content.digest);
            if links.delete_unchanged(&key, &content.version).await? {
                report.content += 1;
                report.bytes += content.size;
            }
        }
        let key = keys::condemned(&content.digest);
        storage.delete(&key, When::Always).await?;
    }
    // What another run left behind when it was killed.
    let mut stale = storage.list(&keys::all_condemned(), None);
    while let Some((key, _)) = stale.try_next().await? {
        storage.delete(&key, When::Always).await?;
    }
    for (name, marked) in &all {
        forget_upstream(cx, links, name, marked, plan.grace).await?;
    }
    Ok(())
}

/// Removes what is known of an upstream's images that are no longer here: where their tags pointed
/// to, and which blobs it has for them.
async fn forget_upstream(
    cx: &Cx,
    links: &Links,
    name: &RepositoryPath,
    marked: &Marked,
    grace: Duration,
) -> Result<()> {
    let old = |modified| is_older(cx.now(), modified, grace);
    let named: HashSet<&Digest> = marked.blobs_of_manifests().collect();
    let mut expected = links.storage.list(&keys::all_expected(name), None);
    while let Some((key, meta)) = expected.try_next().await? {
        let is_named = keys::digest_of(&key).is_some_and(|digest| named.contains(&digest));
        if !is_named && old(meta.modified) {
            links.delete_unchanged(&key, &meta.version).await?;
        }
    }
    let mut tags = links.storage.list(&keys::upstream_tags(name), None);
    while let Some((key, meta)) = tags.try_next().await? {
        let target: Option<Descriptor> = links.document(&key).await?;
        let is_here = target.is_some_and(|target| marked.manifests.contains_key(target.digest()));
        if !is_here && old(meta.modified) {
            links.delete_unchanged(&key, &meta.version).await?;
        }
    }
    Ok(())
}

async fn read(cx: &Cx, links: &Links) -> Result<BTreeMap<RepositoryPath, Marked>> {
    let mut all = BTreeMap::new();
    for name in links.repositories().await? {
        cx.check().map_err(ocicore::Error::from)?;
        let marked = Marked::read(links, &name).await?;
        all.insert(name, marked);
    }
    Ok(all)
}

fn as_text<S: Serializer>(ids: &[UploadId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(UploadId::as_str))
}
