#![doc = include_str!("../README.md")]

pub mod application;
mod classpath_jar;
pub mod context;
mod convert;
mod edit;
mod entrypoint;
mod error;
mod image;
mod job;
mod launcher;
pub mod layers;
pub mod manifest;
pub mod naming;
#[cfg(feature = "nexus")]
pub mod nexus;
mod options;
mod prepared;
pub mod properties;
pub mod report;
pub mod rewrite;
mod signed;
#[cfg(feature = "watch")]
pub mod watch;
mod wrapper;

pub use convert::{Converted, Inspection, Move, Plan, convert, inspect};
pub use entrypoint::{ExecForm, NeedsShell, exec_form};
pub use error::{Error, Result, UnsafeLauncher};
pub use image::ImageConfig;
pub use job::{ContextFile, Job, StudioVersion, default_base};
pub use launcher::Position;
pub use options::{ConvertOptions, Entrypoint, Layout, SignedFiles, UnsafeLaunchers};
pub use signed::Signed;
