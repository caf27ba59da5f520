use ocicore::{Repositories, conformance::Suite};
use ociregistry::{RegistryBuilder, Upload};

use crate::support::{fresh, plain, secured};

/// docker-registry 2.8 knows no SHA-512, deletes no tags and keeps no lists of referrers, so that
/// clients keep these under tags.
async fn docker_registry(peer: Option<(String, RegistryBuilder)>, upload: Upload) {
    let Some((host, builder)) = peer else { return };
    let registry = builder.upload(upload).build();
    Suite::default()
        .without_sha512()
        .without_delete_tag()
        .without_referrers()
        .store(async || registry.repository(&fresh(&host)).unwrap())
        .await;
}

#[tokio::test]
async fn docker_registry_plain() {
    docker_registry(plain(), Upload::Monolithic).await;
}

#[tokio::test]
async fn docker_registry_in_chunks() {
    docker_registry(plain(), Upload::Chunked(300_000)).await;
}

#[tokio::test]
async fn docker_registry_with_tls_and_password() {
    docker_registry(secured(), Upload::Monolithic).await;
}
