//! Speculative image gating: images of a change are built and tested together with those of the
//! changes ahead of it, uploaded before the change merges, and promoted afterwards by moving a
//! manifest, not layers.
//!
//! The way of an image:
//! 1. A [buildset registry](buildset) holds the images of unmerged changes; [`clientcfg`] makes a
//!    container client look there first.
//! 2. [`upload`] copies an image to its registry under a [temporary tag](temp_tag), and writes the
//!    digest into an [artifact record](artifacts).
//! 3. [`promote`] gives the very same manifest its final tag, with one GET and one PUT, and refuses
//!    if the temporary tag is not what was uploaded.
//!
//! Registries are [ports](ocicore::Repositories), so that this crate knows no client and no server.
//!
//! ```
//! use gating::{promote, temp_tag::Prefix, upload};
//! use ocicore::{Cx, MemoryRepositories, Name, Reference, Repositories};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use ocicore::{MediaType, Place, RawManifest};
//! # let manifest = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
//! let (cx, registries) = (Cx::default(), MemoryRepositories::default());
//! let built: Reference = "buildset.example:5000/team/app:latest".parse()?;
//! let image: Reference = "registry.example/team/app:latest".parse()?;
//! # let tags = [built.tag().cloned().expect("it has one")];
//! # let store = registries.repository(built.repository())?;
//! # store.put_manifest(&cx, &manifest, Place::Root(&tags)).await?;
//!
//! // Before the change merges: upload what was tested, under a temporary tag.
//! let prefix = Prefix::change(1234, "2", "a1b2c3")?;
//! let images = [upload::Image::new(built, image.clone())?];
//! let plan = upload::plan(&cx, &registries, &registries, &prefix, &images).await?;
//! let record = upload::run(&cx, plan, &registries, &registries).await?;
//!
//! // After it merged: the same manifest gets its final tag.
//! let plan = promote::plan(&cx, &registries, record.artifacts()).await?;
//! promote::run(&cx, &plan, &registries).await?;
//! let released = registries.repository(image.repository())?.resolve(&cx, &image.name()).await?;
//! assert_eq!(released.digest(), manifest.digest());
//! # Ok(())
//! # }
//! ```

pub mod artifacts;
pub mod buildset;
pub mod cleanup;
pub mod clientcfg;
mod error;
mod file;
pub mod promote;
mod secret;
pub mod temp_tag;
pub mod upload;

pub use error::{Error, Fault, Refusal, Result};
pub use file::{write_private, write_public};
pub use secret::Secret;
