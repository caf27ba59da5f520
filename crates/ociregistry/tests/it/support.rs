//! What the tests share.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use ocicore::{Repository, conformance::peer::peer};
use ociregistry::{Credentials, HostOptions, Registry, RegistryBuilder};

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
