//! Promotion over HTTP, with each request counted on the wire.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use e2e::peer;
use gating::{
    artifacts::Record,
    cleanup::Removal,
    promote::{self, Outcome},
    temp_tag::Prefix,
    upload,
};
use ocicore::{Cx, MemoryRepositories, Reference, Repositories, conformance::Fixture};
use ociregistry::Registry;
use registryd::{Server, storage::MemoryStorage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Passes TCP on to a registry, and writes down the requests that go by.
struct Wire {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    async fn to(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&log)));
            }
        });
        Self { address, requests }
    }

    /// Requests for manifests since the last time, as `METHOD NAME`.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

async fn pass(client: TcpStream, server: TcpStream, log: Arc<Mutex<Vec<String>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let (mut buffer, mut line) = (vec![0; 64 << 10], Vec::new());
    while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
        for &byte in &buffer[..n] {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            // A request begins with `METHOD PATH HTTP/1.1`, right behind the body before it.
            let text = String::from_utf8_lossy(&line).into_owned();
            if let Some(request) = text.strip_suffix(" HTTP/1.1\r")
                && let Some((method, path)) = request.split_once(' ')
            {
                let capitals = |c: char| !c.is_ascii_uppercase();
                let method = method.rsplit(capitals).next().unwrap_or_default();
                let name = path.rsplit('/').next().unwrap_or_default();
                log.lock().unwrap().push(format!("{method} {name}"));
            }
            line.clear();
        }
        if to_server.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

/// Uploads and promotes an index through a wire, and again.
async fn check(upstream: String, removes_tags: RemovesTags) {
    let (cx, wire) = (Cx::default(), Wire::to(upstream).await);
    let registry = Registry::builder().build();
    let (from, fixture) = (MemoryRepositories::default(), Fixture::index());
    let built: Reference = "b.io/app:v1".parse().unwrap();
    let store = from.repository(built.repository()).unwrap();
    fixture.fill(&cx, &*store).await.unwrap();

    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let unique = unique.as_nanos();
    let image: Reference = format!("{}/gating/app:final-{unique}", wire.address)
        .parse()
        .unwrap();
    let images = [upload::Image::new(built, image.clone()).unwrap()];
    let prefix = Prefix::change(7, "1", &unique.to_string()).unwrap();
    let plan = upload::plan(&cx, &from, &registry, &prefix, &images)
        .await
        .unwrap();
    let record: Record = upload::run(&cx, plan, &from, &registry).await.unwrap();
    wire.take();

    let plan = promote::plan(&cx, &registry, record.artifacts())
        .await
        .unwrap();
    let done = promote::run(&cx, &plan, &registry).await.unwrap();
    let temporary = format!("change_7_1_{unique}_final-{unique}");
    let last = format!("final-{unique}");
    assert_eq!(
        wire.take(),
        [
            format!("GET {temporary}"),
            format!("PUT {last}"),
            format!("DELETE {temporary}"),
        ]
    );
    assert_eq!(done[0].outcome, Outcome::Promoted);
    let removed = done[0].removal == Removal::Removed;
    assert_eq!(removed, removes_tags == RemovesTags::Yes, "{:?}", done[0]);

    let store = registry.repository(image.repository()).unwrap();
    let promoted = store.manifest(&cx, &image.name()).await.unwrap();
    assert_eq!(promoted.bytes(), fixture.root().bytes());
    assert_eq!(promoted.media_type(), fixture.root().media_type());

    let plan = promote::plan(&cx, &registry, record.artifacts())
        .await
        .unwrap();
    let again = promote::run(&cx, &plan, &registry).await.unwrap();
    assert_eq!(again[0].digest, *fixture.root().digest());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RemovesTags {
    Yes,
    No,
}

#[tokio::test]
async fn one_get_and_one_put_at_our_registry() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    check(server.addr().to_string(), RemovesTags::Yes).await;
    server.shutdown().await;
}

#[tokio::test]
async fn one_get_and_one_put_at_docker_registry() {
    // Version 2.8 deletes by digest only, which would take the final tag along.
    if let Some(address) = peer("REGISTRY") {
        check(address, RemovesTags::No).await;
    }
}
