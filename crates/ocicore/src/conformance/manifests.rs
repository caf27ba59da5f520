use futures_util::TryStreamExt;
use serde_json::json;

use super::{Fixture, by_tag, expect_class, tag};
use crate::{
    Algorithm, Blob, BytesBlob, Class, Cx, Descriptor, ImageStore, MediaType, Name, Place,
    RawManifest, Tag,
};

pub(super) async fn an_image_is_read_as_it_was_written(store: &dyn ImageStore) {
    let fixture = Fixture::image();
    fixture.fill(&Cx::default(), store).await.unwrap();
    super::fixture::holds(store, &fixture).await;
}

pub(super) async fn a_docker_image_keeps_its_types(store: &dyn ImageStore) {
    let cx = Cx::default();
    let config = BytesBlob::new(MediaType::DOCKER_CONFIG, r#"{"rootfs":{"diff_ids":[]}}"#);
    store.put_blob(&cx, &config).await.unwrap();
    let json = json!({
        "schemaVersion": 2, "mediaType": MediaType::DOCKER_MANIFEST,
        "config": config.descriptor(), "layers": [],
    });
    // Docker writes with three spaces; the bytes must stay.
    let bytes = format!("{json:#}").replace("  ", "   ");
    let manifest = RawManifest::new(MediaType::DOCKER_MANIFEST, bytes);
    store
        .put_manifest(&cx, &manifest, Place::Root(&[tag("v1")]))
        .await
        .unwrap();
    expect_manifest(store, &by_tag("v1"), &manifest).await;
}

pub(super) async fn an_artifact_is_kept_byte_for_byte(store: &dyn ImageStore) {
    let (cx, config) = (Cx::default(), put_empty_config(store).await);
    let text = format!(
        "{{ \"unknown\":1.50,\n\t\"schemaVersion\":2,\"artifactType\":\"x/y\",\
         \"mediaType\":\"{}\",\"config\":{},\"layers\":[],\"annotations\":{{\"é\":\"\\u00e9\"}} }}\n",
        MediaType::OCI_MANIFEST,
        serde_json::to_string(&config).expect("a descriptor is JSON"),
    );
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, text);
    store
        .put_manifest(&cx, &manifest, Place::Root(&[tag("odd")]))
        .await
        .unwrap();
    expect_manifest(store, &by_tag("odd"), &manifest).await;
    expect_manifest(store, &Name::Digest(*manifest.digest()), &manifest).await;
}

pub(super) async fn children_have_no_tags(store: &dyn ImageStore) {
    let (cx, fixture) = (Cx::default(), Fixture::index());
    fixture.fill(&cx, store).await.unwrap();
    for child in fixture.root().links().unwrap().children() {
        let raw = store
            .manifest(&cx, &Name::Digest(*child.digest()))
            .await
            .unwrap();
        assert_eq!(raw.digest(), child.digest());
    }
    assert_eq!(tags(store).await, [tag("latest"), tag("v1")]);
}

pub(super) async fn a_tag_moves(store: &dyn ImageStore) {
    let (cx, first, second) = (
        Cx::default(),
        image(store, "1").await,
        image(store, "2").await,
    );
    for manifest in [&first, &second] {
        store
            .put_manifest(&cx, manifest, Place::Root(&[tag("v1")]))
            .await
            .unwrap();
    }
    expect_manifest(store, &by_tag("v1"), &second).await;
    expect_manifest(store, &Name::Digest(*first.digest()), &first).await;
    assert_eq!(tags(store).await, [tag("v1")]);
}

pub(super) async fn an_untagged_root_is_found_by_digest(store: &dyn ImageStore) {
    let (cx, manifest) = (Cx::default(), image(store, "1").await);
    store
        .put_manifest(&cx, &manifest, Place::Root(&[]))
        .await
        .unwrap();
    expect_manifest(store, &Name::Digest(*manifest.digest()), &manifest).await;
    assert_eq!(tags(store).await, []);
}

pub(super) async fn writing_twice_is_writing_once(store: &dyn ImageStore) {
    let (cx, fixture) = (Cx::default(), Fixture::index());
    fixture.fill(&cx, store).await.unwrap();
    fixture.fill(&cx, store).await.unwrap();
    super::fixture::holds(store, &fixture).await;
}

pub(super) async fn many_tags_are_listed_in_order(store: &dyn ImageStore) {
    let (cx, manifest) = (Cx::default(), image(store, "1").await);
    let mut all: Vec<Tag> = (0..150).rev().map(|n| tag(&format!("t{n}"))).collect();
    for some in all.chunks(50) {
        store
            .put_manifest(&cx, &manifest, Place::Root(some))
            .await
            .unwrap();
    }
    all.sort();
    assert_eq!(tags(store).await, all);
}

pub(super) async fn a_deleted_manifest_takes_its_tags(store: &dyn ImageStore) {
    let (cx, gone, kept) = (
        Cx::default(),
        image(store, "1").await,
        image(store, "2").await,
    );
    store
        .put_manifest(&cx, &gone, Place::Root(&[tag("a"), tag("b")]))
        .await
        .unwrap();
    store
        .put_manifest(&cx, &kept, Place::Root(&[tag("c")]))
        .await
        .unwrap();
    let name = Name::Digest(*gone.digest());
    store.delete(&cx, &name).await.unwrap();
    for name in [&name, &by_tag("a"), &by_tag("b")] {
        expect_class(store.resolve(&cx, name).await, Class::NotFound, "resolve");
    }
    expect_class(
        store.delete(&cx, &name).await,
        Class::NotFound,
        "delete again",
    );
    expect_manifest(store, &by_tag("c"), &kept).await;
}

