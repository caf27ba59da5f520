//! Real clients, and the way to an OCI layout and back.

use std::{path::Path, process::Command, sync::Arc};

use ocicore::{
    Blob, Cx, ImageSource, ImageStore, Layout, Memory, Tag,
    conformance::{Fixture, peer::peer},
    copy,
};
use registryd::Server;

use crate::client::{Peer, disk};

fn tag() -> Tag {
    "v1".parse().unwrap()
}

/// Writes the fixture from `store`, which holds it, into a layout, tagged.
async fn export(fixture: &Fixture, store: Arc<dyn ImageStore>, directory: &Path) -> Arc<Layout> {
    let cx = Cx::default();
    let layout = Arc::new(Layout::open_or_create(directory).unwrap());
    let roots = [copy::Root::tagged(*fixture.root().digest(), [tag()])];
    let options = copy::Options::default();
    let plan = copy::plan(&cx, &*store, &*layout, &roots, &options).await;
    copy::run(&cx, plan.unwrap(), store, layout.clone())
        .await
        .unwrap();
    layout
}

#[tokio::test]
async fn a_repository_is_exported_as_a_layout() {
    let cx = Cx::default();
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::memory().await;
    let name = "localhost/a/b".parse().unwrap();
    let repository = peer.server.repositories().repository(&name).unwrap();
    let fixture = Fixture::index();
    fixture.fill(&cx, &*repository).await.unwrap();
    let layout = export(&fixture, repository, directory.path()).await;
    let found = layout.manifest(&cx, &tag().into()).await.unwrap();
    assert_eq!(found.bytes(), fixture.root().bytes());
    for blob in fixture.blobs() {
        let here = layout.blob(blob.descriptor());
        assert!(ocicore::read(&*here, 1 << 20).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_pulls_and_deletes() {
    let Some(skopeo) = peer("SKOPEO") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (fixture, memory) = (Fixture::index(), Arc::new(Memory::default()));
    fixture.fill(&Cx::default(), &*memory).await.unwrap();
    export(&fixture, memory, &path("in")).await;
    let storage = tempfile::tempdir().unwrap();
    let server = Peer::start(Server::builder(disk(&storage))).await;
    let remote = format!("docker://{}/team/app:v1", server.server.addr());
    let copy = |from: &str, to: &str| {
        let done = Command::new(&skopeo)
            .args([
                "--insecure-policy",
                "copy",
                "--all",
                "--quiet",
                "--preserve-digests",
            ])
            .args([
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                from,
                to,
            ])
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    copy(&format!("oci:{}:v1", path("in").display()), &remote);
    copy(&remote, &format!("oci:{}:v1", path("out").display()));
    let copied = Layout::open(path("out")).unwrap();
    let found = copied
        .manifest(&Cx::default(), &tag().into())
        .await
        .unwrap();
    assert_eq!(found.bytes(), fixture.root().bytes());
    let gone = Command::new(&skopeo)
        .args(["--insecure-policy", "delete", "--tls-verify=false", &remote])
        .output()
        .unwrap();
    assert!(
        gone.status.success(),
        "{}",
        String::from_utf8_lossy(&gone.stderr)
    );
    server
        .refused("GET", "/v2/team/app/manifests/v1", 404, "MANIFEST_UNKNOWN")
        .await;
}
