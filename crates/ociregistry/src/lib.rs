//! OCI distribution (registry v2) client.
//!
//! [`Registry`] is a client for all registries. It gives the store of one repository, and that is
//! what the rest of the workspace copies from and to: see [`ocicore::ImageSource`],
//! [`ocicore::ImageSink`] and [`ocicore::copy`].
//!
//! ```
//! use ocicore::{BytesBlob, Cx, MediaType, Place, RawManifest, Repositories, Repository, Stored, read};
//! use ociregistry::{Credentials, Registry};
//! # use registryd::{Access, Auth, Grant, Password, Secret, Server, User, storage::MemoryStorage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let me = User::new("me", Password::plain("secret"))?.grant(Grant::everything(Access::Write));
//! # let auth = Auth::bearer(Secret::random()?).user(me);
//! # let server = Server::builder(MemoryStorage::new()).auth(auth).bind("127.0.0.1:0").await?;
//! # let host = server.addr().to_string();
//! let cx = Cx::default();
//! let registry = Registry::builder()
//!     .credentials(&host, Credentials::basic("me", "secret"))
//!     .build();
//!
//! // Push: what the registry has is not sent, and a large blob is never held in memory.
//! let demo: Repository = format!("{host}/demo").parse()?;
//! let store = registry.repository(&demo)?;
//! let config = BytesBlob::new(MediaType::OCI_CONFIG, r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#);
//! assert_eq!(store.put_blob(&cx, &config).await?, Stored::Written);
//! assert_eq!(store.put_blob(&cx, &config).await?, Stored::Present);
//! let manifest = RawManifest::new(
//!     MediaType::OCI_MANIFEST,
//!     serde_json::json!({
//!         "schemaVersion": 2,
//!         "config": ocicore::Blob::descriptor(&config),
//!         "layers": [],
//!     })
//!     .to_string(),
//! );
//! store.put_manifest(&cx, &manifest, Place::Root(&["v1".parse()?])).await?;
//!
//! // Retag: one GET and one PUT; the bytes stay.
//! registry.retag(&cx, &format!("{demo}:v1").parse()?, &["stable".parse()?]).await?;
//!
//! // Pull.
//! let same = store.manifest(&cx, &"stable".parse()?).await?;
//! assert_eq!(same.bytes(), manifest.bytes());
//! let links = same.links()?;
//! let content = read(&*store.blob(links.config.as_ref().ok_or("no config")?), 1 << 20).await?;
//! assert!(content.starts_with(b"{"));
//!
//! // Copy to another repository: within a registry, blobs are mounted and no byte of them moves.
//! use ocicore::copy;
//! let release = registry.repository(&format!("{host}/release").parse()?)?;
//! let root = copy::Root::same("stable".parse()?);
//! let plan = copy::plan(&cx, &*store, &*release, &[root], &copy::Options::default()).await?;
//! let done = copy::run(&cx, plan, store, release).await?;
//! assert_eq!((done.mounted, done.bytes, done.manifests), (1, 0, 1));
//! # Ok(())
//! # }
//! ```
//!
//! Credentials come from [`AuthFiles::from_env`] (what `docker login` and `podman login` left
//! behind, with credential helpers), from the builder, or from a [`Keychain`] of one's own. They
//! never follow a redirect to another origin, and print as `***`.
//!
//! What may pass is tried again ([`Retry`]): answers like 429 and 503, with `Retry-After`, and
//! connections that break. A download goes on where it broke, an upload in chunks too. Whoever
//! drops a future or cancels its [`Cx`](ocicore::Cx) leaves nothing half-written.
//!
//! An [`Error`] names host, repository, status, and the registry's own codes and messages. The
//! ports' errors have it as their source:
//!
//! ```
//! # use ocicore::{Cx, Repositories};
//! # use ociregistry::Registry;
//! # use registryd::{Server, storage::MemoryStorage};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = Server::builder(MemoryStorage::new()).bind("127.0.0.1:0").await?;
//! # let store = Registry::builder().build().repository(&format!("{}/demo", server.addr()).parse()?)?;
//! let error = store.manifest(&Cx::default(), &"missing".parse()?).await.unwrap_err();
//! assert_eq!(error.class(), ocicore::Class::NotFound);
//! let answer = error.find::<ociregistry::Error>().and_then(|error| error.answer());
//! assert_eq!(answer.map(|answer| answer.status()), Some(404));
//! # Ok(())
//! # }
//! ```

mod answer;
mod auth;
mod body;
mod call;
mod client;
mod download;
mod endpoint;
mod error;
mod hosts;
#[cfg(feature = "oci-client")]
pub mod interop;
mod list;
mod range;
mod rate_limit;
mod referrers;
mod retry;
mod store;
mod upload;
mod wire;

pub use auth::{AuthFiles, Credentials, Keychain};
pub use client::{Registry, RegistryBuilder, Upload};
pub use error::{Answer, Error, Fault, Result};
pub use hosts::{HostOptions, Hosts, Mirror};
pub use rate_limit::RateLimit;
pub use retry::Retry;
