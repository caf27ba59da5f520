//! Repositories: a server that does what it is told to, and one that searches as Nexus 3 does. With
//! real ones the client is tested in package `tests`.

mod faults;
mod fetch;
mod publish;
mod search;
mod server;

use std::{path::Path, time::Duration};

use ocicore::Cx;
use talend::{
    manifest::Source,
    nexus::{Cache, Client, ClientOptions, Fetched, Repository, Result, fetch_all},
};

/// Patient with servers that stall, and quick to try again.
fn options() -> ClientOptions {
    ClientOptions::default().with_attempts(3, Duration::from_millis(1))
}

fn client() -> Client {
    Client::new(options())
}

/// A file that passes for an archive, of some size.
fn archive(size: usize) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(
        (0u32..)
            .map(|n| (n % 251) as u8)
            .take(size.saturating_sub(4)),
    );
    bytes
}

fn url(text: String) -> Source {
    Source::Url(text)
}

fn coordinates(text: &str) -> Source {
    Source::Coordinates(text.parse().unwrap())
}

async fn one(
    client: &Client,
    source: Source,
    repositories: &[Repository],
    cache: &Path,
) -> Result<Fetched> {
    let cache = Cache::open(cache)?;
    talend::nexus::fetch(&Cx::default(), client, &source, repositories, &cache).await
}

async fn all(client: &Client, sources: &[Source], cache: &Path) -> Result<Vec<Fetched>> {
    let cache = Cache::open(cache)?;
    fetch_all(&Cx::default(), client, sources, &[], &cache).await
}
