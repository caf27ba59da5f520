//! Base, compiler and runner images from an application's name and version, after Polyconseil's
//! Grocker.
//!
//! Three stages: the **base** image has what the application needs to run, the **compiler** image
//! adds what it needs to be compiled, and the **runner** is a clean base with the compiled
//! application, its dependencies and its entry point. What each stage is made of is data, computed
//! without an engine; the first two are kept under a name that holds the key of their content, and
//! reused as long as that is the same.
//!
//! ```
//! use grocker::{Config, Release, plan};
//! use ocicore::{Digest, Platform};
//!
//! let release: Release = "httpie[socks]==3.2.4".parse()?;
//! let config = Config::parse("grocker.yml", "entrypoint_name: http\nports: [8080]\n")?;
//! let base = grocker::Base {
//!     reference: "python:3.12-slim".parse()?,
//!     id: Digest::of(b"what the engine says"),
//! };
//! let plan = plan(&config, &release, &base, &Platform::new("linux", "amd64"))?;
//! assert!(plan.runner.dockerfile.contains("ENTRYPOINT [\"http\"]"));
//! assert_eq!(plan.runner.name.to_string(), "docker.io/library/httpie-socks:3.2.4");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod build;
mod config;
mod error;
mod key;
mod plan;
mod release;
mod stage;

pub use build::{BuildOptions, Built, Wheel, build, resolve_base};
pub use config::{Config, Dependencies, PackageRepository, Runtime};
pub use error::{Error, Result};
pub use key::Key;
pub use plan::{Base, Plan, plan};
pub use release::{Release, Source};
pub use stage::{Compile, Stage};
