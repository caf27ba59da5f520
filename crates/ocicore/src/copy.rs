//! Copying between stores: [`plan`] reads and decides, [`run`] does it.
//!
//! ```
//! use std::sync::Arc;
//! use ocicore::{Cx, ImageStore, Memory, copy};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use ocicore::{ImageSink, MediaType, Place, RawManifest};
//! let cx = Cx::default();
//! let (from, to) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
//! # let manifest = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
//! # from.put_manifest(&cx, &manifest, Place::Root(&["v1".parse()?])).await?;
//! let root = copy::Root::same("v1".parse()?);
//! let plan = copy::plan(&cx, &*from, &*to, &[root], &copy::Options::default()).await?;
//! let done = copy::run(&cx, plan, from, to).await?;
//! assert_eq!(done.manifests, 1);
//! # Ok(())
//! # }
//! ```

mod graph;
mod turns;

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Serialize, Serializer};

use self::{graph::Graph, turns::Turns};
use crate::{
    Blob, BoxStream, Class, Cx, Descriptor, Digest, ImageSource, ImageStore, Name, Place,
    RawManifest, Repository, Result, SizeLimits, Stored, Tag, Task,
};

/// What to copy, and what to call it.
#[derive(Clone, Debug)]
pub struct Root {
    from: Name,
    tags: Vec<Tag>,
}

impl Root {
    /// A root under the same tag; by digest without a tag.
    pub fn same(name: Name) -> Self {
        let tags = name.tag().cloned().into_iter().collect();
        Self { from: name, tags }
    }

    /// A root under other tags.
    pub fn tagged(from: impl Into<Name>, tags: impl IntoIterator<Item = Tag>) -> Self {
        Self {
            from: from.into(),
            tags: tags.into_iter().collect(),
        }
    }
}

/// How to copy. Referrers come along, as far as the source knows them: an [`Image`](crate::Image) has none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    referrers: Referrers,
    jobs: usize,
    limits: SizeLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Referrers {
    Carried,
    Left,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            referrers: Referrers::Carried,
            jobs: 48,
            limits: SizeLimits::default(),
        }
    }
}

impl Options {
    /// Leaves signatures, SBOMs and other referrers behind, which saves one request for each
    /// manifest.
    pub fn without_referrers(mut self) -> Self {
        self.referrers = Referrers::Left;
        self
    }

    /// Reads so many manifests and moves so many blobs of up to 256 KiB at once, 48 by default, or
    /// an eighth as many that are larger than 1.75 MiB: where small blobs only wait for answers,
    /// large ones fill the line.
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// With other limits; all manifests of a copy together are bounded by
    /// [`SizeLimits::documents`].
    pub fn with_limits(mut self, limits: SizeLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// What a copy will do. Serialised for `--dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Roots that are there already, under all their tags; nothing of them is copied.
    present: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    /// Levels of manifests: each needs only what is in those before it.
    manifests: Vec<Vec<Step>>,
    #[serde(skip)]
    jobs: usize,
}

/// One manifest to be written.
#[derive(Clone, Debug, Serialize)]
struct Step {
    #[serde(serialize_with = "descriptor_of")]
    manifest: RawManifest,
    /// None for a child or referrer.
    tags: Option<Vec<Tag>>,
}

impl Plan {
    /// Roots that need no copying.
    pub fn present(&self) -> &[Descriptor] {
        &self.present
    }

    /// Configs and layers, each once; some may turn out to be there.
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// Manifests, children before what points to them.
    pub fn manifests(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests
            .iter()
            .flatten()
            .map(|step| step.manifest.descriptor())
    }

    /// The manifests themselves, in the same order.
    #[cfg(feature = "fs")]
    pub(crate) fn raw_manifests(&self) -> impl Iterator<Item = &RawManifest> {
        self.manifests.iter().flatten().map(|step| &step.manifest)
    }

