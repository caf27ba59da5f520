//! The suite of the ports, run by `server.repositories()`.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt;
use ocicore::{
    Cx,
    conformance::{Fixture, Suite},
};
use registryd::{Server, storage::MemoryStorage};

use crate::client::{Peer, disk};

#[tokio::test(flavor = "multi_thread")]
async fn repositories_on_memory_pass() {
    run(&Peer::memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_on_disk_pass() {
    let directory = tempfile::tempdir().unwrap();
    run(&Peer::start(Server::builder(disk(&directory))).await).await;
}

async fn run(peer: &Peer) {
    let repositories = peer.server.repositories();
    let next = AtomicU32::new(0);
    let new = async || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let name = format!("localhost/suite/store{n}").parse().unwrap();
        repositories.repository(&name).unwrap()
    };
    Suite::default().store(new).await;
}

#[tokio::test]
async fn the_catalog_names_what_holds_an_image() {
    let cx = Cx::default();
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let repositories = server.repositories();
    for name in ["h/b", "h/a/c", "h/a"] {
        let store = repositories.repository(&format!("localhost/{name}").parse().unwrap());
        Fixture::image().fill(&cx, &*store.unwrap()).await.unwrap();
    }
    let found: Vec<_> = repositories.catalog(&cx).try_collect().await.unwrap();
    let paths: Vec<&str> = found.iter().map(|name| name.path().as_str()).collect();
    assert_eq!(paths, ["h/a", "h/a/c", "h/b"]);
}
