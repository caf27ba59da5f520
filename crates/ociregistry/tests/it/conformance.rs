use std::sync::Arc;

use ocicore::{
    BytesBlob, Cx, ImageStore, MediaType, Name, Place, Platform, Repositories, Stored,
    conformance::{Fixture, Suite},
};
use ociregistry::{Credentials, HostOptions, Registry, RegistryBuilder, Upload};
use registryd::{Access, Auth, Grant, Password, Secret, Server, Tls, User, storage::MemoryStorage};

use crate::support::{fresh, plain, secured};

/// docker-registry 2.8 knows no SHA-512, deletes no tags and keeps no lists of referrers, so that
/// clients keep these under tags.
async fn docker_registry(peer: Option<(String, RegistryBuilder)>, upload: Upload) {
    let Some((host, builder)) = peer else { return };
    let registry = builder.upload(upload).build();
    Suite::default()
        .without_sha512()
        .without_delete_tag()
        .without_referrers()
        .store(async || registry.repository(&fresh(&host)).unwrap())
        .await;
}

#[tokio::test]
async fn docker_registry_plain() {
    docker_registry(plain(), Upload::Monolithic).await;
}

#[tokio::test]
async fn docker_registry_in_chunks() {
    docker_registry(plain(), Upload::Chunked(300_000)).await;
}

#[tokio::test]
async fn docker_registry_with_tls_and_password() {
    docker_registry(secured(), Upload::Monolithic).await;
}

async fn ours(server: &Server, builder: RegistryBuilder) {
    let (host, registry) = (server.addr().to_string(), builder.build());
    Suite::default()
        .store(async || registry.repository(&fresh(&host)).unwrap())
        .await;
}

#[tokio::test]
async fn our_server() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    ours(&server, Registry::builder()).await;
}

#[tokio::test]
async fn our_server_in_chunks() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    ours(
        &server,
        Registry::builder().upload(Upload::Chunked(300_000)),
    )
    .await;
}

fn writer() -> User {
    let user = User::new("me", Password::plain("secret")).unwrap();
    user.grant(Grant::everything(Access::Write))
}

#[tokio::test]
async fn our_server_with_password_and_tls() {
    let tls = Tls::self_signed(["127.0.0.1"]).unwrap();
    let ca = tls.certificate().to_owned();
    let server = Server::builder(MemoryStorage::new())
        .auth(Auth::basic().user(writer()))
        .tls(tls)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let host = server.addr().to_string();
    let builder = Registry::builder()
        .credentials(&host, Credentials::basic("me", "secret"))
        .host(&host, HostOptions::default().with_ca_pem(ca));
    ours(&server, builder).await;
}

#[tokio::test]
async fn our_server_with_tokens() {
    let server = Server::builder(MemoryStorage::new())
        .auth(Auth::bearer(Secret::random().unwrap()).user(writer()))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let login = Credentials::basic("me", "secret");
    let builder = Registry::builder().credentials(server.addr().to_string(), login);
    ours(&server, builder).await;
}

/// What an index with referrers needs, copied from one registry to another.
#[tokio::test]
async fn an_image_moves_between_registries() {
    let cx = Cx::default();
    let Some((theirs, builder)) = plain() else {
        return;
    };
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let registry = builder.build();
    let from = registry
        .repository(&fresh(&server.addr().to_string()))
        .unwrap();
    let fixture = Fixture::index();
    fixture.fill(&cx, &*from).await.unwrap();
    let there = fresh(&theirs);
    let to = registry.repository(&there).unwrap();
    let done = copy(&cx, &from, &to).await;
    assert_eq!((done.written, done.mounted, done.manifests), (5, 0, 3));
    let root = Name::Digest(*fixture.root().digest());
    assert_eq!(to.manifest(&cx, &root).await.unwrap(), *fixture.root());
    // Within the registry nothing is sent again.
    let next = registry.repository(&fresh(&theirs)).unwrap();
    let done = copy(&cx, &to, &next).await;
    assert_eq!((done.written, done.mounted, done.bytes), (0, 5, 0));
    let again = copy(&cx, &to, &next).await;
    assert_eq!((again.written, again.mounted, again.manifests), (0, 0, 0));
    let image = ocicore::Image::open(
        &cx,
        &*next,
        &"v1".parse().unwrap(),
        &Platform::new("linux", "arm64"),
    )
    .await;
    assert!(image.is_ok(), "{image:?}");
}

async fn copy(
    cx: &Cx,
    from: &Arc<dyn ImageStore>,
    to: &Arc<dyn ImageStore>,
) -> ocicore::copy::Done {
    let root = ocicore::copy::Root::same("v1".parse().unwrap());
    let options = ocicore::copy::Options::default();
    let plan = ocicore::copy::plan(cx, &**from, &**to, &[root], &options)
        .await
        .unwrap();
    ocicore::copy::run(cx, plan, Arc::clone(from) as _, Arc::clone(to))
        .await
        .unwrap()
}

/// docker-registry keeps no list of referrers: clients do, under a tag.
#[tokio::test]
async fn referrers_are_kept_where_the_registry_does_not() {
    let cx = Cx::default();
    let Some((host, builder)) = plain() else {
        return;
    };
    let store = builder.build().repository(&fresh(&host)).unwrap();
    let fixture = Fixture::image();
    fixture.fill(&cx, &*store).await.unwrap();
    let subject = fixture.root().descriptor();
    let config = BytesBlob::new(MediaType::OCI_EMPTY, "{}");
    assert_eq!(store.put_blob(&cx, &config).await.unwrap(), Stored::Written);
    let signature = |kind: &str| {
        let json = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
            "config": ocicore::Blob::descriptor(&config), "layers": [], "subject": subject,
        });
        ocicore::RawManifest::new(MediaType::OCI_MANIFEST, json.to_string())
    };
    let all: Vec<_> = (0..5).map(|n| signature(&format!("test/k{n}"))).collect();
    // All at once, and once more; not the same one at once, for docker-registry then reads what it
    // is still writing.
    for _ in 0..2 {
        let puts = all
            .iter()
            .map(|raw| store.put_manifest(&cx, raw, Place::Child));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let mut listed = store.referrers(&cx, subject.digest()).await.unwrap();
    listed.sort_by_key(|entry| entry.artifact_type().cloned());
    let mut expected: Vec<_> = all
        .iter()
        .filter_map(|raw| raw.as_referrer_of(subject.digest()))
        .collect();
    expected.sort_by_key(|entry| entry.artifact_type().cloned());
    assert_eq!(listed, expected);
    // What is deleted leaves the list.
    for raw in &all {
        let gone = expected.remove(0);
        assert_eq!(gone.digest(), raw.digest());
        store
            .delete(&cx, &Name::Digest(*raw.digest()))
            .await
            .unwrap();
        let mut listed = store.referrers(&cx, subject.digest()).await.unwrap();
        listed.sort_by_key(|entry| entry.artifact_type().cloned());
        assert_eq!(listed, expected);
    }
}
