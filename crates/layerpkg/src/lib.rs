//! Packages as scratch images: store, versions, shims.
//!
//! A directory is published as an image of one layer, and any image is installed as a package:
//! verified, unpacked into a store by digest, and switched to by one rename. Registries come in as
//! [`ocicore::Repositories`]; this crate knows of no client.
//!
//! ```
//! use layerpkg::{Prefix, install::{self, InstallSpec}, publish::{self, PublishSpec}, shim};
//! use ocicore::{Cx, MemoryRepositories, Reference};
//! # use std::{fs, os::unix::fs::PermissionsExt};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let directory = folder.path().join("engine");
//! # fs::create_dir_all(directory.join("bin"))?;
//! # fs::write(directory.join("bin/hello"), "#!/bin/sh\n")?;
//! # fs::set_permissions(directory.join("bin/hello"), PermissionsExt::from_mode(0o755))?;
//! # let program = directory.join("bin/hello");
//! let (cx, registry) = (Cx::default(), MemoryRepositories::default());
//! let reference: Reference = "registry.example/team/engine:1.0".parse()?;
//! let spec = PublishSpec::new(&directory, reference.clone());
//! let plan = publish::plan(&cx, &spec).await?;
//! let published = publish::run(&cx, &registry, plan).await?;
//!
//! let prefix = Prefix::new(folder.path().join("prefix")).with_shim(program);
//! let plan = install::plan(&cx, &prefix, &registry, &InstallSpec::new(reference)).await?;
//! let installed = install::run(&cx, &prefix, plan).await?;
//! assert_eq!(installed.digest, published.digest);
//! assert_eq!(installed.tools, ["hello"]);
//!
//! let tool = shim::resolve(&prefix.bin().join("hello"))?;
//! assert!(tool.ends_with("files/bin/hello"));
//! # Ok(())
//! # }
//! ```
//!
//! Links, locks and modes are those of Unix.

mod activate;
mod commit;
mod confine;
mod error;
pub mod install;
mod lock;
mod package;
mod prefix;
pub mod publish;
pub mod shim;
mod shims;
mod staging;
mod tools;

pub use activate::{Activated, activate};
pub use error::{Error, Result};
pub use package::{PackageName, Version};
pub use prefix::{Installed, Origin, Package, Prefix};
pub use shims::Taken;
