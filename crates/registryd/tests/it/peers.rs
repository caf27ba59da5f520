//! Real clients, and the way to an OCI layout and back.

use std::{path::Path, process::Command, sync::Arc};

use ocicore::{
    Blob, Cx, ImageSource, ImageStore, Layout, Memory, Tag,
    conformance::{Fixture, peer::peer},
    copy,
};
use registryd::{
    Access, Auth, Grant, Password, Secret, Server, User,
    storage::{Durability, FsStorage, MemoryStorage},
};

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

/// Runs a tool; what it prints.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// Copies an image with all that belongs to it.
fn skopeo_copy(skopeo: &str, from: &str, to: &str) {
    let options = [
        "--insecure-policy",
        "copy",
        "--all",
        "--quiet",
        "--preserve-digests",
    ];
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run(Command::new(skopeo)
        .args(options)
        .args(plain)
        .args([from, to]));
}

/// An image of one layer that umoci wrote, in a layout.
fn umoci_layout(umoci: &str, directory: &Path) -> String {
    let layout = directory.join("umoci").display().to_string();
    let (image, file) = (format!("{layout}:v1"), directory.join("file"));
    std::fs::write(&file, directory.display().to_string()).unwrap();
    run(Command::new(umoci).args(["init", "--layout", &layout]));
    run(Command::new(umoci).args(["new", "--image", &image]));
    let insert = ["insert", "--rootless", "--image", &image];
    run(Command::new(umoci).args(insert).arg(&file).arg("/content"));
    layout
}

/// A server on disk that holds the image of umoci as `team/app:v1`.
async fn with_image(skopeo: &str, umoci: &str, directory: &Path) -> Peer {
    let storage = FsStorage::with_durability(directory.join("store"), Durability::ProcessCrash);
    let server = Peer::start(Server::builder(storage.unwrap())).await;
    let layout = umoci_layout(umoci, directory);
    let remote = format!("docker://{}/team/app:v1", server.server.addr());
    skopeo_copy(skopeo, &format!("oci:{layout}:v1"), &remote);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_of_umoci_comes_and_goes() {
    let (Some(umoci), Some(skopeo)) = (peer("UMOCI"), peer("SKOPEO")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = with_image(&skopeo, &umoci, directory.path()).await;
    let back = directory.path().join("back").display().to_string();
    let remote = format!("docker://{}/team/app:v1", server.server.addr());
    skopeo_copy(&skopeo, &remote, &format!("oci:{back}:v1"));
    let bundle = directory.path().join("bundle");
    let image = format!("{back}:v1");
    run(Command::new(&umoci)
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle));
    let content = std::fs::read_to_string(bundle.join("rootfs/content")).unwrap();
    assert_eq!(content, directory.path().display().to_string());
}

/// Pulls the image of umoci, tags it anew and pushes it, as Docker and Podman both do it.
async fn engine_pulls_and_pushes(engine: impl Fn() -> Command, options: &[&str]) {
    let (Some(umoci), Some(skopeo)) = (peer("UMOCI"), peer("SKOPEO")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = with_image(&skopeo, &umoci, directory.path()).await;
    let host = server.server.addr();
    let (image, again) = (
        format!("{host}/team/app:v1"),
        format!("{host}/other/app:v2"),
    );
    run(engine().arg("pull").args(options).arg(&image));
    run(engine().args(["tag", &image, &again]));
    run(engine().arg("push").args(options).arg(&again));
    run(engine().args(["rmi", &image, &again]));
    // From nothing, out of what the engine pushed.
    run(engine().arg("pull").args(options).arg(&again));
    run(engine().args(["rmi", &again]));
    // Docker writes its own kind of manifest, which umoci does not read.
    let layout = directory.path().join("back").display().to_string();
    let convert = [
        "--insecure-policy",
        "copy",
        "--format=oci",
        "--src-tls-verify=false",
    ];
    run(Command::new(&skopeo)
        .args(convert)
        .args([format!("docker://{again}"), format!("oci:{layout}:v1")]));
    let bundle = directory.path().join("bundle");
    let image = format!("{layout}:v1");
    run(Command::new(&umoci)
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle));
    let content = std::fs::read_to_string(bundle.join("rootfs/content")).unwrap();
    assert_eq!(content, directory.path().display().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_and_pushes() {
    let Some(podman) = peer("PODMAN") else { return };
    engine_pulls_and_pushes(|| Command::new(&podman), &["--tls-verify=false"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_and_pushes() {
    let (Some(docker), Some(host)) = (peer("DOCKER"), peer("DOCKER_HOST")) else {
        return;
    };
    // A daemon takes a registry on the loopback without TLS.
    let engine = || {
        let mut command = Command::new(&docker);
        command.args(["--host", &host]);
        command
    };
    engine_pulls_and_pushes(engine, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_client_pushes_and_pulls() {
    use oci_client::{
        Client, Reference, RegistryOperation,
        client::{ClientConfig, ClientProtocol, Config, ImageLayer},
        manifest::IMAGE_LAYER_MEDIA_TYPE,
        secrets::RegistryAuth,
    };

    let user = User::new("me", Password::plain("secret")).unwrap();
    let auth =
        Auth::bearer(Secret::random().unwrap()).user(user.grant(Grant::everything(Access::Write)));
    let server = Peer::start(Server::builder(MemoryStorage::new()).auth(auth)).await;
    let image: Reference = format!("{}/team/app:v1", server.server.addr())
        .parse()
        .unwrap();
    let login = RegistryAuth::Basic("me".to_owned(), "secret".to_owned());
    // In chunks, in one request each, and pulled.
    for monolithic in [false, true] {
        let client = Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            use_monolithic_push: monolithic,
            ..ClientConfig::default()
        });
        let layers: Vec<ImageLayer> = [vec![7; 6_000_000], format!("{monolithic}").into_bytes()]
            .into_iter()
            .map(|data| ImageLayer::new(data, IMAGE_LAYER_MEDIA_TYPE.to_owned(), None))
            .collect();
        let config = Config::oci_v1(b"{}".to_vec(), None);
        let pushed = client
            .push(&image, &layers, config, &login, None)
            .await
            .unwrap();
        assert!(pushed.manifest_url.contains("/v2/team/app/manifests/"));
        let pulled = client
            .pull(&image, &login, vec![IMAGE_LAYER_MEDIA_TYPE])
            .await
            .unwrap();
        // They come in any order.
        let sorted = |layers: &[ImageLayer]| {
            let mut contents: Vec<_> = layers.iter().map(|layer| layer.data.clone()).collect();
            contents.sort();
            contents
        };
        assert!(sorted(&pulled.layers) == sorted(&layers));
        client
            .auth(&image, &login, RegistryOperation::Pull)
            .await
            .unwrap();
        let tags = client.list_tags(&image, &login, None, None).await.unwrap();
        assert_eq!(tags.tags, ["v1"]);
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
    skopeo_copy(
        &skopeo,
        &format!("oci:{}:v1", path("in").display()),
        &remote,
    );
    skopeo_copy(
        &skopeo,
        &remote,
        &format!("oci:{}:v1", path("out").display()),
    );
    let copied = Layout::open(path("out")).unwrap();
    let found = copied
        .manifest(&Cx::default(), &tag().into())
        .await
        .unwrap();
    assert_eq!(found.bytes(), fixture.root().bytes());
    let delete = ["--insecure-policy", "delete", "--tls-verify=false", &remote];
    run(Command::new(&skopeo).args(delete));
    server
        .refused("GET", "/v2/team/app/manifests/v1", 404, "MANIFEST_UNKNOWN")
        .await;
}
