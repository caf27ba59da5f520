//! Pushing over HTTP (distribution-spec §Push).

use bytes::Bytes;
use futures_util::stream;
use ocicore::{Algorithm, Digest, MediaType};
use registryd::Server;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::client::{Peer, descriptor, disk, expect_fault, header};

pub(crate) async fn begin(peer: &Peer, query: &str) -> String {
    let response = peer
        .send("POST", &format!("/v2/a/b/blobs/uploads/{query}"))
        .await;
    assert_eq!(response.status(), 202);
    assert_eq!(header(&response, "range"), "0-0");
    let location = header(&response, "location");
    assert!(location.ends_with(&header(&response, "docker-upload-uuid")));
    location
}

pub(crate) async fn expect_blob(peer: &Peer, digest: &Digest, content: &[u8]) {
    let path = format!("/v2/a/b/blobs/{digest}");
    let head = peer.send("HEAD", &path).await;
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-length"), content.len().to_string());
    let get = peer.send("GET", &path).await;
    assert_eq!(header(&get, "docker-content-digest"), digest.to_string());
    assert_eq!(get.bytes().await.unwrap(), content);
}

#[tokio::test]
async fn a_blob_comes_in_all_ways() {
    Peer::each(async |peer| {
        let content = b"some content";
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = algorithm.digest(content);
            let path = format!("/v2/a/b/blobs/{digest}");
            let put = async |location: &str, body: &'static [u8]| {
                let url = format!("{location}?digest={digest}");
                let response = peer.request("PUT", &url).body(body).send().await.unwrap();
                assert_eq!(response.status(), 201);
                assert_eq!(header(&response, "location"), path);
                assert_eq!(
                    header(&response, "docker-content-digest"),
                    digest.to_string()
                );
                expect_blob(peer, &digest, content).await;
                let gone = peer.send("DELETE", &path).await;
                assert_eq!(gone.status(), 202);
                peer.refused("GET", &path, 404, "BLOB_UNKNOWN").await;
            };
            // POST, then PUT with all.
            put(&begin(peer, "").await, content).await;
            let query = format!("?digest-algorithm={algorithm}");
            put(&begin(peer, &query).await, content).await;
            // POST, PATCH as a stream, PUT.
            let location = begin(peer, "").await;
            let parts = content
                .chunks(5)
                .map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
            let body = reqwest::Body::wrap_stream(stream::iter(parts.collect::<Vec<_>>()));
            let patch = peer
                .request("PATCH", &location)
                .body(body)
                .send()
                .await
                .unwrap();
            assert_eq!(patch.status(), 202);
            assert_eq!(header(&patch, "range"), "0-11");
            put(&header(&patch, "location"), b"").await;
            // POST, two chunks, the last one with PUT.
            let location = begin(peer, "").await;
            let patch = peer
                .request("PATCH", &location)
                .header("content-range", "0-4")
                .body(&content[..5]);
            assert_eq!(patch.send().await.unwrap().status(), 202);
            let status = peer.send("GET", &location).await;
            assert_eq!(status.status(), 204);
            assert_eq!(header(&status, "range"), "0-4");
            put(&location, &content[5..]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    Peer::each(async |peer| {
        let digest = Digest::of(b"");
        let response = peer
            .send("PUT", &format!("{}?digest={digest}", begin(peer, "").await))
            .await;
        assert_eq!(response.status(), 201);
        expect_blob(peer, &digest, b"").await;
    })
    .await;
}

#[tokio::test]
async fn chunks_that_lie_are_refused_and_change_nothing() {
    Peer::each(async |peer| {
        let location = begin(peer, "").await;
        let patch = async |range: &str, body: &'static str| {
            let request = peer
                .request("PATCH", &location)
                .header("content-range", range);
            request.body(body).send().await.unwrap()
        };
        assert_eq!(patch("0-3", "abcd").await.status(), 202);
        for (range, body, status, code) in [
            ("0-3", "abcd", 416, "BLOB_UPLOAD_INVALID"),
            ("5-6", "ef", 416, "BLOB_UPLOAD_INVALID"),
            ("4-9", "ef", 400, "SIZE_INVALID"),
            ("9-4", "ef", 400, "UNSUPPORTED"),
            ("-1-4", "ef", 400, "UNSUPPORTED"),
            ("x", "ef", 400, "UNSUPPORTED"),
        ] {
            expect_fault(patch(range, body).await, status, code).await;
        }
        // A chunk without a length in its head, which is found out at its end.
        let parts = stream::iter([Ok::<_, std::io::Error>(Bytes::from("efg"))]);
        let lying = peer
            .request("PATCH", &location)
            .header("content-range", "4-5")
            .body(reqwest::Body::wrap_stream(parts));
        expect_fault(lying.send().await.unwrap(), 400, "SIZE_INVALID").await;

        let status = peer.send("GET", &location).await;
        assert_eq!(header(&status, "range"), "0-3");
        let digest = Digest::of(b"abcd");
        let done = peer
            .send("PUT", &format!("{location}?digest={digest}"))
            .await;
        assert_eq!(done.status(), 201);
        expect_blob(peer, &digest, b"abcd").await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_digest_is_refused() {
    Peer::each(async |peer| {
        let wrong = Digest::of(b"other");
        let url = format!("/v2/a/b/blobs/uploads/?digest={wrong}");
        let response = peer.request("POST", &url).body("content").send().await;
        expect_fault(response.unwrap(), 400, "DIGEST_INVALID").await;
        peer.refused(
            "GET",
            &format!("/v2/a/b/blobs/{wrong}"),
            404,
            "BLOB_UNKNOWN",
        )
        .await;
        for digest in ["", "?digest=", "?digest=sha256:12", "?digest=md5:12"] {
            let url = format!("{}{digest}", begin(peer, "").await);
            let response = peer.send("PUT", &url).await;
            assert_eq!(response.status(), 400, "{digest}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_is_cancelled() {
    Peer::each(async |peer| {
        let location = begin(peer, "").await;
        let other = location.replace("/a/b/", "/c/");
        peer.refused("GET", &other, 404, "BLOB_UPLOAD_UNKNOWN")
            .await;
        assert_eq!(peer.send("DELETE", &location).await.status(), 204);
        for method in ["GET", "PATCH", "DELETE"] {
            peer.refused(method, &location, 404, "BLOB_UPLOAD_UNKNOWN")
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_mounted() {
    Peer::each(async |peer| {
        let digest = peer.push_blob("x/y", b"content").await;
        for query in [
            format!("mount={digest}&from=x/y"),
            format!("mount={digest}"),
        ] {
            let path = format!("/v2/a/b/blobs/uploads/?{query}");
            assert_eq!(peer.send("POST", &path).await.status(), 201);
            expect_blob(peer, &digest, b"content").await;
            peer.send("DELETE", &format!("/v2/a/b/blobs/{digest}"))
                .await;
        }
        let missing = Digest::of(b"missing");
        for query in [
            format!("?mount={missing}&from=x/y"),
            format!("?mount={digest}&from=x/z"),
            format!("?mount={missing}"),
        ] {
            begin(peer, &query).await;
        }
        let bad = format!("/v2/a/b/blobs/uploads/?mount={digest}&from=../x");
        peer.refused("POST", &bad, 400, "NAME_INVALID").await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let peer = Peer::start(Server::builder(disk(&directory))).await;
        let location = begin(&peer, &format!("?digest-algorithm={algorithm}")).await;
        let patch = peer.request("PATCH", &location).body(vec![1; 100_001]);
        assert_eq!(patch.send().await.unwrap().status(), 202);
        peer.server.shutdown().await;

        let peer = Peer::start(Server::builder(disk(&directory))).await;
        let status = peer.send("GET", &location).await;
        assert_eq!(header(&status, "range"), "0-100000");
        let patch = peer
            .request("PATCH", &location)
            .header("content-range", "100001-100003")
            .body(vec![1; 3]);
        assert_eq!(patch.send().await.unwrap().status(), 202);
        let digest = algorithm.digest(&vec![1; 100_004]);
        let put = peer
            .send("PUT", &format!("{location}?digest={digest}"))
            .await;
        assert_eq!(put.status(), 201);
        expect_blob(&peer, &digest, &vec![1; 100_004]).await;
    }
}

#[tokio::test]
async fn what_a_client_broke_off_is_kept() {
    Peer::each(async |peer| {
        let location = begin(peer, "").await;
        let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
        let request =
            format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
        wire.write_all(request.as_bytes()).await.unwrap();
        drop(wire);
        // The server notices in its own time; until then, the upload is in use.
        let status = loop {
            let status = peer.send("GET", &location).await;
            if header(&status, "range") == "0-2" {
                break status;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(status.status(), 204);
        let digest = Digest::of(b"abcdef");
        let put = peer
            .request("PUT", &format!("{location}?digest={digest}"))
            .body("def");
        assert_eq!(put.send().await.unwrap().status(), 201);
    })
    .await;
}

#[tokio::test]
async fn a_manifest_is_checked() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        let put = async |reference: &str, media_type: MediaType, manifest: &str| {
            peer.put_manifest("a", reference, media_type, manifest)
                .await
        };
        let missing = json!({
            "schemaVersion": 2,
            "config": descriptor(MediaType::OCI_CONFIG, b"missing"),
            "layers": [],
        })
        .to_string();
        let wrong_size = image.replace("\"size\":5", "\"size\":6");
        let wrong = format!("sha256:{}", "0".repeat(64));
        for (reference, media_type, manifest, code) in [
            (
                wrong.as_str(),
                MediaType::OCI_MANIFEST,
                image.as_str(),
                "DIGEST_INVALID",
            ),
            ("1", MediaType::OCI_INDEX, &image, "MANIFEST_INVALID"),
            ("1", MediaType::DOCKER_MANIFEST, &image, "MANIFEST_INVALID"),
            ("1", MediaType::OCI_MANIFEST, "{", "MANIFEST_INVALID"),
            ("1", MediaType::OCI_MANIFEST, "[]", "MANIFEST_INVALID"),
            (
                "1",
                MediaType::OCI_MANIFEST,
                &missing,
                "MANIFEST_BLOB_UNKNOWN",
            ),
            ("1", MediaType::OCI_MANIFEST, &wrong_size, "SIZE_INVALID"),
        ] {
            expect_fault(put(reference, media_type, manifest).await, 400, code).await;
        }
        let found = peer.send("GET", "/v2/a/manifests/1").await;
        assert_eq!(found.text().await.unwrap(), image);

        // An image of which some is missing may be what a client keeps; one without any is none.
        let with = |layers: &[serde_json::Value]| {
            json!({
                "schemaVersion": 2,
                "config": descriptor(MediaType::OCI_CONFIG, b"{}"),
                "layers": layers,
            })
            .to_string()
        };
        let (here, elsewhere) = (
            descriptor(MediaType::OCI_LAYER, b"layer"),
            descriptor(MediaType::OCI_LAYER, b"elsewhere"),
        );
        let mut with_url = elsewhere.clone();
        with_url["urls"] = json!(["https://example.org/layer"]);
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let foreign = descriptor(foreign.parse().unwrap(), b"elsewhere");
        for (layers, status) in [
            (&[elsewhere.clone()][..], 400),
            (&[here, elsewhere], 201),
            (&[with_url], 201),
            (&[foreign], 201),
            (&[], 201),
        ] {
            let response = put("part", MediaType::OCI_MANIFEST, &with(layers)).await;
            assert_eq!(response.status(), status, "{layers:?}");
            if status == 400 {
                expect_fault(response, 400, "MANIFEST_BLOB_UNKNOWN").await;
            }
        }

        // Children of an index may be elsewhere.
        let sparse = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": [descriptor(MediaType::OCI_MANIFEST, b"elsewhere")],
        })
        .to_string();
        let response = put("sparse", MediaType::OCI_INDEX, &sparse).await;
        assert_eq!(response.status(), 201);
        // Unknown types are kept as they are.
        let odd = "{\"b\":1,  \"a\":[2]}\n";
        let response = put("odd", "application/x.odd+json".parse().unwrap(), odd).await;
        assert_eq!(response.status(), 201);
        let found = peer.send("GET", "/v2/a/manifests/odd").await;
        assert_eq!(header(&found, "content-type"), "application/x.odd+json");
        assert_eq!(found.text().await.unwrap(), odd);
    })
    .await;
}

#[tokio::test]
async fn a_push_by_digest_may_name_tags() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        let digest = Digest::of(image.as_bytes());
        let reference = format!("{digest}?tag=2&tag=3.0");
        let response = peer
            .put_manifest("a", &reference, MediaType::OCI_MANIFEST, &image)
            .await;
        assert_eq!(response.status(), 201);
        let tags: Vec<_> = response.headers().get_all("oci-tag").iter().collect();
        assert_eq!(tags, ["2", "3.0"]);
        let tags = peer
            .send("GET", "/v2/a/tags/list")
            .await
            .text()
            .await
            .unwrap();
        assert_eq!(tags, r#"{"name":"a","tags":["1","2","3.0"]}"#);
        let bad = format!("{digest}?tag=-x");
        let response = peer
            .put_manifest("a", &bad, MediaType::OCI_MANIFEST, &image)
            .await;
        expect_fault(response, 400, "TAG_INVALID").await;
    })
    .await;
}
