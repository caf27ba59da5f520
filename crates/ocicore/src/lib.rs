//! Nouns and ports for container images: what all other crates of the workspace agree on.
//!
//! The nouns ([`Digest`], [`Reference`], [`Descriptor`], [`RawManifest`], …) are only made by
//! parsing, so that a value that exists is valid. The ports ([`ImageSource`], [`ImageSink`],
//! [`Repositories`], [`Blob`]) are small and `dyn`; a store is one repository's content.

#[cfg(feature = "fs")]
pub mod archive;
mod blob;
#[cfg(feature = "rt")]
mod blocking;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod copy;
mod cx;
mod descriptor;
mod digest;
mod error;
#[cfg(feature = "fs")]
mod file;
mod image;
#[cfg(feature = "fs")]
mod layout;
mod limits;
mod manifest;
mod memory;
mod reference;
mod retry;
mod store;
pub mod validate;

pub use blob::{BytesBlob, Verifier, read, verified, verified_blob};
#[cfg(feature = "rt")]
pub use blocking::Reader;
pub use cx::{Cancelled, Clock, Cx, Progress, Task, TaskId};
pub use descriptor::{Descriptor, MediaType, Platform};
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{Class, Error, Result, causes, in_one_line};
#[cfg(feature = "fs")]
pub use file::FileBlob;
pub use image::{Config, Image, ImageBuilder, Layer};
#[cfg(feature = "fs")]
pub use layout::Layout;
pub use limits::SizeLimits;
pub use manifest::{Links, RawManifest, sniff_media_type};
pub use memory::{Memory, MemoryRepositories};
pub use reference::{Name, Reference, Repository, RepositoryPath, Tag};
pub use retry::{Attempts, Retry};
pub use store::{Blob, BoxStream, ImageSink, ImageSource, ImageStore, Place, Repositories, Stored};

/// The typed view of the `oci-spec` crate.
#[cfg(feature = "oci-spec")]
pub use oci_spec as spec;
