//! Talend built jobs to container images (job2docker).

mod error;
mod job;
mod launcher;
pub mod naming;
pub mod properties;
pub mod report;
pub mod rewrite;

pub use error::{Error, Result, UnsafeLauncher};
pub use job::{StudioVersion, default_base};
pub use launcher::Position;
