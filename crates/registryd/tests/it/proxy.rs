//! Pulling through from upstream registries.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future, stream};
use ocicore::{
    Blob, BoxStream, Class, Cx, Descriptor, Digest, Error, ImageSink, ImageSource, ImageStore,
    MediaType, Name, Place, RawManifest, Repositories, Repository, Result, Stored, Tag,
};
use registryd::{
    Access, Auth, Builder, Grant, Password, Secret, Server, User, gc,
    storage::{MemoryStorage, Storage},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    client::{Peer, descriptor, disk, expect_fault, header},
    collect::{HOUR, Later, after},
};

/// An upstream that counts what it is asked, and fails or lies when told to.
#[derive(Debug)]
struct Upstream {
    inner: Arc<dyn Repositories>,
    failing: AtomicBool,
    lying: AtomicBool,
    asked: AtomicUsize,
    opened: AtomicUsize,
    /// Whether blobs may go on after their first half.
    open: watch::Sender<bool>,
}

#[derive(Debug)]
struct Handle(Arc<Upstream>);

#[derive(Debug)]
struct Store {
    upstream: Arc<Upstream>,
    inner: Arc<dyn ImageStore>,
}

#[derive(Debug)]
struct Content {
    upstream: Arc<Upstream>,
    inner: Arc<dyn Blob>,
}

fn down() -> Error {
    Error::store(
        "read",
        "it",
        "upstream",
        Class::Transient,
        "connection refused",
    )
}

impl Upstream {
    fn check(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.failing.load(Ordering::Relaxed) {
            true => Err(down()),
            false => Ok(()),
        }
    }
}

impl Repositories for Handle {
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>> {
        Ok(Arc::new(Store {
            upstream: Arc::clone(&self.0),
            inner: self.0.inner.repository(name)?,
        }))
    }
    fn catalog(&self, cx: &Cx) -> BoxStream<Repository> {
        self.0.inner.catalog(cx)
    }
}

#[async_trait]
impl ImageSource for Store {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        self.upstream.check()?;
        self.inner.resolve(cx, name).await
    }
    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        self.upstream.check()?;
        self.inner.manifest(cx, name).await
    }
    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        Arc::new(Content {
            upstream: Arc::clone(&self.upstream),
            inner: self.inner.blob(descriptor),
        })
    }
    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.upstream.check()?;
        self.inner.referrers(cx, subject).await
    }
    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        self.inner.tags(cx)
    }
}

#[async_trait]
impl ImageSink for Store {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        self.inner.has_blob(cx, descriptor).await
    }
    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        self.inner.put_blob(cx, blob).await
    }
    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        self.inner.put_manifest(cx, manifest, place).await
    }
    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        self.inner.delete(cx, name).await
    }
}

impl Blob for Content {
    fn descriptor(&self) -> &Descriptor {
        self.inner.descriptor()
    }
    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        self.upstream.opened.fetch_add(1, Ordering::Relaxed);
        if self.upstream.failing.load(Ordering::Relaxed) {
            return stream::iter([Err(down())]).boxed();
        }
        if self.upstream.lying.load(Ordering::Relaxed) {
            let len = usize::try_from(self.descriptor().size()).unwrap();
            return stream::iter([Ok(Bytes::from(vec![0; len]))]).boxed();
        }
        let half = range.start + (range.end - range.start) / 2;
        let (first, rest) = (
            self.inner.open(range.start..half),
            self.inner.open(half..range.end),
        );
        let upstream = Arc::clone(&self.upstream);
        let rest = async move {
            upstream
                .open
                .subscribe()
                .wait_for(|open| *open)
                .await
                .unwrap();
            match upstream.failing.load(Ordering::Relaxed) {
                true => stream::iter([Err(down())]).boxed(),
                false => rest,
            }
        };
        first.chain(rest.flatten_stream()).boxed()
    }
}

/// A registry that pulls through for some hosts from the other peer.
async fn start() -> (Peer, Peer, Arc<Upstream>) {
    start_on(MemoryStorage::new()).await
}

