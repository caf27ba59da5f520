//! What an engine is asked to do, as plain data.
//!
//! A `…Spec` has what it cannot do without in its `new`, everything else by chained setters with
//! defaults as those of the docker CLI.

mod auth;
mod build;
mod container;
mod image;

pub use auth::{Credentials, Keychain, Secret};
pub use build::{BuildSpec, Builder, Cache, Pull, Secrets, SshAgent};
pub use container::{
    CgroupNamespace, CommitSpec, ContainerSpec, ExecSpec, Mount, Signal, Ulimit, VolumeSpec,
};
pub(crate) use image::is_name;
pub use image::{ContainerId, ImageId, ImageName, VolumeName};