    /// Bytes of all blobs.
    pub fn bytes(&self) -> u64 {
        let sizes = self.blobs.iter().map(Descriptor::size);
        // Sizes are for others to say.
        sizes.fold(0, u64::saturating_add)
    }

    /// Takes out the blobs that `sink` has, for a `--dry-run` that says what would move. Costs a
    /// request for each blob, which [`run`] does not need.
    ///
    /// # Errors
    /// The sink's.
    pub async fn without_present_blobs(mut self, cx: &Cx, sink: &dyn ImageStore) -> Result<Self> {
        let mut found = Vec::with_capacity(self.blobs.len());
        for blob in &self.blobs {
            found.push(unless_present(cx, sink, blob));
        }
        let found: Vec<_> = stream::iter(found)
            .buffered(self.jobs)
            .try_collect()
            .await?;
        self.blobs = found.into_iter().flatten().collect();
        Ok(self)
    }
}

/// What [`run`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Done {
    /// Blobs whose bytes were written.
    pub written: u64,
    /// Blobs that came from another repository of the same registry by name.
    pub mounted: u64,
    /// Blobs that were there.
    pub present: u64,
    /// Manifests written.
    pub manifests: u64,
    /// Bytes of the blobs that were written.
    pub bytes: u64,
}

/// Finds out what has to be copied. Reads from both stores, and writes to none.
///
/// A root that is there already, under all its tags, is left out as a whole: referrers that its source got since are not
/// looked for; name them as roots of their own. So that a copy again costs one request.
///
/// # Errors
/// The stores'; [`Error::Document`](crate::Error::Document) if a manifest cannot be read,
/// [`Error::Limit`](crate::Error::Limit) if there are more manifests than [`Options::with_limits`]
/// allows.
pub async fn plan(
    cx: &Cx,
    source: &dyn ImageSource,
    sink: &dyn ImageStore,
    roots: &[Root],
    options: &Options,
) -> Result<Plan> {
    let (mut present, mut wanted) = (Vec::new(), Vec::new());
    for root in roots {
        // Who asks by digest need not read it to see that it is there.
        if let Name::Digest(digest) = &root.from
            && let Some(there) = find(cx, sink, &root.tags, digest).await?
        {
            present.push(there);
            continue;
        }
        let manifest = source.manifest(cx, &root.from).await?;
        if let Name::Tag(_) = &root.from
            && let Some(there) = find(cx, sink, &root.tags, manifest.digest()).await?
        {
            present.push(there);
            continue;
        }
        wanted.push((manifest, root.tags.clone()));
    }
    let graph = Graph::read(cx, source, wanted.iter().map(|(root, _)| root), options).await?;
    let roots = wanted
        .iter()
        .map(|(root, tags)| (*root.digest(), tags.clone()));
    let order = graph.order(roots.collect());
    Ok(Plan {
        present,
        blobs: order.blobs.into_values().collect(),
        manifests: order.levels.into_values().collect(),
        jobs: options.jobs,
    })
}

/// Copies. Blobs come first, then manifests, roots last; the first error stops it, and what was
/// written until then is whole and can be used by the next try.
///
/// # Errors
/// The stores'; class `Invalid` if the source's content is not what its descriptors say.
pub async fn run(
    cx: &Cx,
    plan: Plan,
    source: Arc<dyn ImageSource>,
    sink: Arc<dyn ImageStore>,
) -> Result<Done> {
    let task = cx.task("copy", Some(plan.bytes()));
    // Futures of named functions, collected before they run: closures over borrowed items make
    // this future one that cannot be spawned.
    let turns = Turns::new(plan.jobs);
    let mut puts = Vec::with_capacity(plan.blobs.len());
    for descriptor in &plan.blobs {
        let blob = Counted {
            blob: source.blob(descriptor),
            task: task.clone(),
            seen: Arc::new(AtomicU64::new(0)),
        };
        puts.push(put_blob(cx, &*sink, blob, &turns));
    }
    let add = |mut done: Done, (stored, size): (Stored, u64)| async move {
        match stored {
            Stored::Present => done.present += 1,
            Stored::Mounted => done.mounted += 1,
            Stored::Written => {
                done.written += 1;
                done.bytes += size;
            }
        }
        Ok(done)
    };
    let jobs = plan.jobs.max(1);
    let puts = stream::iter(puts).buffer_unordered(jobs);
    let mut done = puts.try_fold(Done::default(), add).await?;
    for level in &plan.manifests {
        let mut puts = Vec::with_capacity(level.len());
        for step in level {
            puts.push(put_manifest(cx, &*sink, step));
        }
        stream::iter(puts)
            .buffer_unordered(jobs)
            .try_collect::<()>()
            .await?;
        done.manifests += level.len() as u64;
    }
    Ok(done)
}

