//! All that is below some manifests: read from their source, then put in order.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Options, Referrers, Step};
use crate::{Cx, Descriptor, Digest, Error, ImageSource, Links, Name, RawManifest, Result, Tag};

/// What a manifest, and what an entry of a list of referrers, takes in memory at least, in bytes.
const SMALLEST_MANIFEST: u64 = 1 << 10;
const REFERRER: u64 = 256;

/// Manifests by their digests.
#[derive(Debug, Default)]
pub(super) struct Graph(BTreeMap<Digest, Node>);

/// One manifest, with what points to it.
#[derive(Debug)]
struct Node {
    manifest: RawManifest,
    links: Links,
    referrers: Vec<Descriptor>,
}

/// What is written: blobs, each once, and levels of manifests, each of which needs only what is in
/// those before it.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) blobs: BTreeMap<Digest, Descriptor>,
    pub(super) levels: BTreeMap<usize, Vec<Step>>,
}

impl Graph {
    /// Reads what is below the roots and, if they are carried, what refers to any of it; several
    /// at once.
    pub(super) async fn read(
        cx: &Cx,
        source: &dyn ImageSource,
        roots: impl IntoIterator<Item = &RawManifest>,
        options: &Options,
    ) -> Result<Self> {
        let mut graph = Self::default();
        let mut room = options.limits.documents();
        // Futures of named functions, collected before they run, as in `run`.
        let mut reads = Vec::new();
        for root in roots {
            reads.push(Node::of(cx, source, root.clone(), options.referrers));
        }
        let mut nodes = at_once(reads, options, &mut room).await?;
        while !nodes.is_empty() {
            let mut below = BTreeSet::new();
            for node in nodes {
                below.extend(node.below());
                graph.0.insert(*node.manifest.digest(), node);
            }
            below.retain(|digest| !graph.0.contains_key(digest));
            let mut reads = Vec::with_capacity(below.len());
            for digest in below {
                reads.push(Node::read(cx, source, digest, options.referrers));
            }
            nodes = at_once(reads, options, &mut room).await?;
        }
        Ok(graph)
    }

    /// Puts it in order: children before their parents, and roots last, so that one that is there came with all its
    /// referrers. Registries take a referrer before its subject (distribution-spec §Pushing manifests with subject).
    pub(super) fn order(mut self, roots: Vec<(Digest, Vec<Tag>)>) -> Order {
        let (mut order, mut heights) = (Order::default(), BTreeMap::new());
        let mut tags: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for (digest, names) in &roots {
            tags.entry(*digest).or_default().extend_from_slice(names);
        }
        // What another one needs cannot be last.
        let children = self.0.values().flat_map(|node| &node.links.manifests);
        let children: BTreeSet<Digest> = children.map(|child| *child.digest()).collect();
        let mut entered = BTreeSet::new();
        // No recursion: how deep it goes is for the source to say.
        let mut visits: Vec<_> = roots.iter().rev().map(|(d, _)| Visit::Enter(*d)).collect();
        while let Some(visit) = visits.pop() {
            match visit {
                Visit::Enter(digest) => {
                    let Some(node) = self.0.get(&digest).filter(|_| entered.insert(digest)) else {
                        continue;
                    };
                    for blob in node.blobs() {
                        let known = order.blobs.entry(*blob.digest());
                        known.or_insert_with(|| blob.clone());
                    }
                    visits.push(Visit::Leave(digest));
                    let children = node.links.manifests.iter().rev();
                    visits.extend(children.map(|child| Visit::Enter(*child.digest())));
                }
                Visit::Leave(digest) => {
                    let Some(node) = self.0.remove(&digest) else {
                        continue;
                    };
                    // One without a height is on the way to itself, which only a broken hash allows.
                    let below = node.links.manifests.iter();
                    let below = below.filter_map(|child| heights.get(child.digest()));
                    let height = below.max().map_or(0, |below: &usize| below + 1);
                    heights.insert(digest, height);
                    let tags = tags.remove(&digest);
                    let is_last = tags.is_some() && !children.contains(&digest);
                    let level = if is_last { usize::MAX } else { height };
                    order.levels.entry(level).or_default().push(Step {
                        tags,
                        manifest: node.manifest,
                    });
                    let referrers = node.referrers.iter().rev();
                    visits.extend(referrers.map(|referrer| Visit::Enter(*referrer.digest())));
                }
            }
        }
        order
    }
}

/// A step of the walk. Closed: what is entered is left.
enum Visit {
    Enter(Digest),
    Leave(Digest),
}

impl Node {
    async fn read(
        cx: &Cx,
        source: &dyn ImageSource,
        digest: Digest,
        referrers: Referrers,
    ) -> Result<Self> {
        let manifest = source.manifest(cx, &Name::Digest(digest)).await?;
        Self::of(cx, source, manifest, referrers).await
    }

    async fn of(
        cx: &Cx,
        source: &dyn ImageSource,
        manifest: RawManifest,
        referrers: Referrers,
    ) -> Result<Self> {
        cx.check()?;
        Ok(Self {
            links: manifest.links()?,
            referrers: match referrers {
                Referrers::Carried => source.referrers(cx, manifest.digest()).await?,
                Referrers::Left => Vec::new(),
            },
            manifest,
        })
    }

    /// Manifests that have to be read, too.
    fn below(&self) -> impl Iterator<Item = Digest> {
        let all = self.links.manifests.iter().chain(&self.referrers);
        all.map(|descriptor| *descriptor.digest())
    }

