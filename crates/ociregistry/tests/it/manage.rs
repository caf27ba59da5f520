//! What is there already, and what is deleted.

use std::sync::Arc;

use ocicore::{
    Blob, BytesBlob, Class, Cx, Digest, ImageStore, MediaType, Memory, Place, RawManifest,
    Repositories, Tag, conformance::Fixture, copy,
};
use ociregistry::{Registry, RegistryBuilder};
use registryd::{Server, storage::MemoryStorage};

use crate::{
    old::old_registry,
    proxy::{Fault, Proxy, Upstream},
    support::{at, fresh, plain, quick, secured, store},
};

async fn ours() -> Server {
    Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap()
}

#[tokio::test]
async fn an_image_that_is_there_costs_one_request() {
    let server = ours().await;
    let mut hosts = vec![server.addr().to_string()];
    hosts.extend(plain().map(|(host, _)| host));
    for host in hosts {
        let proxy = Proxy::new(Upstream { host, tls: None }, |_, _| Fault::None).await;
        let (cx, from) = (Cx::default(), Memory::default());
        let fixture = Fixture::index();
        fixture.fill(&cx, &from).await.unwrap();
        let to = Registry::builder()
            .build()
            .repository(&fresh(&proxy.host))
            .unwrap();
        let push = async || {
            let root = copy::Root::same("v1".parse().unwrap());
            let options = copy::Options::default();
            let plan = copy::plan(&cx, &from, &*to, &[root], &options).await?;
            copy::run(&cx, plan, Arc::new(from.clone()), to.clone()).await
        };
        let done = push().await.unwrap();
        let first = proxy.take();
        // One asks for the tag, two are for each blob, one for each manifest.
        let expected = 1 + 2 * done.written + done.manifests;
        assert_eq!(first.len() as u64, expected, "{first:?}");
        push().await.unwrap();
        assert_eq!(proxy.take(), ["HEAD manifest"]);
        // A pull is one for each of both.
        let options = copy::Options::default().without_referrers();
        let root = copy::Root::same("v1".parse().unwrap());
        let here = Memory::default();
        let plan = copy::plan(&cx, &*to, &here, &[root], &options).await;
        let pulled = copy::run(&cx, plan.unwrap(), to.clone(), Arc::new(here)).await;
        assert_eq!(pulled.unwrap().written, done.written);
        let expected = done.written + done.manifests;
        assert_eq!(proxy.take().len() as u64, expected);
    }
}

async fn blobs_are_deleted(host: &str, builder: RegistryBuilder) {
    let (cx, registry, name) = (Cx::default(), builder.build(), fresh(host));
    let store: Arc<dyn ImageStore> = registry.repository(&name).unwrap();
    let blob = BytesBlob::new(MediaType::OCI_LAYER, name.to_string());
    store.put_blob(&cx, &blob).await.unwrap();
    let digest = blob.descriptor().digest();
    registry.delete_blob(&cx, &name, digest).await.unwrap();
    assert!(!store.has_blob(&cx, blob.descriptor()).await.unwrap());
    let error = registry.delete_blob(&cx, &name, digest).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
}

#[tokio::test]
async fn our_server_deletes_blobs() {
    let server = ours().await;
    blobs_are_deleted(&server.addr().to_string(), Registry::builder()).await;
}

#[tokio::test]
async fn docker_registry_deletes_blobs() {
    let Some((host, builder)) = plain() else {
        return;
    };
    blobs_are_deleted(&host, builder).await;
}

#[tokio::test]
async fn docker_registry_with_tls_and_password_deletes_blobs() {
    let Some((host, builder)) = secured() else {
        return;
    };
    blobs_are_deleted(&host, builder).await;
}

/// A registry that keeps no list of referrers: whoever pushes one keeps it, once.
#[tokio::test]
async fn tags_of_a_referrer_do_not_touch_the_list() {
    let fake = old_registry(|_| None).await;
    let (cx, registry) = (Cx::default(), quick().build());
    let store = store(&registry, &fake);
    let subject = Digest::of(b"subject");
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "test/x",
        "config": {"mediaType": MediaType::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 7},
    });
    let raw = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
    let tags: Vec<Tag> = ["v1", "v2", "v3"].map(|tag| tag.parse().unwrap()).into();
    let place = Place::Root(&tags);
    store.put_manifest(&cx, &raw, place).await.unwrap();
    let put = |name: &str| format!("PUT /v2/a/b/manifests/{name}");
    let get = |name: &str| format!("GET /v2/a/b/manifests/{name}");
    let list = format!("sha256-{}", subject.hex());
    let pushed = [
        put("v1"),
        get(&list),
        put(&list),
        get(&list),
        put("v2"),
        put("v3"),
    ];
    assert_eq!(fake.lines(), pushed);

    let reference = format!("{}:v1", at(&fake)).parse().unwrap();
    let tags = ["v4", "v5"].map(|tag| tag.parse().unwrap());
    let tagged = registry.retag(&cx, &reference, &tags).await.unwrap();
    assert_eq!(tagged, *raw.descriptor());
    assert_eq!(fake.lines()[6..], [get("v1"), put("v4"), put("v5")]);
    assert_eq!(store.referrers(&cx, &subject).await.unwrap().len(), 1);
}
