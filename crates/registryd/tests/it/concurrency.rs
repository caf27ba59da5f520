//! Many clients at once, on two servers that share a directory.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future;
use ocicore::{Digest, MediaType};
use registryd::Server;
use reqwest::Response;
use serde_json::json;

use crate::client::{Peer, descriptor, disk, header};

async fn two_servers(directory: &tempfile::TempDir) -> [Peer; 2] {
    let start = || Peer::start(Server::builder(disk(directory)));
    [start().await, start().await]
}

fn content(len: u32, seed: u32) -> Vec<u8> {
    (0..len).map(|n| ((n ^ seed) % 251) as u8).collect()
}

/// In chunks, so that the uploads are under way at the same time.
async fn upload(peer: &Peer, content: &[u8], digest: &Digest) -> Response {
    let begun = peer.send("POST", "/v2/a/blobs/uploads/").await;
    let location = header(&begun, "location");
    for part in content.chunks(content.len() / 4 + 1) {
        let patch = peer.request("PATCH", &location).body(part.to_vec());
        assert_eq!(patch.send().await.unwrap().status(), 202);
    }
    peer.send("PUT", &format!("{location}?digest={digest}"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_is_pushed_by_many_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let peers = two_servers(&directory).await;
    let content = content(2_000_000, 0);
    let digest = Digest::of(&content);
    let path = format!("/v2/a/blobs/{digest}");
    let stop = AtomicBool::new(false);
    let writers = async {
        let all = (0..16).map(|n| upload(&peers[n % 2], &content, &digest));
        for answer in future::join_all(all).await {
            assert_eq!(answer.status(), 201);
        }
        stop.store(true, Ordering::Relaxed);
    };
    // Whoever reads meanwhile gets nothing or the whole; once there, it does not go.
    let reader = async |peer: &Peer| {
        let mut was_there = false;
        while !stop.load(Ordering::Relaxed) {
            let found = peer.send("GET", &path).await;
            match found.status().as_u16() {
                200 => {
                    assert!(found.bytes().await.unwrap() == content);
                    was_there = true;
                }
                404 => assert!(!was_there),
                other => panic!("{other}"),
            }
        }
        let found = peer.send("GET", &path).await;
        assert!(found.bytes().await.unwrap() == content);
    };
    future::join3(writers, reader(&peers[0]), reader(&peers[1])).await;
    let uploads = std::fs::read_dir(directory.path().join(".uploads"));
    assert_eq!(uploads.unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_leads_to_one_image_or_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let peers = two_servers(&directory).await;
    let config = b"{}";
    peers[0].push_blob("a", config).await;
    // Of other lengths, so that a part of one in the other would show.
    let images = [10, 50_000].map(|len| {
        json!({
            "schemaVersion": 2,
            "config": descriptor(MediaType::OCI_CONFIG, config),
            "layers": [],
            "annotations": { "note": "x".repeat(len) },
        })
        .to_string()
    });
    let put = async |peer: &Peer, image: &str| {
        let put = peer.put_manifest("a", "moving", MediaType::OCI_MANIFEST, image);
        assert_eq!(put.await.status(), 201);
    };
    put(&peers[0], &images[0]).await;
    let stop = AtomicBool::new(false);
    let writers = async {
        let write = async |n: usize| {
            for round in 0..100 {
                put(&peers[n], &images[(round + n) % 2]).await;
            }
        };
        future::join(write(0), write(1)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let reader = async |peer: &Peer| {
        let mut seen = [0; 2];
        while !stop.load(Ordering::Relaxed) {
            let found = peer.send("GET", "/v2/a/manifests/moving").await;
            assert_eq!(found.status(), 200);
            let digest = header(&found, "docker-content-digest");
            let text = found.text().await.unwrap();
            assert_eq!(digest, Digest::of(text.as_bytes()).to_string());
            let which = images.iter().position(|image| *image == text);
            seen[which.unwrap()] += 1;
        }
        seen
    };
    let ((), one, other) = future::join3(writers, reader(&peers[0]), reader(&peers[1])).await;
    let both = one[0] + other[0] > 0 && one[1] + other[1] > 0;
    assert!(both, "{one:?} {other:?}: it moved where somebody looked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_an_upload_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let peers = two_servers(&directory).await;
    let begun = peers[0].send("POST", "/v2/a/blobs/uploads/").await;
    let location = header(&begun, "location");
    let stop = AtomicBool::new(false);
    let content = content(100, 0);
    let writer = async {
        for (n, part) in content.chunks(2).enumerate() {
            let range = format!("{}-{}", 2 * n, 2 * n + 1);
            let patch = peers[n % 2].request("PATCH", &location);
            let patch = patch.header("content-range", range).body(part.to_vec());
            assert_eq!(patch.send().await.unwrap().status(), 202, "chunk {n}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    let looker = async {
        while !stop.load(Ordering::Relaxed) {
            let status = peers[0].send("GET", &location).await.status().as_u16();
            assert!(status == 204 || status == 409, "{status}");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    future::join(writer, looker).await;
    let digest = Digest::of(&content);
    let put = format!("{location}?digest={digest}");
    assert_eq!(peers[1].send("PUT", &put).await.status(), 201);
}
