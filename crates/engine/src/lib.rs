//! A port for container engines, with an implementation for the sockets of Docker and Podman.
//!
//! A program that builds, runs, pulls or pushes takes an `Arc<dyn `[`ContainerEngine`]`>` and plain
//! [`spec`]s; which engine it is, the binary decides.
//!
//! ```
//! use engine::{Owner, spec::{ContainerSpec, Mount}};
//!
//! // What to run is data, made without an engine.
//! let spec = ContainerSpec::new("busybox:1".parse::<ocicore::Reference>()?)
//!     .command(["sh", "-c", "echo $GREETING > /out/hello"])
//!     .env("GREETING", "hello")
//!     .volume("results".parse()?, "/out");
//! assert_eq!(spec.image().to_string(), "docker.io/library/busybox:1");
//!
//! // Everything that an engine makes for us carries our name.
//! let owner = Owner::new("my-pipeline")?;
//! assert_eq!(owner.labels()[engine::owner::OWNER], "my-pipeline");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `docker`, `Docker::connect` finds the engine as the docker CLI does, and
//! [`run`], [`reap`] and the methods of the port do the rest:
//!
#![cfg_attr(feature = "docker", doc = "```no_run")]
#![cfg_attr(not(feature = "docker"), doc = "```ignore")]
//! # use std::sync::Arc;
//! # use engine::{ContainerEngine, Docker, Owner, docker::Endpoint, log::Log};
//! # async fn example(
//! #     cx: ocicore::Cx,
//! #     owner: Owner,
//! #     spec: engine::spec::ContainerSpec,
//! # ) -> engine::Result<()> {
//! let docker = Docker::connect(&cx, &Endpoint::from_env()?, owner).await?;
//! let engine: Arc<dyn ContainerEngine> = Arc::new(docker);
//! let exit = engine::run(&cx, &engine, &spec, &Log::to(|event| eprintln!("{event:?}"))).await?;
//! exit.success()?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    not(feature = "docker"),
    expect(dead_code, reason = "it is the implementations that read the specs")
)]

#[cfg(feature = "docker")]
pub mod docker;
mod error;
mod exit;
#[cfg(feature = "fake")]
pub mod fake;
pub mod log;
pub mod owner;
mod port;
mod reap;
mod run;
pub mod spec;
mod temporary;
mod transfer;

#[cfg(feature = "docker")]
pub use docker::Docker;
pub use error::{Error, Result};
pub use exit::Exit;
pub use owner::Owner;
pub use port::{
    ContainerEngine, ContainerInfo, ContainerState, EngineEvent, EngineKind, ImageInfo,
    ImageSummary, Label, TransferOptions, Version, VolumeInfo,
};
pub use reap::{Leftovers, ReapOptions, leftovers, reap};
pub use run::{run, run_with_signals};
pub use temporary::{Removable, Temporary};
pub use transfer::{load, load_for, save};
