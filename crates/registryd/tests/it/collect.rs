//! Garbage collection: it removes what nobody keeps, and nothing else, also while clients push.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{TryStreamExt, future};
use ocicore::{Class, Clock, Cx, Digest, MediaType};
use registryd::{
    Server, gc,
    storage::{MemoryStorage, Storage, When},
};
use serde_json::{Value, json};

use crate::{
    client::{Peer, descriptor, disk, header},
    process::Process,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// What clients of a server must finish a push in, while garbage is collected.
pub(crate) const GRACE: Duration = Duration::from_millis(400);

/// The time of day, and some.
#[derive(Debug, Default)]
pub(crate) struct Later(pub(crate) Mutex<Duration>);

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + *self.0.lock().unwrap()
    }
}

/// A context that is that much ahead.
pub(crate) fn after(time: Duration) -> Cx {
    Cx::default().with_clock(Arc::new(Later(Mutex::new(time))))
}

/// On both storages, one after the other.
async fn each(check: impl AsyncFn(&Peer, &Arc<dyn Storage>)) {
    let directory = tempfile::tempdir().unwrap();
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for storage in [memory, disk(&directory)] {
        check(
            &Peer::start(Server::builder(Arc::clone(&storage))).await,
            &storage,
        )
        .await;
    }
}

async fn collect(
    storage: &Arc<dyn Storage>,
    time: Duration,
    options: &gc::Options,
) -> (gc::Plan, gc::Report) {
    let cx = after(time);
    let plan = gc::plan(&cx, storage, options).await.unwrap();
    let report = gc::run(&cx, storage, &plan).await.unwrap();
    (plan, report)
}

async fn contents(storage: &Arc<dyn Storage>) -> usize {
    let found: Vec<_> = storage
        .list(&"blobs".parse().unwrap(), None)
        .try_collect()
        .await
        .unwrap();
    found.len()
}

async fn put_index(peer: &Peer, reference: &str, children: &[&str]) -> String {
    let children: Vec<Value> = children
        .iter()
        .map(|child| descriptor(MediaType::OCI_MANIFEST, child.as_bytes()))
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": children,
    })
    .to_string();
    let response = peer
        .put_manifest("a", reference, MediaType::OCI_INDEX, &index)
        .await;
    assert_eq!(response.status(), 201);
    index
}

async fn put_referrer(peer: &Peer, subject: &str) -> String {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor("x/sig".parse().unwrap(), b"{}"),
        "layers": [],
        "subject": descriptor(MediaType::OCI_MANIFEST, subject.as_bytes()),
    })
    .to_string();
    let digest = Digest::of(manifest.as_bytes()).to_string();
    let response = peer
        .put_manifest("a", &digest, MediaType::OCI_MANIFEST, &manifest)
        .await;
    assert_eq!(response.status(), 201);
    manifest
}

