//! Pushing over HTTP (distribution-spec §Push).

use bytes::Bytes;
use futures_util::stream;
use ocicore::{Algorithm, Digest, MediaType};
use registryd::{
    Limits, Server,
    storage::{Durability, FsStorage, MemoryStorage},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Peer, descriptor, disk, expect_fault, header};

async fn begin(peer: &Peer, query: &str) -> String {
    let response = peer
        .send("POST", &format!("/v2/a/b/blobs/uploads/{query}"))
        .await;
    assert_eq!(response.status(), 202);
    assert_eq!(header(&response, "range"), "0-0");
    let location = header(&response, "location");
    assert!(location.ends_with(&header(&response, "docker-upload-uuid")));
    location
}

async fn expect_blob(peer: &Peer, digest: &Digest, content: &[u8]) {
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

#[tokio::test]
async fn large_bodies_are_refused() {
    let limits = Limits::default().with_blob(1000);
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let large = " ".repeat((4 << 20) + 1);
    let response = peer
        .put_manifest("a", "1", MediaType::OCI_MANIFEST, &large)
        .await;
    expect_fault(response, 413, "SIZE_INVALID").await;
    // The largest that is taken, and one more byte without a length in its head.
    let largest = format!("{{\"manifests\":[]}}{}", " ".repeat((4 << 20) - 16));
    let response = peer
        .put_manifest("a", "1", MediaType::OCI_INDEX, &largest)
        .await;
    assert_eq!(response.status(), 201);
    let parts = [largest, " ".to_owned()].map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
    let response = peer
        .request("PUT", "/v2/a/manifests/2")
        .header("content-type", MediaType::OCI_INDEX.as_str())
        .body(reqwest::Body::wrap_stream(stream::iter(parts)));
    expect_fault(response.send().await.unwrap(), 413, "SIZE_INVALID").await;
    let smaller = Limits::default().with_manifest(100);
    let small = Peer::start(Server::builder(MemoryStorage::new()).limits(smaller)).await;
    for (len, status) in [(100, 201), (101, 413)] {
        let manifest = format!("{{\"manifests\":[]}}{}", " ".repeat(len - 16));
        let put = small.put_manifest("a", "1", MediaType::OCI_INDEX, &manifest);
        assert_eq!(put.await.status(), status, "{len}");
    }
    let location = begin(&peer, "").await;
    for (body, status) in [
        (vec![0; 1001], 413),
        (vec![0; 600], 202),
        (vec![0; 401], 413),
    ] {
        let response = peer.request("PATCH", &location).body(body).send().await;
        assert_eq!(response.unwrap().status(), status);
    }
    let digest = Digest::of(&[0; 600]);
    let put = peer
        .send("PUT", &format!("{location}?digest={digest}"))
        .await;
    assert_eq!(put.status(), 201);
}

/// What is below a directory, but for directories themselves.
fn files(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits::default().with_uploads(1).with_blob(1000);
    let peer = Peer::start(Server::builder(disk(&directory)).limits(limits)).await;
    let uploads = || files(&directory.path().join(".uploads"));
    let (digest, large) = (Digest::of(b"x"), vec![0; 1001]);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let post = |body: Vec<u8>| peer.request("POST", &path).body(body).send();
    expect_fault(post(large.clone()).await.unwrap(), 413, "SIZE_INVALID").await;
    expect_fault(post(vec![0]).await.unwrap(), 400, "DIGEST_INVALID").await;
    let lying = peer.request("POST", &path).header("content-range", "9-0");
    let lying = lying.body("x").send().await.unwrap();
    expect_fault(lying, 400, "UNSUPPORTED").await;
    assert_eq!(uploads(), [] as [String; 0]);

    // One that is not finished takes the only place of this client.
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    wire.write_all(head.as_bytes()).await.unwrap();
    while post(b"x".to_vec()).await.unwrap().status() != 429 {
        tokio::task::yield_now().await;
    }
    let begun = uploads();
    assert_eq!(begun.len(), 1);
    for _ in 0..5 {
        expect_fault(post(vec![0]).await.unwrap(), 429, "TOOMANYREQUESTS").await;
    }
    assert_eq!(uploads(), begun);
    // Nobody can go on with it, as nobody was told its name.
    drop(wire);
    while !uploads().is_empty() {
        tokio::task::yield_now().await;
    }
    peer.push_blob("a", b"x").await;
    assert_eq!(uploads(), [] as [String; 0]);
}

#[tokio::test]
async fn a_body_that_is_longer_than_it_says_is_cut() {
    Peer::each(async |peer| {
        let digest = Digest::of(b"abc");
        let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
        let request = format!(
            "POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcdef\r\n\r\n"
        );
        wire.write_all(request.as_bytes()).await.unwrap();
        let mut answers = String::new();
        wire.read_to_string(&mut answers).await.unwrap();
        // The rest is no request, and ends the connection.
        assert!(answers.starts_with("HTTP/1.1 201 "), "{answers}");
        assert!(answers.contains("HTTP/1.1 400 "), "{answers}");
        expect_blob(peer, &digest, b"abc").await;
    })
    .await;
}

#[tokio::test]
async fn no_name_leads_out_of_the_directory() {
    let outer = tempfile::tempdir().unwrap();
    let storage = FsStorage::with_durability(outer.path().join("store"), Durability::ProcessCrash);
    let peer = Peer::start(Server::builder(storage.unwrap())).await;
    let image = peer.push_image("a", "1", b"layer").await;
    let digest = Digest::of(image.as_bytes());
    let before = files(outer.path());
    let long = "a/".repeat(150) + "a";
    let names = [
        "..",
        "%2e%2e",
        "a/..",
        "a/../../x",
        "%2e%2e%2f%2e%2e%2fx",
        "a%2fb",
        "a%00b",
        ".uploads",
        "_blobs",
        "a/_tags",
        "a//b",
        "A",
        "a%5c..",
        "%ff",
        "-a",
        &long,
    ];
    let tags = ["..", "%2e%2e%2f1", ".x", "%00", "a%2fb", "1%2f..%2f2"];
    let ids = ["..", "%2e%2e%2fx", "../../x", "0"];
    let manifest = |path: &str| {
        // By hand, as clients resolve `..` themselves.
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n{image}",
            image.len()
        );
        let address = peer.server.addr();
        async move {
            let mut wire = TcpStream::connect(address).await.unwrap();
            wire.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            wire.read_to_string(&mut answer).await.unwrap();
            let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            assert!(
                ["400", "404"].contains(&status.as_str()),
                "{head}: {answer}"
            );
        }
    };
    for name in names {
        manifest(&format!("/v2/{name}/manifests/1")).await;
        manifest(&format!("/v2/{name}/manifests/{digest}")).await;
        manifest(&format!(
            "/v2/{name}/blobs/uploads/{}?digest={digest}",
            "0".repeat(32)
        ))
        .await;
    }
    for tag in tags {
        manifest(&format!("/v2/a/manifests/{tag}")).await;
    }
    for id in ids {
        manifest(&format!("/v2/a/blobs/uploads/{id}?digest={digest}")).await;
    }
    for query in [
        "mount=../x",
        &format!("mount={digest}&from=.."),
        "digest-algorithm=../x",
        "digest=sha256:../../x",
    ] {
        let path = format!("/v2/a/blobs/uploads/?{query}");
        assert_eq!(peer.send("POST", &path).await.status(), 400, "{query}");
    }
    assert_eq!(files(outer.path()), before);
    let found = peer.send("GET", "/v2/a/manifests/1").await;
    assert_eq!(found.text().await.unwrap(), image);
}
