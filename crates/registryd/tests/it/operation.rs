//! Running a server: health, counters, drain, many and slow clients.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use ocicore::{BoxStream, Class, Digest, Result};
use registryd::{
    Limits, Server,
    storage::{Key, MemoryStorage, Meta, Object, Storage, Upload, UploadId, Version, When},
};
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
        "registryd_request_seconds_count 3",
        "registryd_connections 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
}

/// A storage whose disk is full or gone while told so.
#[derive(Debug)]
struct Broken {
    inner: MemoryStorage,
    class: Class,
    is_broken: Arc<AtomicBool>,
}

impl Broken {
    fn check(&self) -> Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            let why = "/secret/path cannot be written";
            return Err(ocicore::Error::store("write", "x", "y", self.class, why));
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for Broken {
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Object>> {
        self.check()?;
        self.inner.open(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        self.check()?;
        self.inner.head(key).await
    }
    async fn put(&self, key: &Key, bytes: Bytes, when: When<'_>) -> Result<Version> {
        self.check()?;
        self.inner.put(key, bytes, when).await
    }
    async fn delete(&self, key: &Key, when: When<'_>) -> Result<()> {
        self.check()?;
        self.inner.delete(key, when).await
    }
    fn list(&self, prefix: &Key, after: Option<&Key>) -> BoxStream<(Key, Meta)> {
        self.inner.list(prefix, after)
    }
    async fn begin(&self) -> Result<Box<dyn Upload>> {
        self.check()?;
        self.inner.begin().await
    }
    async fn resume(&self, id: &UploadId) -> Result<Option<Box<dyn Upload>>> {
        self.check()?;
        self.inner.resume(id).await
    }
    fn uploads(&self) -> BoxStream<(UploadId, SystemTime)> {
        self.inner.uploads()
    }
}

#[tokio::test]
async fn a_storage_that_fails_is_told_without_its_paths() {
    for (class, status) in [
        (Class::Exhausted, 507),
        (Class::Transient, 503),
        (Class::Other, 500),
    ] {
        let is_broken = Arc::new(AtomicBool::new(false));
        let storage = Broken {
            inner: MemoryStorage::new(),
            class,
            is_broken: Arc::clone(&is_broken),
        };
        let peer = Peer::start(Server::builder(storage)).await;
        let image = peer.push_image("a", "1", b"layer").await;
        is_broken.store(true, Ordering::Relaxed);
        let digest = Digest::of(b"x");
        for (method, path) in [
            ("GET", "/healthz".to_owned()),
            ("GET", "/v2/a/manifests/1".to_owned()),
            ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
        ] {
            let answer = peer.request(method, &path).body("x").send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let text = answer.text().await.unwrap();
            assert!(
                text.contains("\"UNKNOWN\"") && !text.contains("secret"),
                "{text}"
            );
        }
        is_broken.store(false, Ordering::Relaxed);
        assert_eq!(peer.send("GET", "/healthz").await.status(), 200);
        let found = peer.send("GET", "/v2/a/manifests/1").await;
        assert_eq!(found.text().await.unwrap(), image);
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
async fn who_does_not_take_an_answer_is_given_up() {
    let limits = Limits::default().with_silence(Duration::from_millis(200));
    let peer = Peer::start(Server::builder(MemoryStorage::new()).limits(limits)).await;
    // More than the kernel keeps for a connection.
    let content = vec![7; 64 << 20];
    let digest = peer.push_blob("a", &content).await;
    let mut wire = TcpStream::connect(peer.server.addr()).await.unwrap();
    let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    wire.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    // Until it is the only one, the other one being that of who asks.
    loop {
        let metrics = peer.send("GET", "/metrics").await.text().await.unwrap();
        if metrics
            .lines()
            .any(|line| line == "registryd_connections 1")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut rest = Vec::new();
    // It may end with an error, as it was not closed in good order.
    drop(wire.read_to_end(&mut rest).await);
    assert!(rest.len() < content.len());
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
