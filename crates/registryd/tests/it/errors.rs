//! What clients are told, and input that is meant to hurt.

use ocicore::{Digest, MediaType};
use serde_json::{Value, json};

use crate::client::{Peer, descriptor};

#[tokio::test]
async fn every_message() {
    let peer = Peer::memory().await;
    let digest = Digest::of(b"x");
    peer.push_image("a", "1", b"layer").await;
    let mut shown = String::new();
    for (method, path) in [
        ("GET", "/v2/..%2Fetc/tags/list".to_owned()),
        ("GET", format!("/v2/{}/tags/list", "a".repeat(300))),
        ("GET", "/v2/Upper/tags/list".to_owned()),
        ("GET", "/v2/none/tags/list".to_owned()),
        ("GET", "/v2/a/manifests/-x".to_owned()),
        ("GET", "/v2/a/manifests/sha256:12".to_owned()),
        ("GET", "/v2/a/manifests/md5:12".to_owned()),
        ("GET", "/v2/a/manifests/2".to_owned()),
        ("GET", format!("/v2/a/blobs/{digest}")),
        (
            "GET",
            "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef".to_owned(),
        ),
        ("GET", "/v2/a/blobs/uploads/x".to_owned()),
        ("GET", "/v2/a/tags/list?n=x".to_owned()),
        ("GET", format!("/v2/a/referrers/{digest}?artifactType=x")),
        ("GET", "/v2/a/nothing".to_owned()),
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=md5".to_owned(),
        ),
        ("PUT", "/v2/a/manifests/1".to_owned()),
        ("PUT", format!("/v2/a/manifests/{digest}")),
        ("DELETE", "/v2/a/manifests/2".to_owned()),
    ] {
        let response = peer.send(method, &path).await;
        let status = response.status().as_u16();
        let document: Value = response.json().await.unwrap();
        let error = &document["errors"][0];
        let path = path.replace(&"a".repeat(300), "aaa…");
        let message = error["message"].as_str().unwrap();
        let message = message.replace(&"a".repeat(256), "aaa…");
        let code = error["code"].as_str().unwrap();
        shown.push_str(&format!("{method} {path}\n  {status} {code}: {message}\n"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn hostile_manifests_do_no_harm() {
    Peer::each(async |peer| {
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let bomb = format!("{{\"annotations\":{nested}}}");
        let deep = format!("{{\"manifests\":[{}]}}", "{\"platform\":".repeat(200));
        for manifest in [
            nested.as_str(),
            &bomb,
            &deep,
            "\u{0}",
            "null",
            "{\"config\":{}}",
        ] {
            let put = peer
                .put_manifest("a", "1", MediaType::OCI_INDEX, manifest)
                .await;
            crate::client::expect_fault(put, 400, "MANIFEST_INVALID").await;
        }
        // An index of an index, and so on: each is a manifest like any other.
        let mut inner = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
        for depth in 0..50 {
            let put = peer
                .put_manifest("a", &format!("t{depth}"), MediaType::OCI_INDEX, &inner)
                .await;
            assert_eq!(put.status(), 201);
            inner = json!({
                "schemaVersion": 2,
                "manifests": [descriptor(MediaType::OCI_INDEX, inner.as_bytes())],
            })
            .to_string();
        }
        let many = vec![descriptor(MediaType::OCI_MANIFEST, b"elsewhere"); 15_000];
        let wide = json!({ "schemaVersion": 2, "manifests": many }).to_string();
        let put = peer
            .put_manifest("a", "wide", MediaType::OCI_INDEX, &wide)
            .await;
        assert_eq!(put.status(), 201);
    })
    .await;
}
