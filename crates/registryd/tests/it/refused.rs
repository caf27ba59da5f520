//! Bodies and names that are refused, and what they leave behind: nothing.

use bytes::Bytes;
use futures_util::stream;
use ocicore::{Digest, MediaType};
use registryd::{
    Limits, Server,
    storage::{Durability, FsStorage, MemoryStorage},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Peer, disk, expect_fault},
    push::{begin, expect_blob},
};

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
    while uploads().is_empty() {
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
    // The place is free a moment after the file is gone.
    while post(b"x".to_vec()).await.unwrap().status() != 201 {
        tokio::task::yield_now().await;
    }
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