#[tokio::test]
async fn what_a_tag_leads_to_stays() {
    each(async |peer, storage| {
        let untag = async |tag: &str| {
            let response = peer.send("DELETE", &format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(response.status(), 202);
        };
        // An index of two images, one of which is signed, and the signature is, too.
        let (one, two) = (
            peer.push_image("a", "one", b"layer 1").await,
            peer.push_image("a", "two", b"layer 2").await,
        );
        put_index(peer, "index", &[&one, &two]).await;
        let signature = put_referrer(peer, &one).await;
        let countersignature = put_referrer(peer, &signature).await;
        untag("one").await;
        untag("two").await;
        // An image and a blob that nothing keeps.
        let lost = peer.push_image("a", "lost", b"layer 3").await;
        untag("lost").await;
        peer.push_blob("b", b"no manifest").await;

        let options = gc::Options::default().untagged(HOUR);
        let (plan, _) = collect(storage, HOUR / 2, &options).await;
        assert_eq!(
            plan.manifests.len() + plan.blobs.len() + plan.content.len(),
            0
        );

        let before = contents(storage).await;
        let (plan, report) = collect(storage, HOUR * 2, &options).await;
        insta::assert_json_snapshot!("plan", plan);
        assert_eq!((report.manifests, report.blobs, report.content), (1, 2, 3));
        assert_eq!(report.bytes, plan.bytes());
        assert_eq!(contents(storage).await, before - 3);
        let (again, _) = collect(storage, HOUR * 2, &options).await;
        assert_eq!(
            again.manifests.len() + again.blobs.len() + again.content.len(),
            0
        );

        for manifest in [&one, &two, &signature, &countersignature] {
            let digest = Digest::of(manifest.as_bytes());
            let found = peer.send("GET", &format!("/v2/a/manifests/{digest}")).await;
            assert_eq!(found.text().await.unwrap(), *manifest);
        }
        for content in ["layer 1", "layer 2", "{}"] {
            let path = format!("/v2/a/blobs/{}", Digest::of(content.as_bytes()));
            assert_eq!(peer.send("GET", &path).await.text().await.unwrap(), content);
        }
        let lost = format!("/v2/a/manifests/{}", Digest::of(lost.as_bytes()));
        peer.refused("GET", &lost, 404, "MANIFEST_UNKNOWN").await;
        let lost = format!("/v2/a/blobs/{}", Digest::of(b"layer 3"));
        peer.refused("GET", &lost, 404, "BLOB_UNKNOWN").await;
    })
    .await;
}

#[tokio::test]
async fn without_a_rule_untagged_manifests_stay() {
    each(async |peer, storage| {
        let image = peer.push_image("a", "1", b"layer").await;
        peer.send("DELETE", "/v2/a/manifests/1").await;
        collect(storage, HOUR * 10_000, &gc::Options::default()).await;
        let path = format!("/v2/a/manifests/{}", Digest::of(image.as_bytes()));
        assert_eq!(peer.send("GET", &path).await.text().await.unwrap(), image);
    })
    .await;
}

#[tokio::test]
async fn expired_tags_and_empty_repositories_go() {
    each(async |peer, storage| {
        peer.push_image("a", "change_1", b"layer 1").await;
        peer.push_image("a", "v1", b"layer 2").await;
        peer.push_image("b", "change_2", b"layer 2").await;
        let rule = gc::Rule::new("**".parse().unwrap(), "change_*").keep_younger(HOUR * 24);
        let options = gc::Options::default().rule(rule).untagged(HOUR);
        let (_, early) = collect(storage, HOUR * 23, &options).await;
        assert_eq!((early.tags, early.content), (0, 0));
        let (_, report) = collect(storage, HOUR * 25, &options).await;
        assert_eq!((report.tags, report.manifests), (2, 2));
        let tags = peer
            .send("GET", "/v2/a/tags/list")
            .await
            .text()
            .await
            .unwrap();
        assert_eq!(tags, r#"{"name":"a","tags":["v1"]}"#);
        let catalog = peer.send("GET", "/v2/_catalog").await.text().await.unwrap();
        assert_eq!(catalog, r#"{"repositories":["a"]}"#);
    })
    .await;
}

#[tokio::test]
async fn uploads_expire() {
    each(async |peer, storage| {
        let begun = peer.send("POST", "/v2/a/blobs/uploads/").await;
        let location = header(&begun, "location");
        let (_, report) = collect(storage, HOUR * 23, &gc::Options::default()).await;
        assert_eq!(report.uploads, 0);
        assert_eq!(peer.send("GET", &location).await.status(), 204);
        let (_, report) = collect(storage, HOUR * 25, &gc::Options::default()).await;
        assert_eq!(report.uploads, 1);
        peer.refused("GET", &location, 404, "BLOB_UPLOAD_UNKNOWN")
            .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_used_after_the_plan_stays() {
    each(async |peer, storage| {
        let image = peer.push_image("a", "1", b"layer").await;
        peer.send("DELETE", "/v2/a/manifests/1").await;
        let cx = after(HOUR * 2);
        let options = gc::Options::default().untagged(HOUR);
        let plan = gc::plan(&cx, storage, &options).await.unwrap();
        assert_eq!((plan.manifests.len(), plan.blobs.len()), (1, 2));
        peer.push_image("a", "1", b"layer").await;
        let report = gc::run(&cx, storage, &plan).await.unwrap();
        assert_eq!((report.manifests, report.blobs, report.content), (0, 0, 0));
        let found = peer.send("GET", "/v2/a/manifests/1").await;
        assert_eq!(found.text().await.unwrap(), image);
        let path = format!("/v2/a/blobs/{}", Digest::of(b"layer"));
        assert_eq!(peer.send("GET", &path).await.text().await.unwrap(), "layer");
    })
    .await;
}

/// Clients push, look, mount, tag and untag the same few images while garbage is collected with a
/// grace of seconds: whatever was acknowledged and not deleted can be pulled.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_during_collection_are_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let storage = disk(&directory);
    let peers = two_servers(&directory).await;
    let stop = AtomicBool::new(false);
    let collector = async {
        let options = gc::Options::default().grace(GRACE).untagged(GRACE);
        let (mut runs, mut removed) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let cx = Cx::default();
            let plan = gc::plan(&cx, &storage, &options).await.unwrap();
            removed += gc::run(&cx, &storage, &plan).await.unwrap().content;
            runs += 1;
        }
        (runs, removed)
    };
    let clients = async {
        let clients = peers.iter().enumerate().map(|(n, peer)| client(n, peer));
        future::join_all(clients).await;
        stop.store(true, Ordering::Relaxed);
    };
    let ((runs, removed), ()) = future::join(collector, clients).await;
    assert!(runs > 3 && removed > 3, "{runs} runs removed {removed}");
}

/// The same with collectors that are killed, at any moment of their work.
#[tokio::test(flavor = "multi_thread")]
async fn killed_collectors_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let peers = two_servers(&directory).await;
    let stop = AtomicBool::new(false);
    let kill = async {
        let (mut kills, mut random) = (0, 1_u32);
        while !stop.load(Ordering::Relaxed) {
            let path = directory.path().to_owned();
            let cx = Cx::default();
            let collector = cx.blocking(move |_| Process::collector(&path)).await;
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The kill comes at a moment that nobody knows.
            tokio::time::sleep(Duration::from_micros(u64::from(random >> 16) % 30_000)).await;
            drop(collector);
            kills += 1;
        }
        kills
    };
    let clients = async {
        let clients = peers.iter().enumerate().map(|(n, peer)| client(n, peer));
        future::join_all(clients).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (kills, ()) = future::join(kill, clients).await;
    assert!(kills > 3, "{kills} kills");
    // What they left behind is in nobody's way.
    let cx = after(HOUR);
    let storage = disk(&directory);
    let options = gc::Options::default().grace(GRACE);
    let plan = gc::plan(&cx, &storage, &options).await.unwrap();
    gc::run(&cx, &storage, &plan).await.unwrap();
    let condemned = storage.list(&"condemned".parse().unwrap(), None);
    let condemned: Vec<_> = condemned.try_collect().await.unwrap();
    assert!(condemned.is_empty());
}

/// A collector that was killed leaves content condemned. Who pushes it again keeps it, however
/// often it is looked at and mounted.
#[tokio::test]
async fn what_a_killed_collector_condemned_can_be_pushed_again() {
    let directory = tempfile::tempdir().unwrap();
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for storage in [memory, disk(&directory)] {
        // Each use of a link finds that it is old.
        let builder = Server::builder(Arc::clone(&storage)).grace(Duration::ZERO);
        let peer = Peer::start(builder).await;
        let condemn = async |content: &[u8]| {
            let digest = Digest::of(content);
            let key = format!("condemned/sha256-{}", digest.hex())
                .parse()
                .unwrap();
            storage.put(&key, "".into(), When::Always).await.unwrap();
        };
        condemn(b"layer").await;
        condemn(b"{}").await;
        let digest = Digest::of(b"layer");
        let image = peer.push_image("a", "1", b"layer").await;
        let blob = format!("/v2/a/blobs/{digest}");
        let mount = |from: &str| format!("/v2/a/blobs/uploads/?mount={digest}{from}");
        for _ in 0..2 {
            assert_eq!(peer.send("HEAD", &blob).await.status(), 200);
            for from in ["", "&from=a", "&from=b"] {
                // From `b`, which does not have it, an upload is begun.
                let expected = if from.ends_with('b') { 202 } else { 201 };
                let mounted = peer.send("POST", &mount(from)).await;
                assert_eq!(mounted.status(), expected, "{from}");
            }
            let again = peer
                .put_manifest("a", "2", MediaType::OCI_MANIFEST, &image)
                .await;
            assert_eq!(again.status(), 201);
            assert_eq!(peer.send("GET", &blob).await.text().await.unwrap(), "layer");
        }
        // A repository that does not have it must not rely on it.
        let elsewhere = format!("/v2/c/blobs/uploads/?mount={digest}&from=a");
        assert_eq!(peer.send("POST", &elsewhere).await.status(), 202);
        let elsewhere = format!("/v2/c/blobs/{digest}");
        peer.refused("GET", &elsewhere, 404, "BLOB_UNKNOWN").await;
        // The next collector keeps it, too, and leaves nothing condemned.
        collect(&storage, HOUR * 2, &gc::Options::default()).await;
        assert_eq!(peer.send("GET", &blob).await.text().await.unwrap(), "layer");
        let elsewhere = format!("/v2/c/blobs/uploads/?mount={digest}&from=a");
        assert_eq!(peer.send("POST", &elsewhere).await.status(), 201);
    }
}

/// A mount that comes beside another one of the same content does not rely on that one's link, which may be taken back.
#[tokio::test]
async fn a_link_that_may_be_taken_back_is_not_relied_on() {
    let directory = tempfile::tempdir().unwrap();
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for storage in [memory, disk(&directory)] {
        let peer = Peer::start(Server::builder(Arc::clone(&storage))).await;
        peer.push_image("a", "1", b"layer").await;
        peer.push_image("old", "1", b"layer").await;
        let digest = Digest::of(b"layer");
        let link = |repository: &str| {
            format!("repositories/{repository}/_blobs/sha256-{}", digest.hex())
                .parse()
                .unwrap()
        };
        assert!(storage.head(&link("a")).await.unwrap().is_some());
        // File systems count time in steps.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let condemned = format!("condemned/sha256-{}", digest.hex());
        let put = async |key, content: &'static str| {
            storage
                .put(&key, content.into(), When::Always)
                .await
                .unwrap();
        };
        put(condemned.parse().unwrap(), "").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        put(link("new"), "5").await;
        for (repository, expected) in [("new", 202), ("none", 202), ("old", 201)] {
            let mount = format!("/v2/{repository}/blobs/uploads/?mount={digest}");
            let mounted = peer.send("POST", &mount).await;
            assert_eq!(mounted.status(), expected, "{repository}");
        }
    }
}

async fn two_servers(directory: &tempfile::TempDir) -> [Peer; 2] {
    let start = || Peer::start(Server::builder(disk(directory)).grace(GRACE));
    [start().await, start().await]
}

async fn client(number: usize, peer: &Peer) {
    let repository = format!("client{number}");
    let mut tagged: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    let begin = std::time::Instant::now();
    let (mut round, mut turn, mut turn_ends) = (0_usize, 0_u32, begin);
    while begin.elapsed() < Duration::from_secs(6) {
        round += 1;
        let begun = std::time::Instant::now();
        // The same contents come and go, in turns of other lengths for each client, so that they
        // are used again at about the moment at which they are removed.
        if begun > turn_ends {
            turn += 1;
            let percent = 50 + (turn * (37 + u32::try_from(number).unwrap())) % 100;
            turn_ends = begun + GRACE * percent / 100;
        }
        let owner = if round.is_multiple_of(3) {
            0
        } else {
            number + 1
        };
        let layer = format!("{owner} {} {}", turn % 2, round % 4).into_bytes();
        let tag = format!("t{}", round % 3);
        let digest = Digest::of(&layer);
        let head = peer
            .send("HEAD", &format!("/v2/{repository}/blobs/{digest}"))
            .await;
        let mount = format!("/v2/{repository}/blobs/uploads/?mount={digest}");
        if head.status() != 200 && peer.send("POST", &mount).await.status() != 201 {
            peer.push_blob(&repository, &layer).await;
        }
        peer.push_blob(&repository, b"{}").await;
        let manifest = json!({
            "schemaVersion": 2,
            "config": descriptor(MediaType::OCI_CONFIG, b"{}"),
            "layers": [descriptor(MediaType::OCI_LAYER, &layer)],
        })
        .to_string();
        let put = peer
            .put_manifest(&repository, &tag, MediaType::OCI_MANIFEST, &manifest)
            .await;
        if put.status() == 201 {
            tagged.insert(tag.clone(), (manifest, layer));
        } else {
            // What was found may be used for half of the grace, which a busy machine can take.
            let took = begun.elapsed();
            let text = put.text().await.unwrap();
            assert!(took > GRACE / 2, "after {took:?}: {text}");
        }
        for (tag, (manifest, layer)) in &tagged {
            let found = peer
                .send("GET", &format!("/v2/{repository}/manifests/{tag}"))
                .await;
            assert_eq!(found.status(), 200);
            assert_eq!(found.text().await.unwrap(), *manifest);
            for content in [layer.as_slice(), b"{}"] {
                let path = format!("/v2/{repository}/blobs/{}", Digest::of(content));
                let found = peer.send("GET", &path).await;
                assert_eq!(found.status(), 200, "round {round} of {repository}");
                assert_eq!(found.bytes().await.unwrap(), content);
            }
        }
        if round.is_multiple_of(5) {
            tagged.remove(&tag);
            peer.send("DELETE", &format!("/v2/{repository}/manifests/{tag}"))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_collects_by_itself() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let rule = gc::Rule::new(registryd::Pattern::everything(), "change_*").keep_younger(HOUR);
    let options = gc::Options::default().rule(rule).untagged(HOUR);
    let builder = Server::builder(Arc::clone(&storage))
        .collect(Duration::from_millis(20), options)
        .context(after(3 * HOUR));
    let peer = Peer::start(builder).await;
    // What is pushed at once is not judged as long as it is incomplete: the grace is an hour, and
    // it is three hours later for who collects.
    let kept = put_blobless(&peer, "kept").await;
    put_blobless(&peer, "change_1").await;
    while peer.send("GET", "/v2/a/manifests/change_1").await.status() == 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = peer.send("GET", "/v2/a/manifests/kept").await;
    assert_eq!(found.text().await.unwrap(), kept);
    // It ends with the server, and leaves no lease behind.
    peer.server.shutdown().await;
    gc::run(&Cx::default(), &storage, &gc::Plan::default())
        .await
        .unwrap();
}

/// An index that names nothing, so that garbage collection at any moment does not break the push.
async fn put_blobless(peer: &Peer, tag: &str) -> String {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [],
        "annotations": { "tag": tag },
    })
    .to_string();
    let put = peer
        .put_manifest("a", tag, MediaType::OCI_INDEX, &index)
        .await;
    assert_eq!(put.status(), 201);
    index
}

#[tokio::test]
async fn one_collects_and_the_dead_are_not_waited_for() {
    each(async |_, storage| {
        // What one leaves that was killed.
        let lease = "garbage-collection".parse().unwrap();
        storage.put(&lease, "".into(), When::Absent).await.unwrap();
        let run = async |time| {
            let cx = after(time);
            let plan = gc::plan(&cx, storage, &gc::Options::default())
                .await
                .unwrap();
            gc::run(&cx, storage, &plan).await
        };
        let refused = run(Duration::ZERO).await.unwrap_err();
        assert_eq!(refused.class(), Class::Conflict);
        run(HOUR).await.unwrap();
        run(Duration::ZERO).await.unwrap();
    })
    .await;
}
