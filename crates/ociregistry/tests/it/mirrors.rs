//! Mirrors that files of configuration name.

use std::{fs, path::Path, sync::Arc};

use ocicore::{
    Class, Cx, Digest, ImageSource as _, ImageStore, MediaType, Memory, Name, Place, RawManifest,
    Repositories, conformance::Fixture, copy,
};
use ociregistry::{Hosts, Mirror, Registry};
use registryd::{Server, storage::MemoryStorage};
use serde_json::json;

use crate::{
    fake::{Fake, Reply},
    support::{at, quick},
};

const INDEX: &str = r#"{"manifests":[]}"#;

/// Has everything.
async fn full() -> Fake {
    Fake::new(|_, _| {
        let reply = Reply::new(200).header("content-type", MediaType::OCI_INDEX);
        reply.body(INDEX)
    })
    .await
}

/// Has nothing.
async fn empty() -> Fake {
    Fake::new(|_, _| Reply::error(404, "MANIFEST_UNKNOWN", "not here")).await
}

async fn pull(registry: &Registry, home: &Fake, name: &str) -> ocicore::Result<()> {
    let store = registry.repository(&at(home))?;
    let name: Name = name.parse()?;
    store.manifest(&Cx::default(), &name).await.map(drop)
}

fn podman(text: &str) -> Registry {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let hosts = Hosts::from_registries_conf(file.path()).unwrap();
    quick().hosts(hosts).build()
}

/// With a `hosts.toml` for one host.
fn containerd(host: &str, text: &str) -> Registry {
    let directory = tempfile::tempdir().unwrap();
    let (name, port) = host.split_once(':').unwrap();
    write_hosts(&directory.path().join(format!("{name}_{port}_")), text);
    let hosts = Hosts::from_containerd(directory.path()).unwrap();
    quick().hosts(hosts).build()
}

fn write_hosts(directory: &Path, text: &str) {
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
}

/// A host of which nobody knows anything.
const GONE: &str = "127.0.0.1:1";

fn in_place_of_gone(mirror: &str) -> Arc<dyn ImageStore> {
    let mirror = Mirror::at(&format!("http://{mirror}")).unwrap();
    let hosts = Hosts::default().with_mirror(GONE, mirror);
    let name = format!("{GONE}/a/b").parse().unwrap();
    quick().hosts(hosts).build().repository(&name).unwrap()
}

#[tokio::test]
async fn an_image_with_its_referrers_comes_from_a_mirror_while_its_registry_is_gone() {
    let (cx, server) = (Cx::default(), Server::builder(MemoryStorage::new()));
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let mirror = server.addr().to_string();
    let there = quick()
        .build()
        .repository(&format!("{mirror}/a/b").parse().unwrap());
    let there = there.unwrap();
    Fixture::index().fill(&cx, &*there).await.unwrap();
    let root = there.resolve(&cx, &"v1".parse().unwrap()).await.unwrap();
    let signature = json!({"manifests": [], "subject": root});
    let signature = RawManifest::new(MediaType::OCI_INDEX, signature.to_string());
    there
        .put_manifest(&cx, &signature, Place::Child)
        .await
        .unwrap();

    let (from, to) = (in_place_of_gone(&mirror), Arc::new(Memory::default()));
    let root = copy::Root::same("v1".parse().unwrap());
    let options = copy::Options::default();
    let plan = copy::plan(&cx, &*from, &*to, &[root], &options).await;
    let plan = plan.unwrap();
    copy::run(&cx, plan, from, to.clone()).await.unwrap();
    let name = Name::Digest(*signature.digest());
    assert!(to.resolve(&cx, &name).await.is_ok());
}