    /// How much it counts against the limit of all manifests.
    fn cost(&self) -> u64 {
        let manifest = self.manifest.descriptor().size().max(SMALLEST_MANIFEST);
        manifest + REFERRER * self.referrers.len() as u64
    }

    /// Configs and layers, but for those whose owner forbids to distribute them and says where
    /// they are.
    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let foreign =
            |blob: &&Descriptor| blob.media_type().is_nondistributable() && !blob.urls().is_empty();
        self.links.blobs().filter(move |blob| !foreign(blob))
    }
}

/// As many at once as blobs are moved, as long as there is room for them: how many manifests there
/// are is for the source to say.
async fn at_once(
    reads: Vec<impl Future<Output = Result<Node>>>,
    options: &Options,
    room: &mut u64,
) -> Result<Vec<Node>> {
    let mut reads = stream::iter(reads).buffer_unordered(options.jobs);
    let mut nodes = Vec::new();
    while let Some(node) = reads.try_next().await? {
        *room = room.checked_sub(node.cost()).ok_or_else(|| Error::Limit {
            what: "the sum of all manifests of a copy".to_owned(),
            limit: options.limits.documents(),
        })?;
        nodes.push(node);
    }
    Ok(nodes)
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use async_trait::async_trait;
    use serde_json::json;

    use super::*;
    use crate::{
        Blob, BoxStream, Class, ImageSink, MediaType, Memory, Place, SizeLimits,
        conformance::Fixture,
        copy::{Root, plan},
    };

    /// Counts how many manifests are read at once.
    #[derive(Debug)]
    struct Busy {
        of: Memory,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    #[async_trait]
    impl ImageSource for Busy {
        async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
            self.of.resolve(cx, name).await
        }

        async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::task::yield_now().await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            self.of.manifest(cx, name).await
        }

        fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
            self.of.blob(descriptor)
        }

        async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
            self.of.referrers(cx, subject).await
        }

        fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
            self.of.tags(cx)
        }
    }

    #[tokio::test]
    async fn children_are_read_at_once() {
        let (cx, of) = (Cx::default(), Memory::default());
        Fixture::index().fill(&cx, &of).await.unwrap();
        for (jobs, expected) in [(1, 1), (6, 2)] {
            let from = Busy {
                of: of.clone(),
                now: AtomicUsize::new(0),
                most: AtomicUsize::new(0),
            };
            let (to, root) = (Memory::default(), Root::same("v1".parse().unwrap()));
            let options = Options::default().with_jobs(jobs);
            plan(&cx, &from, &to, &[root], &options).await.unwrap();
            assert_eq!(from.most.load(Ordering::Relaxed), expected);
        }
    }

    #[tokio::test]
    async fn indexes_in_indexes_need_no_stack() {
        let (cx, from) = (Cx::default(), Memory::default());
        let mut below: Vec<Descriptor> = Vec::new();
        for _ in 0..10_000 {
            let json = json!({"schemaVersion": 2, "manifests": below});
            let raw = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            from.put_manifest(&cx, &raw, Place::Child).await.unwrap();
            below = vec![raw.descriptor().clone()];
        }
        let root = Root::same(Name::Digest(*below[0].digest()));
        let (to, options) = (Memory::default(), Options::default().without_referrers());
        let plan = plan(&cx, &from, &to, &[root], &options).await.unwrap();
        assert_eq!(plan.manifests().count(), 10_000);
        assert_eq!(plan.manifests().last(), below.first());
    }

    #[tokio::test]
    async fn a_root_comes_after_its_referrers() {
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        let put = async |json: serde_json::Value| {
            let raw = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            from.put_manifest(&cx, &raw, Place::Child).await.unwrap();
            raw.descriptor().clone()
        };
        let child = put(json!({"manifests": []})).await;
        let root = put(json!({"manifests": [child]})).await;
        let signature = put(json!({"manifests": [], "subject": root})).await;
        let names = [&root, &child].map(|one| Root::same(Name::Digest(*one.digest())));
        let plan = plan(&cx, &from, &to, &names, &Options::default())
            .await
            .unwrap();
        let order: Vec<_> = plan.manifests().cloned().collect();
        assert_eq!(order.last(), Some(&root));
        assert!(order.contains(&signature) && order.contains(&child));
    }

    #[tokio::test]
    async fn manifests_are_bounded() {
        let (cx, from, to) = (Cx::default(), Memory::default(), Memory::default());
        let put = async |manifests: &[Descriptor], note: usize| {
            let json = json!({"schemaVersion": 2, "manifests": manifests, "note": note});
            let raw = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            from.put_manifest(&cx, &raw, Place::Child).await.unwrap();
            raw.descriptor().clone()
        };
        let mut below = Vec::new();
        for note in 0..10 {
            below.push(put(&[], note).await);
        }
        let root = Root::same(Name::Digest(*put(&below, 0).await.digest()));
        let plan = async |documents: u64| {
            let options = Options::default()
                .with_limits(SizeLimits::default().with_documents(documents))
                .with_jobs(1);
            plan(&cx, &from, &to, std::slice::from_ref(&root), &options).await
        };
        // The index is larger than what a manifest counts as at least.
        assert_eq!(plan(16 << 10).await.unwrap().manifests().count(), 11);
        let error = plan(10 << 10).await.unwrap_err();
        assert_eq!(error.class(), Class::Exhausted);
        assert_eq!(
            error.to_string(),
            "the sum of all manifests of a copy is larger than the limit of 10240 bytes"
        );
    }
}
