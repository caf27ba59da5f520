//! Images on their way from one registry to another.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use futures_util::TryStreamExt;
use ocicore::{
    Blob, BytesBlob, Cx, Descriptor, Image, ImageSink as _, ImageStore, MediaType, Memory, Name,
    Place, Platform, Progress, RawManifest, Repositories, TaskId, conformance::Fixture, copy,
};
use ociregistry::{Registry, RegistryBuilder};
use registryd::{Server, storage::MemoryStorage};
use serde_json::json;

use crate::{
    fake::{Fake, Reply},
    proxy::{Fault, Proxy, Upstream},
    support::{fresh, plain, quick, secured, store},
};

async fn ours() -> Server {
    Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap()
}

#[tokio::test]
async fn an_image_that_is_there_costs_one_request() {
    let manifest = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
    let (digest, bytes) = (*manifest.digest(), manifest.bytes().clone());
    let (cx, from) = (Cx::default(), Memory::default());
    let tags = ["v1".parse().unwrap()];
    from.put_manifest(&cx, &manifest, Place::Root(&tags))
        .await
        .unwrap();
    let by_digest = Name::Digest(digest);
    for root in [
        copy::Root::same("v1".parse().unwrap()),
        copy::Root::same(by_digest.clone()),
        copy::Root::tagged(by_digest.clone(), tags.clone()),
    ] {
        let bytes = bytes.clone();
        let fake = Fake::new(move |_, _| {
            Reply::new(200)
                .header("content-type", MediaType::OCI_INDEX)
                .header("docker-content-digest", digest)
                .body(bytes.clone())
        })
        .await;
        let to = store(&quick().build(), &fake);
        let plan = copy::plan(&cx, &from, &*to, &[root], &copy::Options::default())
            .await
            .unwrap();
        assert_eq!(plan.present(), [manifest.descriptor().clone()]);
        assert_eq!(fake.lines().len(), 1, "{:?}", fake.lines());
    }
}

async fn copied(
    cx: &Cx,
    from: &Arc<dyn ImageStore>,
    to: &Arc<dyn ImageStore>,
    options: &copy::Options,
) -> copy::Done {
    let root = copy::Root::same("v1".parse().unwrap());
    let plan = copy::plan(cx, &**from, &**to, &[root], options)
        .await
        .unwrap();
    copy::run(cx, plan, Arc::clone(from) as _, Arc::clone(to))
        .await
        .unwrap()
}

/// How much was done of how much.
#[derive(Debug, Default)]
struct Log {
    total: Mutex<Option<u64>>,
    done: AtomicU64,
}

impl Progress for Log {
    fn start(&self, _: TaskId, _: &str, total: Option<u64>) {
        *self.total.lock().unwrap() = total;
    }
    fn advance(&self, _: TaskId, done: u64) {
        self.done.fetch_max(done, Ordering::Relaxed);
    }
    fn finish(&self, _: TaskId) {}
}

/// An index, a signature of one of its images, and a signature of that.
async fn signed(store: &Arc<dyn ImageStore>) -> Vec<RawManifest> {
    let (cx, fixture) = (Cx::default(), Fixture::index());
    fixture.fill(&cx, &**store).await.unwrap();
    let mut subject = fixture.root().links().unwrap().manifests[0].clone();
    let mut signatures = Vec::new();
    for kind in ["test/signature", "test/countersignature"] {
        let config = BytesBlob::new(MediaType::OCI_EMPTY, "{}");
        let layer = BytesBlob::new("test/layer".parse().unwrap(), kind);
        store.put_blob(&cx, &config).await.unwrap();
        store.put_blob(&cx, &layer).await.unwrap();
        let json = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
            "config": config.descriptor(), "layers": [layer.descriptor()],
            "subject": {"mediaType": subject.media_type(), "digest": subject.digest(), "size": subject.size()},
        });
        let signature = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
        store
            .put_manifest(&cx, &signature, Place::Child)
            .await
            .unwrap();
        subject = signature.descriptor().clone();
        signatures.push(signature);
    }
    signatures
}

async fn an_image_moves_with_what_refers_to_it(host: &str, builder: RegistryBuilder) {
    let (server, registry) = (ours().await, builder.build());
    let at = |host: &str| registry.repository(&fresh(host)).unwrap();
    let (from, to) = (at(&server.addr().to_string()), at(host));
    let signatures = signed(&from).await;
    let log = Arc::new(Log::default());
    let cx = Cx::default().with_progress(log.clone());
    let done = copied(&cx, &from, &to, &copy::Options::default()).await;
    // Two images, an index and two signatures.
    assert_eq!((done.manifests, done.mounted), (5, 0));
    let total = log.total.lock().unwrap().unwrap();
    assert_eq!(log.done.load(Ordering::Relaxed), total);
    assert!(total >= done.bytes && done.bytes > 0, "{done:?} of {total}");
    // Back again by who is there: each is found by its subject.
    for signature in &signatures {
        let subject = signature.links().unwrap().subject.unwrap();
        let listed = to.referrers(&cx, subject.digest()).await.unwrap();
        let expected = signature.as_referrer_of(subject.digest()).unwrap();
        assert_eq!(listed, [expected]);
        let name = Name::Digest(*signature.digest());
        assert_eq!(to.manifest(&cx, &name).await.unwrap(), *signature);
    }
    // Within one registry no byte moves, and all of it is progress.
    let (next, log) = (at(host), Arc::new(Log::default()));
    let cx = Cx::default().with_progress(log.clone());
    let done = copied(&cx, &to, &next, &copy::Options::default()).await;
    assert_eq!((done.manifests, done.written, done.bytes), (5, 0, 0));
    assert_eq!(log.done.load(Ordering::Relaxed), total);
}

