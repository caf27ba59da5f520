//! Embeddable OCI distribution (registry v2) server: for tests, as the registry of one job, or as
//! a small standing registry.
//!
//! ```
//! use registryd::{Server, storage::MemoryStorage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder(MemoryStorage::new()).bind("127.0.0.1:0").await?;
//! println!("docker push {}/demo:1", server.addr());
//!
//! // The same repositories without HTTP.
//! use ocicore::{BytesBlob, Cx, MediaType, Stored};
//! let demo = server.repositories().repository(&"localhost/demo".parse()?)?;
//! let blob = BytesBlob::new(MediaType::OCI_LAYER, "content");
//! assert_eq!(demo.put_blob(&Cx::default(), &blob).await?, Stored::Written);
//!
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod auth;
mod error;
pub mod gc;
mod hash;
mod limits;
mod links;
mod metrics;
mod proxy;
mod repositories;
mod routes;
mod server;
mod slots;
pub mod storage;
#[cfg(feature = "tls")]
mod tls;
mod upload;

pub use auth::{Access, Auth, Grant, Password, Pattern, Secret, User};
pub use error::{Error, Noun, Result};
pub use limits::Limits;
pub use links::Sparse;
pub use server::{Builder, Server};
#[cfg(feature = "tls")]
pub use tls::Tls;
