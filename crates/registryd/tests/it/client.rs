//! What the tests share: a server and a plain HTTP client.

use std::sync::Arc;

use ocicore::{Digest, MediaType};
use registryd::{
    Builder, Server,
    storage::{Durability, FsStorage, MemoryStorage, Storage},
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// A server and a client of it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) server: Server,
    pub(crate) http: reqwest::Client,
    /// Deleted at the end.
    _directory: Option<tempfile::TempDir>,
}

impl Peer {
    pub(crate) async fn memory() -> Self {
        Self::start(Server::builder(MemoryStorage::new())).await
    }

    pub(crate) async fn start(builder: Builder) -> Self {
        let server = builder.bind("127.0.0.1:0").await.unwrap();
        Self {
            server,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _directory: None,
        }
    }

    /// On both storages, one after the other.
    pub(crate) async fn each(check: impl AsyncFn(&Self)) {
        check(&Self::memory().await).await;
        let directory = tempfile::tempdir().unwrap();
        let storage = disk(&directory);
        let mut peer = Self::start(Server::builder(storage)).await;
        peer._directory = Some(directory);
        check(&peer).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.addr())
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            self.url(path)
        };
        self.http
            .request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    /// Expects an error of the specification.
    pub(crate) async fn refused(&self, method: &str, path: &str, status: u16, code: &str) {
        let response = self.send(method, path).await;
        expect_fault(response, status, code).await;
    }

    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let response = self
            .request("POST", &path)
            .body(content.to_vec())
            .send()
            .await;
        assert_eq!(response.unwrap().status(), 201);
        digest
    }

    /// An image of one layer with that content; its manifest's bytes.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, content: &[u8]) -> String {
        let config = b"{}";
        self.push_blob(repository, config).await;
        self.push_blob(repository, content).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": descriptor(MediaType::OCI_CONFIG, config),
            "layers": [descriptor(MediaType::OCI_LAYER, content)],
        })
        .to_string();
        let response = self
            .put_manifest(repository, tag, MediaType::OCI_MANIFEST, &manifest)
            .await;
        assert_eq!(response.status(), 201);
        manifest
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: MediaType,
        manifest: &str,
    ) -> Response {
        self.request("PUT", &format!("/v2/{repository}/manifests/{reference}"))
            .header("content-type", media_type.as_str())
            .body(manifest.to_owned())
            .send()
            .await
            .unwrap()
    }
}

pub(crate) fn disk(directory: &tempfile::TempDir) -> Arc<dyn Storage> {
    Arc::new(FsStorage::with_durability(directory.path(), Durability::ProcessCrash).unwrap())
}

pub(crate) async fn expect_fault(response: Response, status: u16, code: &str) {
    let url = response.url().clone();
    assert_eq!(response.status(), status, "{url}");
    let type_ = header(&response, "content-type");
    assert_eq!(type_, "application/json", "{url}");
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["errors"][0]["code"], code, "{url}: {document}");
    assert!(document["errors"][0]["message"].is_string(), "{url}");
}

pub(crate) fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

pub(crate) fn descriptor(media_type: MediaType, content: &[u8]) -> Value {
    serde_json::to_value(ocicore::Descriptor::of(media_type, content)).unwrap()
}
