//! Running a server: health, counters, drain, many and slow clients.

use std::time::Duration;

use ocicore::Digest;
use registryd::{Limits, Server, storage::MemoryStorage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Peer, header};

#[tokio::test]
async fn health_and_counters_are_served() {
    let peer = Peer::memory().await;
    let health = peer.send("GET", "/healthz").await;
    assert_eq!(health.status(), 200);
    assert_eq!(health.text().await.unwrap(), "ok\n");
    peer.push_blob("a", b"12345").await;
    peer.send("GET", &format!("/v2/a/blobs/{}", Digest::of(b"12345")))
        .await;
    let metrics = peer.send("GET", "/metrics").await;
    assert!(header(&metrics, "content-type").starts_with("text/plain"));
    let metrics = metrics.text().await.unwrap();
    for line in [
        "registryd_requests_total{method=\"POST\",status=\"201\"} 1",
        "registryd_requests_total{method=\"GET\",status=\"200\"} 2",
        "registryd_received_bytes_total 5",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
}

#[tokio::test]
async fn a_request_in_progress_is_finished_before_the_end() {
    let peer = Peer::memory().await;
    let address = peer.server.addr();
    let begun = peer.send("POST", "/v2/a/blobs/uploads/").await;
    let location = header(&begun, "location");
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut wire = TcpStream::connect(address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    wire.write_all(head.as_bytes()).await.unwrap();
    // The server has begun to work on it once others find the upload in use.
    while peer.send("GET", &location).await.status() != 409 {
        tokio::task::yield_now().await;
    }
    let Peer { server, .. } = peer;
    let shutdown = tokio::spawn(server.shutdown());
    assert_eq!(
        idle.read(&mut [0; 1]).await.unwrap(),
        0,
        "idle connections end"
    );
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!shutdown.is_finished());
    wire.write_all(b"def").await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    shutdown.await.unwrap();
}

#[tokio::test]
async fn a_client_has_so_many_uploads_and_no_more() {
    let limits = Limits::default().with_uploads(1);
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let begun = peer.send("POST", "/v2/a/blobs/uploads/").await;
    let location = header(&begun, "location");
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    wire.write_all(head.as_bytes()).await.unwrap();
    while peer.send("GET", &location).await.status() != 409 {
        tokio::task::yield_now().await;
    }
    let digest = Digest::of(b"x");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let refused = peer.request("POST", &path).body("x").send().await.unwrap();
    assert_eq!(header(&refused, "retry-after"), "1");
    crate::client::expect_fault(refused, 429, "TOOMANYREQUESTS").await;
    wire.write_all(b"def").await.unwrap();
    wire.read_exact(&mut [0; 12]).await.unwrap();
    peer.push_blob("a", b"x").await;
}

#[tokio::test]
async fn a_slow_head_is_not_waited_for() {
    let limits = Limits::default().with_header_time(Duration::from_millis(100));
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    wire.write_all(b"GET /v2/ HTTP/1.1\r\nHost: ")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Ends, with an answer or without.
    let end = wire.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(peer.send("GET", "/v2/").await.status(), 200);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_kept() {
    let limits = Limits::default().with_silence(Duration::from_millis(200));
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let begun = peer.send("POST", "/v2/a/blobs/uploads/").await;
    let location = header(&begun, "location");
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("nothing came for 0.2 s"), "{answer}");
    let status = peer.send("GET", &location).await;
    assert_eq!(header(&status, "range"), "0-2");
}

#[tokio::test]
async fn a_manifest_that_trickles_is_given_up() {
    let limits = Limits::default()
        .with_header_time(Duration::from_millis(200))
        .with_manifests(1);
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    let head =
        "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{";
    wire.write_all(head.as_bytes()).await.unwrap();
    // It had all the room, for which this one waits.
    peer.push_image("a", "2", b"layer").await;
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_given_up() {
    let limits = Limits::default().with_silence(Duration::from_millis(200));
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    assert_eq!(wire.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let limits = Limits::default().with_connections(1);
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    let ask = async || {
        let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        wire.write_all(request).await.unwrap();
        wire
    };
    let mut first = ask().await;
    first.read_exact(&mut [0; 12]).await.unwrap();
    let mut second = ask().await;
    let mut status = [0; 12];
    let early = second.read_exact(&mut status);
    let early = tokio::time::timeout(Duration::from_millis(100), early).await;
    assert!(early.is_err(), "it is served beside the first");
    drop(first);
    second.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