#[tokio::test]
async fn between_our_servers() {
    let server = ours().await;
    an_image_moves_with_what_refers_to_it(&server.addr().to_string(), Registry::builder()).await;
}

#[tokio::test]
async fn to_docker_registry() {
    let Some((host, builder)) = plain() else {
        return;
    };
    an_image_moves_with_what_refers_to_it(&host, builder).await;
}

#[tokio::test]
async fn to_docker_registry_with_tls_and_password() {
    let Some((host, builder)) = secured() else {
        return;
    };
    an_image_moves_with_what_refers_to_it(&host, builder).await;
}

#[tokio::test]
async fn no_more_than_so_many_at_once() {
    let server = ours().await;
    let upstream = Upstream {
        host: server.addr().to_string(),
        tls: None,
    };
    let proxy = Proxy::new(upstream, |_, _| Fault::None).await;
    let (cx, from) = (Cx::default(), Memory::default());
    let mut layers: Vec<Descriptor> = Vec::new();
    for n in 0..40 {
        // Some are sent whole, some as streams.
        let size = if n % 2 == 0 { 1_000 } else { 300_000 };
        let layer = BytesBlob::new(MediaType::OCI_LAYER, vec![n; size]);
        ocicore::ImageSink::put_blob(&from, &cx, &layer)
            .await
            .unwrap();
        layers.push(layer.descriptor().clone());
    }
    let json = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": layers[0], "layers": layers,
    });
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
    let place = Place::Root(&["v1".parse().unwrap()]);
    ocicore::ImageSink::put_manifest(&from, &cx, &manifest, place)
        .await
        .unwrap();
    let to = Registry::builder()
        .build()
        .repository(&fresh(&proxy.host))
        .unwrap();
    let from: Arc<dyn ImageStore> = Arc::new(from);
    let done = copied(&cx, &from, &to, &copy::Options::default().with_jobs(3)).await;
    assert_eq!(done.written, 40);
    assert!((1..=3).contains(&proxy.most()), "{}", proxy.most());
}

/// An index whose only entry for a platform is an index again, of which each entry is for another
/// version of it.
#[tokio::test]
async fn platforms_are_found_below_several_indexes() {
    let server = ours().await;
    let name = fresh(&server.addr().to_string());
    let store = Registry::builder().build().repository(&name).unwrap();
    let cx = Cx::default();
    let image = async |platform: &Platform| {
        let config = json!({
            "architecture": platform.architecture(), "os": platform.os(),
            "variant": platform.variant(), "os.version": platform.os_version(),
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = BytesBlob::new(MediaType::OCI_CONFIG, config.to_string());
        store.put_blob(&cx, &config).await.unwrap();
        let json = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(), "layers": [],
        });
        let raw = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
        store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
        raw.descriptor().clone().with_platform(platform.clone())
    };
    let index = async |entries: &[Descriptor], place: Place<'_>| {
        let json = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
        });
        let raw = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
        store.put_manifest(&cx, &raw, place).await.unwrap();
        raw.descriptor().clone()
    };
    let windows = |version: &str| Platform::new("windows", "amd64").with_os_version(version);
    let arm = |variant: &str| Platform::new("linux", "arm").with_variant(variant);
    let (old, new) = (windows("10.0.17763.6659"), windows("10.0.20348.2582"));
    let servers = [image(&old).await, image(&new).await];
    let arms = [image(&arm("v6")).await, image(&arm("v7")).await];
    let below = index(&servers, Place::Child).await;
    let below = below.with_platform(Platform::new("windows", "amd64"));
    let [six, seven] = arms;
    let tag = ["v1".parse().unwrap()];
    index(&[six.clone(), below, seven.clone()], Place::Root(&tag)).await;

    let tag = "v1".parse().unwrap();
    for (wanted, expected) in [
        (windows("10.0.17763"), &servers[0]),
        (windows("10.0.20348"), &servers[1]),
        (windows("10.0.20348.2582"), &servers[1]),
        (arm("v6"), &six),
        (arm("v7"), &seven),
        (arm("v8"), &seven),
        (Platform::new("linux", "arm"), &seven),
    ] {
        let image = Image::open(&cx, &*store, &tag, &wanted).await.unwrap();
        assert_eq!(image.digest(), expected.digest(), "{wanted:?}");
    }
    for missing in [
        windows("10.0.1"),
        arm("v5"),
        Platform::new("linux", "amd64"),
    ] {
        let error = Image::open(&cx, &*store, &tag, &missing).await.unwrap_err();
        let is_platform = matches!(error, ocicore::Error::Platform { .. });
        assert!(is_platform, "{missing:?}: {error:?}");
    }
    let tags: Vec<_> = store.tags(&cx).try_collect().await.unwrap();
    assert_eq!(tags.len(), 1);
}