async fn start_on(storage: impl Storage) -> (Peer, Peer, Arc<Upstream>) {
    start_with(Server::builder(storage)).await
}

async fn start_with(mut builder: Builder) -> (Peer, Peer, Arc<Upstream>) {
    let behind = Peer::memory().await;
    let upstream = Arc::new(Upstream {
        inner: behind.server.repositories(),
        failing: AtomicBool::new(false),
        lying: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
        open: watch::Sender::new(true),
    });
    for host in ["docker.io", "quay.io", "localhost:5000"] {
        let handle = Arc::new(Handle(Arc::clone(&upstream)));
        builder = builder.upstream(host, handle).unwrap();
    }
    (Peer::start(builder).await, behind, upstream)
}

async fn text(peer: &Peer, path: &str) -> String {
    let found = peer.send("GET", path).await;
    assert_eq!(found.status(), 200, "{path}");
    found.text().await.unwrap()
}

fn layer(content: &[u8]) -> String {
    format!("blobs/{}", Digest::of(content))
}

#[tokio::test]
async fn names_lead_to_upstreams() {
    let (peer, behind, upstream) = start().await;
    let busybox = behind.push_image("library/busybox", "1", b"busybox").await;
    let other = behind.push_image("team/app", "1", b"app").await;
    for (name, query, image, content) in [
        ("busybox", "", &busybox, b"busybox".as_slice()),
        ("library/busybox", "", &busybox, b"busybox"),
        ("library/busybox", "?ns=docker.io", &busybox, b"busybox"),
        ("quay.io/team/app", "", &other, b"app"),
        ("team/app", "?ns=quay.io", &other, b"app"),
        ("localhost_5000/team/app", "", &other, b"app"),
        ("team/app", "?ns=localhost:5000", &other, b"app"),
        // As containerd does it for a mirror with a path of its own.
        ("quay.io/team/app", "?ns=quay.io", &other, b"app"),
        (
            "localhost_5000/team/app",
            "?ns=localhost:5000",
            &other,
            b"app",
        ),
    ] {
        let digest = Digest::of(image.as_bytes());
        let manifest = format!("/v2/{name}/manifests/1{query}");
        assert_eq!(peer.send("HEAD", &manifest).await.status(), 200);
        assert_eq!(text(&peer, &manifest).await, *image);
        let by_digest = format!("/v2/{name}/manifests/{digest}{query}");
        assert_eq!(text(&peer, &by_digest).await, *image);
        let blob = format!("/v2/{name}/{}{query}", layer(content));
        assert_eq!(text(&peer, &blob).await.as_bytes(), content);
    }
    // Another registry's image of that name is another image.
    behind.push_image("ghcr.io/team/app", "1", b"foreign").await;
    for foreign in ["library/busybox", "ghcr.io/team/app"] {
        let foreign = format!("/v2/{foreign}/manifests/1?ns=ghcr.io");
        peer.refused("GET", &foreign, 404, "MANIFEST_UNKNOWN").await;
    }
    // All of it stays.
    upstream.failing.store(true, Ordering::Relaxed);
    assert_eq!(text(&peer, "/v2/busybox/manifests/1").await, busybox);
    let blob = format!("/v2/busybox/{}", layer(b"busybox"));
    assert_eq!(text(&peer, &blob).await, "busybox");
}