pub(super) async fn a_deleted_tag_leaves_the_manifest(store: &dyn ImageStore) {
    let (cx, manifest) = (Cx::default(), image(store, "1").await);
    store
        .put_manifest(&cx, &manifest, Place::Root(&[tag("a"), tag("b")]))
        .await
        .unwrap();
    store.delete(&cx, &by_tag("a")).await.unwrap();
    expect_class(
        store.resolve(&cx, &by_tag("a")).await,
        Class::NotFound,
        "resolve",
    );
    expect_class(
        store.delete(&cx, &by_tag("a")).await,
        Class::NotFound,
        "delete again",
    );
    expect_manifest(store, &by_tag("b"), &manifest).await;
    expect_manifest(store, &Name::Digest(*manifest.digest()), &manifest).await;
    assert_eq!(tags(store).await, [tag("b")]);
}

pub(super) async fn referrers_are_listed(store: &dyn ImageStore) {
    let (cx, subject) = (Cx::default(), image(store, "1").await);
    store
        .put_manifest(&cx, &subject, Place::Root(&[tag("v1")]))
        .await
        .unwrap();
    let mut expected = Vec::new();
    for kind in ["test/sbom", "test/signature"] {
        let referrer = referrer(store, kind, &subject).await;
        store
            .put_manifest(&cx, &referrer, Place::Child)
            .await
            .unwrap();
        let kind = kind.parse().expect("a media type");
        let entry = referrer.descriptor().clone().with_artifact_type(kind);
        expected.push(entry.with_annotation("about", "v1"));
    }
    let mut listed = store.referrers(&cx, subject.digest()).await.unwrap();
    listed.sort_by_key(|entry| entry.artifact_type().cloned());
    assert_eq!(listed, expected);
    assert_eq!(tags(store).await, [tag("v1")], "referrers are not tags");
}

pub(super) async fn a_referrer_may_come_before_its_subject(store: &dyn ImageStore) {
    let (cx, subject) = (Cx::default(), image(store, "1").await);
    let referrer = referrer(store, "test/sbom", &subject).await;
    store
        .put_manifest(&cx, &referrer, Place::Child)
        .await
        .unwrap();
    let listed = store.referrers(&cx, subject.digest()).await.unwrap();
    assert_eq!(
        listed.iter().map(Descriptor::digest).collect::<Vec<_>>(),
        [referrer.digest()]
    );
}

pub(super) async fn a_deleted_referrer_is_no_more_listed(store: &dyn ImageStore) {
    let (cx, subject) = (Cx::default(), image(store, "1").await);
    store
        .put_manifest(&cx, &subject, Place::Root(&[tag("v1")]))
        .await
        .unwrap();
    let referrer = referrer(store, "test/sbom", &subject).await;
    store
        .put_manifest(&cx, &referrer, Place::Child)
        .await
        .unwrap();
    store
        .delete(&cx, &Name::Digest(*referrer.digest()))
        .await
        .unwrap();
    assert_eq!(store.referrers(&cx, subject.digest()).await.unwrap(), []);
}

pub(super) async fn sha512_names_manifests(store: &dyn ImageStore) {
    let (cx, plain) = (Cx::default(), image(store, "1").await);
    let bytes = plain.bytes().clone();
    let manifest = RawManifest::with_algorithm(MediaType::OCI_MANIFEST, bytes, Algorithm::Sha512);
    store
        .put_manifest(&cx, &manifest, Place::Root(&[]))
        .await
        .unwrap();
    expect_manifest(store, &Name::Digest(*manifest.digest()), &manifest).await;
}

async fn expect_manifest(store: &dyn ImageStore, name: &Name, expected: &RawManifest) {
    let cx = Cx::default();
    let there = store
        .manifest(&cx, name)
        .await
        .expect("the manifest is there");
    assert_eq!(&there, expected, "manifest {name}");
    let descriptor = store
        .resolve(&cx, name)
        .await
        .expect("the manifest is there");
    assert_eq!(&descriptor, expected.descriptor(), "resolve {name}");
}

async fn tags(store: &dyn ImageStore) -> Vec<Tag> {
    store
        .tags(&Cx::default())
        .try_collect()
        .await
        .expect("tags are listed")
}

/// An image without layers; its config is written.
async fn image(store: &dyn ImageStore, text: &str) -> RawManifest {
    let config = json!({"author": text, "rootfs": {"type": "layers", "diff_ids": []}});
    let config = BytesBlob::new(MediaType::OCI_CONFIG, config.to_string());
    store
        .put_blob(&Cx::default(), &config)
        .await
        .expect("a config is written");
    let json = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config.descriptor(), "layers": [],
    });
    RawManifest::new(MediaType::OCI_MANIFEST, json.to_string())
}

async fn referrer(store: &dyn ImageStore, kind: &str, subject: &RawManifest) -> RawManifest {
    let json = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
        "config": put_empty_config(store).await, "layers": [],
        "subject": subject.descriptor(), "annotations": {"about": "v1"},
    });
    RawManifest::new(MediaType::OCI_MANIFEST, json.to_string())
}

async fn put_empty_config(store: &dyn ImageStore) -> Descriptor {
    let config = BytesBlob::new(MediaType::OCI_EMPTY, "{}");
    store
        .put_blob(&Cx::default(), &config)
        .await
        .expect("a config is written");
    config.descriptor().clone()
}
