//! Many clients, and clients that mean harm: the server goes on, and takes little memory.

use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use ocicore::{Digest, MediaType};
use reqwest::Client;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{client::descriptor, process::Process};

/// MiB that a server takes at most for the bad input below, of which the bodies alone are more. A
/// build without optimizations takes about 20 before the first request.
const MOST: u64 = 256;

/// As many open files as the system lets this process and its children have.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn client() -> Client {
    // Each request on its own connection, so that a refused one does not matter to the next.
    Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// How much more memory a server has than `before`, in KiB for each of so many clients.
#[expect(clippy::print_stdout, reason = "`--nocapture` shows what was measured")]
fn share(server: &Process, before: u64, what: &str, clients: usize) -> u64 {
    let grown = server.resident().saturating_sub(before);
    let share = grown / clients as u64;
    println!("{clients} {what}: {before} KiB before, {grown} KiB more, {share} KiB each");
    share
}

async fn push_blob(http: &Client, server: &Process, content: &[u8]) -> String {
    let digest = Digest::of(content);
    let base = format!("http://{}/v2/a/blobs", server.address);
    let url = format!("{base}/uploads/?digest={digest}");
    let put = http.post(url).body(content.to_vec()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    format!("{base}/{digest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_are_borne() {
    allow_files();
    let directory = tempfile::tempdir().unwrap();
    let server = Process::start(directory.path());
    let http = client();
    let blob = push_blob(&http, &server, &vec![7; 1_000_000]).await;
    let before = server.resident();
    // Some that have sent nothing, some in the midst of a head, some that wait after an answer.
    let idle = stream::iter(0..2000).map(|n| async move {
        let mut wire = TcpStream::connect(server.address).await.unwrap();
        if n % 3 == 1 {
            wire.write_all(b"GET /v2/ HTTP/1.1\r\nHost: ")
                .await
                .unwrap();
        }
        if n % 3 == 2 {
            wire.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            wire.read_exact(&mut [0; 12]).await.unwrap();
        }
        wire
    });
    let idle: Vec<TcpStream> = idle.buffer_unordered(100).collect().await;
    let each = share(&server, before, "idle connections", idle.len());
    assert!(each < 24, "{each} KiB each");
    let found = http.get(&blob).send().await.unwrap();
    assert_eq!(found.bytes().await.unwrap().len(), 1_000_000);
    push_blob(&http, &server, b"another").await;
    let metrics = http.get(format!("http://{}/metrics", server.address));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("registryd_connections "));
    let open: usize = open.unwrap().parse().unwrap();
    // Those without an end of their head are given up after a while.
    assert!(open > 1000, "{open} of {} connections", idle.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_to_read_hold_little_memory() {
    allow_files();
    let directory = tempfile::tempdir().unwrap();
    let server = Process::start(directory.path());
    let http = client();
    let content: Vec<u8> = (0..16_u32 << 20).map(|n| (n % 251) as u8).collect();
    let url = push_blob(&http, &server, &content).await;
    let path = url.split_once("/v2/").unwrap().1;
    let head = format!("GET /v2/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let before = server.resident();
    let stopped = stream::iter(0..200).map(|_| async {
        let mut wire = TcpStream::connect(server.address).await.unwrap();
        wire.write_all(head.as_bytes()).await.unwrap();
        let mut begin = vec![0; 256 << 10];
        wire.read_exact(&mut begin).await.unwrap();
        (wire, begin)
    });
    let mut stopped: Vec<_> = stopped.buffer_unordered(20).collect().await;
    let each = share(&server, before, "readers that stopped", stopped.len());
    assert!(each < 384, "{each} KiB each");
    // Others are served, and so is who goes on.
    let found = http.get(&url).send().await.unwrap().bytes().await.unwrap();
    assert!(found == content);
    let (mut wire, mut all) = stopped.pop().unwrap();
    let start = all.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    while all.len() < start + content.len() {
        assert_ne!(wire.read_buf(&mut all).await.unwrap(), 0);
    }
    assert!(all[start..] == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_to_write_hold_little_memory() {
    const ALL: usize = 4 << 20;
    const SENT: usize = 1200 << 10;
    allow_files();
    let directory = tempfile::tempdir().unwrap();
    let server = Process::start(directory.path());
    let http = client();
    let content: Vec<u8> = (0..=u8::MAX).cycle().take(ALL).collect();
    push_blob(&http, &server, &content[..1_000_000]).await;
    let before = server.resident();
    let stopped = stream::iter(0..200).map(|_| async {
        let begin = http.post(format!("http://{}/v2/a/blobs/uploads/", server.address));
        let begun = begin.send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let mut wire = TcpStream::connect(server.address).await.unwrap();
        let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {ALL}\r\n\r\n");
        wire.write_all(head.as_bytes()).await.unwrap();
        wire.write_all(&content[..SENT]).await.unwrap();
        let file = location.rsplit('/').next().unwrap();
        let file = directory.path().join(".uploads").join(file);
        // What came is written in the end, though it is not enough for a step.
        while std::fs::metadata(&file).unwrap().len() < SENT as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (wire, location)
    });
    let mut stopped: Vec<_> = stopped.buffer_unordered(20).collect().await;
    let each = share(&server, before, "writers that stopped", stopped.len());
    assert!(each < 256, "{each} KiB each");
    // Others are served, and so is who goes on.
    push_blob(&http, &server, b"another").await;
    let (mut wire, location) = stopped.pop().unwrap();
    wire.write_all(&content[SENT..]).await.unwrap();
    let mut status = [0; 12];
    wire.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 202");
    let digest = Digest::of(&content);
    let end = http.put(format!(
        "http://{}{location}?digest={digest}",
        server.address
    ));
    assert_eq!(end.send().await.unwrap().status(), 201);
}

/// Bodies that are refused, each in its way.
fn manifests() -> Vec<(u16, String)> {
    let annotations: Vec<String> = (0..300_000).map(|n| format!("\"{n}\":\"\"")).collect();
    let many = vec![descriptor(MediaType::OCI_LAYER, b"x"); 20_000];
    let config = descriptor(MediaType::OCI_CONFIG, b"{}");
    vec![
        (413, "x".repeat(5 << 20)),
        (400, "[".repeat(4 << 20)),
        (
            400,
            format!("{{\"annotations\":{}", "{\"a\":".repeat(600_000)),
        ),
        (
            400,
            format!("{{\"annotations\":{{{}}}}}", annotations.join(",")),
        ),
        (
            400,
            json!({ "schemaVersion": 2, "config": config, "layers": many }).to_string(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_takes_little_memory() {
    allow_files();
    let directory = tempfile::tempdir().unwrap();
    let server = Process::start(directory.path());
    let http = client();
    let kept = push_blob(&http, &server, &vec![7; 8 << 20]).await;
    let url = format!("http://{}/v2/a", server.address);

    let bodies = manifests();
    let puts = (0..60).map(|n| {
        let (status, body) = bodies[n % bodies.len()].clone();
        let put = http
            .put(format!("{url}/manifests/{n}"))
            .header("content-type", MediaType::OCI_MANIFEST.as_str())
            .body(body);
        async move {
            match put.send().await {
                Ok(answer) => assert_eq!(answer.status(), status, "manifest {n}"),
                // The server does not read on what it refuses by its announced length.
                Err(error) => assert_eq!(status, 413, "manifest {n}: {error:?}"),
            }
        }
    });
    future::join_all(puts).await;
    assert!(server.peak() < MOST, "manifests: {} MiB", server.peak());

    // Bodies shorter than declared, chunks that lie, heads without end, readers that do not read.
    let path = kept.split_once("/v2/").unwrap().1;
    let digest = Digest::of(b"x");
    let heads = [
        format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc"
        ),
        format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nabc"
        ),
        format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        ),
        "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{".to_owned(),
        format!("GET /v2/{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(1 << 20)),
    ];
    let mut open = Vec::new();
    for n in 0..300 {
        let mut wire = TcpStream::connect(server.address).await.unwrap();
        // The server may have closed it by then.
        let sent = wire.write_all(heads[n % heads.len()].as_bytes());
        drop(tokio::time::timeout(Duration::from_secs(10), sent).await);
        open.push(wire);
    }
    let found = http.get(&kept).send().await.unwrap().bytes().await.unwrap();
    assert!(found == vec![7; 8 << 20]);
    assert!(server.peak() < MOST, "open requests: {} MiB", server.peak());
    drop(open);
    let found = http.get(&kept).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(found.len(), 8 << 20);
    let tags = http.get(format!("{url}/tags/list")).send().await.unwrap();
    assert_eq!(tags.status(), 404, "no manifest was taken");
}