#[tokio::test]
async fn an_upstream_is_a_host() {
    let behind = Peer::memory().await;
    let mut shown = String::new();
    for host in ["", "a/b", "a_b", "Quay.io", "[::1]:5000", "a..b"] {
        let refused = Server::builder(MemoryStorage::new())
            .upstream(host, behind.server.repositories())
            .unwrap_err();
        shown.push_str(&format!("{refused}\n"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_local_image_wins() {
    let (peer, behind, upstream) = start().await;
    behind.push_image("a/b", "1", b"theirs").await;
    let ours = peer.push_image("a/b", "1", b"ours").await;
    assert_eq!(text(&peer, "/v2/a/b/manifests/1").await, ours);
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 0);
    // Also over one that was pulled before.
    behind.push_image("a/b", "2", b"theirs").await;
    text(&peer, "/v2/a/b/manifests/2").await;
    let ours = peer.push_image("a/b", "2", b"ours again").await;
    assert_eq!(text(&peer, "/v2/a/b/manifests/2").await, ours);
    let tags = text(&peer, "/v2/a/b/tags/list").await;
    assert_eq!(tags, r#"{"name":"a/b","tags":["1","2"]}"#);
}

/// A manifest with that subject; its digest.
async fn sign(peer: &Peer, repository: &str, subject: &str, kind: &str) -> Digest {
    peer.push_blob(repository, b"{}").await;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(MediaType::OCI_EMPTY, b"{}"),
        "layers": [],
        "subject": descriptor(MediaType::OCI_MANIFEST, subject.as_bytes()),
    });
    let manifest = manifest.to_string();
    let digest = Digest::of(manifest.as_bytes());
    let reference = digest.to_string();
    let put = peer.put_manifest(repository, &reference, MediaType::OCI_MANIFEST, &manifest);
    assert_eq!(put.await.status(), 201);
    digest
}

#[tokio::test]
async fn referrers_of_an_upstream_are_listed_with_those_that_are_here() {
    let (peer, behind, upstream) = start().await;
    let image = behind.push_image("team/app", "1", b"app").await;
    let theirs = sign(&behind, "team/app", &image, "x/sig").await;
    let (here, there) = ("quay.io/team/app", "team/app");
    text(&peer, &format!("/v2/{here}/manifests/1")).await;
    let ours = sign(&peer, here, &image, "x/sbom").await;
    let subject = Digest::of(image.as_bytes());
    let list = async |name: &str, query: &str| {
        let path = format!("/v2/{name}/referrers/{subject}{query}");
        let found = peer.send("GET", &path).await;
        assert_eq!(found.status(), 200, "{path}");
        let link = header(&found, "link");
        let index: serde_json::Value = found.json().await.unwrap();
        let all = index["manifests"].as_array().unwrap().iter();
        let all: Vec<Digest> = all
            .map(|one| one["digest"].as_str().unwrap().parse().unwrap())
            .collect();
        (all, link)
    };
    let mut both = vec![ours, theirs];
    both.sort();
    assert_eq!(list(here, "").await.0, both);
    assert_eq!(list(there, "?ns=quay.io").await.0, both);
    assert_eq!(list(here, "?artifactType=x/sig").await.0, [theirs]);
    // Page by page, also where the host is a parameter.
    let (first, link) = list(there, "?ns=quay.io&n=1").await;
    assert_eq!(first, both[..1]);
    let next = link.split(['?', '>']).nth(1).unwrap();
    assert_eq!(list(there, &format!("?{next}")).await.0, both[1..]);
    // What refers to it is to be had.
    text(&peer, &format!("/v2/{here}/manifests/{theirs}")).await;
    // Without the upstream there is what is here, and nothing of that is remembered.
    upstream.failing.store(true, Ordering::Relaxed);
    assert_eq!(list(here, "").await.0, [ours]);
    upstream.failing.store(false, Ordering::Relaxed);
    assert_eq!(list(here, "").await.0, both);
    // That there is none is asked once.
    let asked = upstream.asked.load(Ordering::Relaxed);
    for _ in 0..3 {
        let path = format!("/v2/{here}/referrers/{ours}");
        assert!(text(&peer, &path).await.contains("\"manifests\":[]"));
    }
    assert_eq!(upstream.asked.load(Ordering::Relaxed), asked + 1);
}

#[tokio::test]
async fn tags_are_those_that_were_pushed_here() {
    let (peer, behind, _) = start().await;
    behind.push_image("team/app", "1", b"app").await;
    for tag in ["2", "3"] {
        peer.push_image("quay.io/team/app", tag, b"ours").await;
    }
    peer.push_image("team/app", "4", b"another").await;
    text(&peer, "/v2/quay.io/team/app/manifests/1").await;
    let tags = text(&peer, "/v2/quay.io/team/app/tags/list").await;
    assert_eq!(tags, r#"{"name":"quay.io/team/app","tags":["2","3"]}"#);
    let page = peer
        .send("GET", "/v2/team/app/tags/list?ns=quay.io&n=1")
        .await;
    let link = header(&page, "link");
    let page = page.text().await.unwrap();
    assert_eq!(page, r#"{"name":"team/app","tags":["2"]}"#);
    let next = link.split(['<', '>']).nth(1).unwrap();
    let page = text(&peer, next).await;
    assert_eq!(page, r#"{"name":"team/app","tags":["3"]}"#);
}

#[tokio::test]
async fn what_is_missing_is_not_asked_for_again_and_again() {
    let (peer, _, upstream) = start().await;
    for _ in 0..3 {
        peer.refused("GET", "/v2/a/manifests/1", 404, "MANIFEST_UNKNOWN")
            .await;
    }
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 1);
    // A blob that no manifest has named is none of an upstream.
    let blob = format!("/v2/a/{}", layer(b"x"));
    peer.refused("GET", &blob, 404, "BLOB_UNKNOWN").await;
    assert_eq!(upstream.opened.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_an_upstream_said_is_asked_again_after_a_while() {
    let clock = Arc::new(Later(Mutex::default()));
    let cx = Cx::default().with_clock(clock.clone());
    let builder = Server::builder(MemoryStorage::new()).context(cx);
    let (peer, behind, upstream) = start_with(builder).await;
    let at = |seconds| *clock.0.lock().unwrap() = Duration::from_secs(seconds);
    let asked = || upstream.asked.swap(0, Ordering::Relaxed);
    let old = behind.push_image("a/b", "1", b"old").await;
    let path = "/v2/a/b/manifests/1";
    assert_eq!(text(&peer, path).await, old);
    let new = behind.push_image("a/b", "1", b"new").await;
    asked();
    at(290);
    assert_eq!(text(&peer, path).await, old);
    assert_eq!(asked(), 0);
    at(310);
    // Better the old one than none.
    upstream.failing.store(true, Ordering::Relaxed);
    assert_eq!(text(&peer, path).await, old);
    assert_eq!(asked(), 1);
    upstream.failing.store(false, Ordering::Relaxed);
    assert_eq!(text(&peer, path).await, new);

    let path = "/v2/a/b/manifests/2";
    peer.refused("GET", path, 404, "MANIFEST_UNKNOWN").await;
    let late = behind.push_image("a/b", "2", b"late").await;
    asked();
    at(310 + 55);
    peer.refused("GET", path, 404, "MANIFEST_UNKNOWN").await;
    assert_eq!(asked(), 0);
    at(310 + 65);
    assert_eq!(text(&peer, path).await, late);
    // What is pushed here is there at once, also where an upstream was said to have nothing.
    let path = "/v2/a/b/manifests/3";
    peer.refused("GET", path, 404, "MANIFEST_UNKNOWN").await;
    let ours = peer.push_image("a/b", "3", b"ours").await;
    assert_eq!(text(&peer, path).await, ours);
}

#[tokio::test]
async fn what_is_known_of_an_upstream_goes_with_its_images() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let (peer, behind, _) = start_on(Arc::clone(&storage)).await;
    let image = behind.push_image("team/app", "1", b"app").await;
    let (tag, blob) = (
        "/v2/quay.io/team/app/manifests/1",
        format!("/v2/quay.io/team/app/{}", layer(b"app")),
    );
    assert_eq!(text(&peer, tag).await, image);
    assert_eq!(text(&peer, &blob).await, "app");
    let known = async || {
        let all = storage.list(&"repositories".parse().unwrap(), None);
        let all: Vec<_> = all.try_collect().await.unwrap();
        let keys = all.into_iter().map(|(key, _)| key.to_string());
        let about = |key: &String| key.contains("/_expected/") || key.contains("/_upstream/");
        keys.filter(about).count()
    };
    let collect = async |options: gc::Options| {
        let cx = after(HOUR * 2);
        let plan = gc::plan(&cx, &storage, &options).await.unwrap();
        gc::run(&cx, &storage, &plan).await.unwrap();
    };
    // A tag, a config and a layer.
    assert_eq!(known().await, 3);
    collect(gc::Options::default()).await;
    assert_eq!(known().await, 3);
    collect(gc::Options::default().untagged(HOUR)).await;
    assert_eq!(known().await, 0);
    peer.refused("GET", &blob, 404, "BLOB_UNKNOWN").await;
    // All of it can be had again.
    assert_eq!(text(&peer, tag).await, image);
    assert_eq!(text(&peer, &blob).await, "app");
}

/// The repository that a name and `ns` lead to is the one that somebody must be allowed to read.
#[tokio::test]
async fn a_namespace_is_no_way_around_rights() {
    let grant = |pattern: &str| Grant::new(Access::Read, pattern.parse().unwrap());
    let user = |name: &str| User::new(name, Password::plain("x")).unwrap();
    let ann = user("ann").grant(grant("quay.io/**"));
    let auth = Auth::bearer(Secret::new("s").unwrap())
        .user(ann)
        .user(user("bob").grant(grant("team/**")));
    let (peer, behind, _) = start_with(Server::builder(MemoryStorage::new()).auth(auth)).await;
    let image = behind.push_image("team/app", "1", b"app").await;
    let digest = Digest::of(image.as_bytes());
    for path in [
        "manifests/1".to_owned(),
        format!("manifests/{digest}"),
        layer(b"app"),
        format!("referrers/{digest}"),
        "tags/list".to_owned(),
    ] {
        for (user, inside, elsewhere) in [("ann", true, false), ("bob", false, true)] {
            for (query, may) in [
                ("?ns=quay.io", inside),
                ("?n%73=quay.io", inside),
                ("?ns=docker.io", elsewhere),
                ("?ns=ghcr.io", elsewhere),
                ("", elsewhere),
            ] {
                let path = format!("/v2/team/app/{path}{query}");
                let found = peer.request("GET", &path).basic_auth(user, Some("x"));
                let status = found.send().await.unwrap().status();
                assert_eq!(status != 403, may, "{user} {path}: {status}");
            }
        }
    }
    // A token is asked for the repository that is meant.
    let path = "/v2/team/app/manifests/1?ns=quay.io";
    let refused = peer.send("GET", path).await;
    let challenge = header(&refused, "www-authenticate");
    assert!(
        challenge.contains("scope=\"repository:quay.io/team/app:pull\""),
        "{challenge}"
    );
    let query = "/auth/token?scope=repository:quay.io/team/app:pull";
    let token = peer.request("GET", query).basic_auth("ann", Some("x"));
    let token: serde_json::Value = token.send().await.unwrap().json().await.unwrap();
    let token = token["token"].as_str().unwrap();
    let found = peer.request("GET", path).bearer_auth(token).send().await;
    assert_eq!(found.unwrap().text().await.unwrap(), image);
    let other = peer
        .request("GET", "/v2/team/app/manifests/1")
        .bearer_auth(token);
    expect_fault(other.send().await.unwrap(), 401, "UNAUTHORIZED").await;
    // Who writes means the repository that is named.
    let push = peer.request("PUT", path).basic_auth("ann", Some("x"));
    expect_fault(push.send().await.unwrap(), 403, "DENIED").await;
}

#[tokio::test]
async fn a_failing_upstream_leaves_nothing_behind() {
    let (peer, behind, upstream) = start().await;
    let image = behind.push_image("a/b", "1", b"layer").await;
    let (manifest, blob) = (
        "/v2/a/b/manifests/1",
        format!("/v2/a/b/{}", layer(b"layer")),
    );
    upstream.failing.store(true, Ordering::Relaxed);
    peer.refused("GET", manifest, 502, "UNKNOWN").await;
    upstream.failing.store(false, Ordering::Relaxed);
    assert_eq!(text(&peer, manifest).await, image);
    upstream.failing.store(true, Ordering::Relaxed);
    peer.refused("GET", &blob, 502, "UNKNOWN").await;
    upstream.failing.store(false, Ordering::Relaxed);
    upstream.lying.store(true, Ordering::Relaxed);
    peer.refused("GET", &blob, 502, "UNKNOWN").await;
    upstream.lying.store(false, Ordering::Relaxed);
    assert_eq!(text(&peer, &blob).await, "layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_fetched_once() {
    let (peer, behind, upstream) = start().await;
    let content = vec![7; 3_000_000];
    behind.push_image("a/b", "1", &content).await;
    text(&peer, "/v2/a/b/manifests/1").await;
    let path = format!("/v2/a/b/{}", layer(&content));
    let all = (0..16).map(|_| async {
        let found = peer.send("GET", &path).await;
        assert_eq!(found.status(), 200);
        assert_eq!(found.bytes().await.unwrap(), content);
    });
    future::join_all(all).await;
    assert_eq!(upstream.opened.load(Ordering::Relaxed), 1);
}

/// Half of a blob comes, and the upstream stalls: what a client got of it, and the rest to come.
async fn half(peer: &Peer, path: &str, len: usize) -> (Vec<u8>, reqwest::Response) {
    let mut found = peer.send("GET", path).await;
    assert_eq!(found.status(), 200);
    assert_eq!(found.content_length(), Some(len as u64));
    let mut got = Vec::new();
    while got.len() < len / 2 {
        got.extend_from_slice(&found.chunk().await.unwrap().unwrap());
    }
    assert_eq!(got.len(), len / 2);
    (got, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_while_the_upstream_sends() {
    let directory = tempfile::tempdir().unwrap();
    let storages: [Arc<dyn Storage>; 2] = [disk(&directory), Arc::new(MemoryStorage::new())];
    for storage in storages {
        let (peer, behind, upstream) = start_on(storage).await;
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        behind.push_image("a/b", "1", &content).await;
        text(&peer, "/v2/a/b/manifests/1").await;
        let path = format!("/v2/a/b/{}", layer(&content));
        upstream.open.send_replace(false);
        let (mut one, mut rest) = half(&peer, &path, content.len()).await;
        // Another one, who goes away, and one who wants a part that is there in part.
        drop(half(&peer, &path, content.len()).await);
        let part = peer
            .request("GET", &path)
            .header("range", "bytes=1400000-1600000");
        let part = part.send().await.unwrap();
        assert_eq!(part.status(), 206);
        upstream.open.send_replace(true);
        while let Some(chunk) = rest.chunk().await.unwrap() {
            one.extend_from_slice(&chunk);
        }
        assert!(one == content);
        assert!(part.bytes().await.unwrap() == content[1_400_000..=1_600_000]);
        // It is here by now.
        upstream.failing.store(true, Ordering::Relaxed);
        let again = peer.send("GET", &path).await.bytes().await.unwrap();
        assert!(again == content);
        assert_eq!(upstream.opened.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (peer, behind, upstream) = start_on(disk(&directory)).await;
    let content = vec![7; 3_000_000];
    behind.push_image("a/b", "1", &content).await;
    text(&peer, "/v2/a/b/manifests/1").await;
    let path = format!("/v2/a/b/{}", layer(&content));
    upstream.open.send_replace(false);
    let (_, rest) = half(&peer, &path, content.len()).await;
    upstream.failing.store(true, Ordering::Relaxed);
    upstream.open.send_replace(true);
    assert!(rest.bytes().await.is_err(), "the client is not told an end");
    peer.refused("GET", &path, 502, "UNKNOWN").await;
    let uploads = std::fs::read_dir(directory.path().join(".uploads"));
    assert_eq!(uploads.unwrap().count(), 0);
    upstream.failing.store(false, Ordering::Relaxed);
    assert!(peer.send("GET", &path).await.bytes().await.unwrap() == content);
}
