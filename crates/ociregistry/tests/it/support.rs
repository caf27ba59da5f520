//! What the tests share.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ocicore::{ImageStore, Repositories, Repository, conformance::peer::peer};
use ociregistry::{Credentials, HostOptions, Registry, RegistryBuilder, Retry};

use crate::fake::Fake;

/// A repository that no other test, and no earlier run, has used.
pub(crate) fn fresh(host: &str) -> Repository {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (id, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let text = format!("{host}/ociregistry/t{}-{id}-{n}", now.as_millis());
    text.parse().unwrap()
}

/// Debian's docker-registry without TLS, and a client; none if it is not there.
pub(crate) fn plain() -> Option<(String, RegistryBuilder)> {
    Some((peer("REGISTRY")?, Registry::builder()))
}

/// Debian's docker-registry with TLS and a password, and a client that knows both.
pub(crate) fn secured() -> Option<(String, RegistryBuilder)> {
    let host = peer("REGISTRY_TLS")?;
    let ca = fs::read(peer("REGISTRY_TLS_CA")?).unwrap();
    let login = Credentials::basic(peer("REGISTRY_TLS_USER")?, peer("REGISTRY_TLS_PASSWORD")?);
    let builder = Registry::builder()
        .host(&host, HostOptions::default().with_ca_pem(ca))
        .credentials(&host, login);
    Some((host, builder))
}

/// A client that waits as little as possible.
pub(crate) fn quick() -> RegistryBuilder {
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    Registry::builder()
        .retry(
            Retry::default()
                .with_attempts(3)
                .with_pauses(first, longest),
        )
        .stall_timeout(Duration::from_millis(300))
}

/// Lets the clock of this test's runtime go on at once; sockets do not notice.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The store `a/b` of a fake server.
pub(crate) fn store(registry: &Registry, fake: &Fake) -> Arc<dyn ImageStore> {
    registry.repository(&at(fake)).unwrap()
}

pub(crate) fn at(fake: &Fake) -> Repository {
    format!("{}/a/b", fake.host).parse().unwrap()
}

/// An error with all its sources, and `NAME` for a repository, `HOST` for its host.
pub(crate) fn shown_at(error: &ocicore::Error, name: &Repository) -> String {
    let text = shown(error, &[]);
    let text = text.replace(&name.to_string(), "NAME");
    text.replace(name.host(), "HOST")
        .replace(name.path().as_str(), "PATH")
}

/// An error with all its sources, without what differs from run to run.
pub(crate) fn shown(error: &ocicore::Error, hosts: &[&Fake]) -> String {
    let mut text = format!("[{:?}] {error}", error.class());
    let mut at = std::error::Error::source(error);
    while let Some(source) = at {
        text += &format!("\n    {source}");
        at = source.source();
    }
    for (n, fake) in hosts.iter().enumerate() {
        text = text.replace(&fake.host, &format!("HOST{n}"));
    }
    text
}