async fn unless_present(
    cx: &Cx,
    sink: &dyn ImageStore,
    blob: &Descriptor,
) -> Result<Option<Descriptor>> {
    Ok((!sink.has_blob(cx, blob).await?).then(|| blob.clone()))
}

async fn put_blob(
    cx: &Cx,
    sink: &dyn ImageStore,
    blob: Counted,
    turns: &Turns,
) -> Result<(Stored, u64)> {
    let size = blob.descriptor().size();
    let _turn = turns.of(size).await;
    let stored = sink.put_blob(cx, &blob).await?;
    // What the sink read from a file or did not need is done, too.
    blob.task
        .add(size.saturating_sub(blob.seen.load(Ordering::Relaxed)))?;
    Ok((stored, size))
}

async fn put_manifest(cx: &Cx, sink: &dyn ImageStore, step: &Step) -> Result<()> {
    let place = match &step.tags {
        Some(tags) => Place::Root(tags),
        None => Place::Child,
    };
    sink.put_manifest(cx, &step.manifest, place).await
}

/// The root, if it has this digest under each of its tags, or is there if it has none.
async fn find(
    cx: &Cx,
    sink: &dyn ImageStore,
    tags: &[Tag],
    digest: &Digest,
) -> Result<Option<Descriptor>> {
    let names = match tags {
        [] => vec![Name::Digest(*digest)],
        tags => tags.iter().cloned().map(Name::Tag).collect(),
    };
    let mut found = None;
    for name in names {
        match sink.resolve(cx, &name).await {
            Ok(there) if there.digest() == digest => found = Some(there),
            Ok(_) => return Ok(None),
            Err(error) if error.class() == Class::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Counts what is read, as progress.
#[derive(Debug)]
struct Counted {
    blob: Arc<dyn Blob>,
    task: Task,
    seen: Arc<AtomicU64>,
}

#[deny(clippy::missing_trait_methods)]
impl Blob for Counted {
    fn descriptor(&self) -> &Descriptor {
        self.blob.descriptor()
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let (task, seen, size) = (
            self.task.clone(),
            Arc::clone(&self.seen),
            self.descriptor().size(),
        );
        self.blob
            .open(range)
            .and_then(move |chunk| {
                // A second reading of the same bytes, after a fault, is no further progress.
                let len = chunk.len() as u64;
                let before = seen.fetch_add(len, Ordering::Relaxed);
                let counted = task.add(len.min(size.saturating_sub(before)));
                std::future::ready(counted.map(|_| chunk).map_err(Into::into))
            })
            .boxed()
    }

    fn origin(&self) -> Option<&Repository> {
        self.blob.origin()
    }

    fn file(&self) -> Option<&Path> {
        self.blob.file()
    }
}

fn descriptor_of<S: Serializer>(raw: &RawManifest, serializer: S) -> Result<S::Ok, S::Error> {
    raw.descriptor().serialize(serializer)
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{BytesBlob, ImageSink, MediaType, Memory, conformance::Fixture};

    /// Copies `v1` as `v1` and says what was done.
    async fn copy(from: &Memory, to: &Memory, options: &Options) -> Result<Done> {
        let (cx, root) = (Cx::default(), Root::same("v1".parse()?));
        let plan = plan(&cx, from, to, &[root], options).await?;
        run(&cx, plan, Arc::new(from.clone()), Arc::new(to.clone())).await
    }

    /// A signature of `subject`, and a signature of that.
    async fn sign(store: &Memory, subject: &RawManifest) -> RawManifest {
        let cx = Cx::default();
        let config = BytesBlob::new(MediaType::OCI_EMPTY, "{}");
        store.put_blob(&cx, &config).await.unwrap();
        let json = json!({
            "schemaVersion": 2, "artifactType": "test/signature", "config": config.descriptor(),
            "layers": [], "subject": subject.descriptor(),
        });
        let raw = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
        store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
        raw
    }

    #[test]
    fn futures_can_be_spawned() {
        fn spawnable<T: Send>(_: T) {}
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        spawnable(async move {
            let plan = plan(&cx, &from, &to, &[], &Options::default()).await?;
            let plan = plan.without_present_blobs(&cx, &to).await?;
            run(&cx, plan, Arc::new(from), Arc::new(to)).await
        });
    }

    #[tokio::test]
    async fn an_index_comes_with_children_and_referrers() {
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        let fixture = Fixture::index();
        fixture.fill(&cx, &from).await.unwrap();
        let child = *fixture.root().links().unwrap().manifests[0].digest();
        let child = from.manifest(&cx, &Name::Digest(child)).await.unwrap();
        let signature = sign(&from, &child).await;
        let second = sign(&from, &signature).await;
        let done = copy(&from, &to, &Options::default()).await.unwrap();
        // Both images share their base layer; both signatures share the empty config.
        assert_eq!((done.written, done.manifests), (6, 5));
        for manifest in [&signature, &second] {
            let name = Name::Digest(*manifest.digest());
            assert_eq!(
                to.manifest(&cx, &name).await.unwrap().bytes(),
                manifest.bytes()
            );
        }
        let again = copy(&from, &to, &Options::default()).await.unwrap();
        assert_eq!(again, Done::default(), "what is there is not copied");
        let bare = Memory::default();
        let done = copy(&from, &bare, &Options::default().without_referrers())
            .await
            .unwrap();
        assert_eq!(done.manifests, 3);
    }

    #[tokio::test]
    async fn a_plan_is_data_and_writes_nothing() {
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        let fixture = Fixture::index();
        fixture.fill(&cx, &from).await.unwrap();
        to.put_blob(&cx, &fixture.blobs()[0]).await.unwrap();
        let root = Root::tagged(
            "v1".parse::<Name>().unwrap(),
            ["a".parse().unwrap(), "b".parse().unwrap()],
        );
        let plan = plan(&cx, &from, &to, &[root], &Options::default())
            .await
            .unwrap();
        assert_eq!(plan.blobs().len(), 5);
        let plan = plan.without_present_blobs(&cx, &to).await.unwrap();
        assert_eq!(plan.blobs().len(), 4);
        assert!(
            to.tags(&cx)
                .try_collect::<Vec<_>>()
                .await
                .unwrap()
                .is_empty()
        );
        insta::assert_json_snapshot!(plan);
    }

    #[tokio::test]
    async fn a_failing_blob_leaves_no_root() {
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        let fixture = Fixture::image();
        fixture.fill(&cx, &from).await.unwrap();
        let broken = Memory::default();
        broken
            .put_manifest(&cx, fixture.root(), Place::Root(&["v1".parse().unwrap()]))
            .await
            .unwrap();
        let error = copy(&broken, &to, &Options::default()).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
        let name = "v1".parse().unwrap();
        assert_eq!(
            to.resolve(&cx, &name).await.unwrap_err().class(),
            Class::NotFound
        );
        copy(&from, &to, &Options::default()).await.unwrap();
        assert!(to.resolve(&cx, &name).await.is_ok());
    }
}