#[tokio::test]
async fn what_mirrors_said_is_told() {
    let mirror = empty().await;
    let (cx, store) = (Cx::default(), in_place_of_gone(&mirror.host));
    let name: Name = "v1".parse().unwrap();
    for error in [
        store.manifest(&cx, &name).await.unwrap_err(),
        store.resolve(&cx, &name).await.unwrap_err(),
    ] {
        assert_eq!(error.class(), Class::Transient);
        let text = ocicore::in_one_line(&error).replace(&mirror.host, "MIRROR");
        let (start, end) = text.split_once(": its mirrors did not help: ").unwrap();
        assert!(start.ends_with("`v1` in 127.0.0.1:1/a/b"), "{text}");
        assert!(end.starts_with("`MIRROR/a/b` answered `"), "{text}");
        assert!(
            end.contains(": no answer from `127.0.0.1:1/a/b` to `"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_mirror_without_lists_says_nothing_of_referrers() {
    let mirror = empty().await;
    let (cx, store) = (Cx::default(), in_place_of_gone(&mirror.host));
    let error = store.referrers(&cx, &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    let text = ocicore::in_one_line(&error).replace(&mirror.host, "MIRROR");
    let expected =
        ": its mirrors did not help: `MIRROR` keeps no list: no answer from `127.0.0.1:1/a/b`";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn mirrors_of_podman_are_asked_in_order() {
    let (first, second, home) = (empty().await, full().await, full().await);
    let registry = podman(&format!(
        "[[registry]]\nlocation = '{}'\n\
         [[registry.mirror]]\nlocation = '{}'\n\
         [[registry.mirror]]\nlocation = '{}/proxy'\ninsecure = true\n",
        home.host, first.host, second.host
    ));
    pull(&registry, &home, "v1").await.unwrap();
    assert_eq!(first.lines(), ["GET /v2/a/b/manifests/v1"]);
    assert_eq!(second.lines(), ["GET /v2/proxy/a/b/manifests/v1"]);
    assert_eq!(home.lines(), [""; 0]);
}

#[tokio::test]
async fn a_mirror_of_podman_for_digests_is_asked_for_no_tag() {
    let (mirror, home) = (empty().await, full().await);
    let registry = podman(&format!(
        "[[registry]]\nlocation = '{}'\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = '{}'\n",
        home.host, mirror.host
    ));
    pull(&registry, &home, "v1").await.unwrap();
    assert_eq!(mirror.lines(), [""; 0]);
    let digest = Digest::of(INDEX.as_bytes()).to_string();
    pull(&registry, &home, &digest).await.unwrap();
    let by_digest = format!("GET /v2/a/b/manifests/{digest}");
    assert_eq!(mirror.lines(), [&*by_digest]);
    assert_eq!(home.lines(), ["GET /v2/a/b/manifests/v1", &by_digest]);
}

#[tokio::test]
async fn a_registry_of_podman_may_be_elsewhere_or_blocked() {
    let (other, home) = (full().await, full().await);
    let registry = podman(&format!(
        "[[registry]]\nprefix = '{}/a'\nlocation = '{}/moved'\n",
        home.host, other.host
    ));
    pull(&registry, &home, "v1").await.unwrap();
    assert_eq!(other.lines(), ["GET /v2/moved/b/manifests/v1"]);
    let location = format!("[[registry]]\nlocation = '{}'\nblocked = true\n", home.host);
    let error = pull(&podman(&location), &home, "v1").await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert_eq!(home.lines(), [""; 0]);
}

#[tokio::test]
async fn hosts_of_containerd_are_asked_in_order() {
    let (first, second, home) = (empty().await, full().await, full().await);
    let pushes = full().await;
    let registry = containerd(
        &home.host,
        &format!(
            "server = 'http://{}'\n[host.'http://{}']\ncapabilities = ['push']\n\
             [host.'http://{}']\ncapabilities = ['pull', 'resolve']\n\
             [host.'http://{}/proxy/v9']\noverride_path = true\n",
            home.host, pushes.host, first.host, second.host
        ),
    );
    pull(&registry, &home, "v1").await.unwrap();
    let namespace = format!("?ns={}", home.host.replace(':', "%3A"));
    assert_eq!(pushes.lines(), [""; 0]);
    assert_eq!(
        first.lines(),
        [format!("GET /v2/a/b/manifests/v1{namespace}")]
    );
    assert_eq!(
        second.lines(),
        [format!("GET /proxy/v9/a/b/manifests/v1{namespace}")]
    );
    assert_eq!(home.lines(), [""; 0]);
}

#[tokio::test]
async fn a_server_of_containerd_stands_in_for_its_host() {
    let (server, mirror, home) = (full().await, empty().await, full().await);
    let registry = containerd(
        &home.host,
        &format!(
            "server = 'http://{}'\n[host.'http://{}']\n",
            server.host, mirror.host
        ),
    );
    pull(&registry, &home, "v1").await.unwrap();
    assert_eq!(mirror.lines().len(), 1);
    assert_eq!(server.lines(), ["GET /v2/a/b/manifests/v1"]);
    assert_eq!(home.lines(), [""; 0]);
    // By default for all hosts.
    let directory = tempfile::tempdir().unwrap();
    let text = format!("[host.'http://{}']\n", server.host);
    write_hosts(&directory.path().join("_default"), &text);
    let hosts = Hosts::from_containerd(directory.path()).unwrap();
    let registry = quick().hosts(hosts).build();
    pull(&registry, &home, "v1").await.unwrap();
    assert_eq!((server.lines().len(), home.lines().len()), (2, 0));
}
