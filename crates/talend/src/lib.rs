//! Talend built jobs to container images (job2docker).
//!
//! A built job is a zip with the job, its libraries and a launcher for the shell. [`convert`] makes
//! of it a tree in which java replaces that shell, so that it gets the signals of the container,
//! and says what the image's config should be. Nothing is unpacked; what is not edited is not read.
//!
//! ```
//! use ocicore::Cx;
//! use repack::{Entry, Tree};
//! use talend::{ConvertOptions, convert};
//!
//! let mut tree = Tree::new();
//! let launcher = "#!/bin/sh\ncd `dirname $0`\njava -cp . demo.hello_0_1.hello \"$@\"\n";
//! tree.insert("hello/hello_run.sh".parse()?, Entry::file(launcher))?;
//!
//! let job = convert(&Cx::default(), tree, "hello_0.1.zip", &ConvertOptions::default())?;
//! let rewritten = job.tree.read(&"hello_0.1/hello/hello_run.sh".parse()?, 1024)?;
//! assert!(rewritten.ends_with(b"\nexec java -cp . demo.hello_0_1.hello \"$@\"\n"));
//! assert_eq!(
//!     job.plan.image.entrypoint,
//!     ["/bin/sh", "/talend/hello_0.1/hello/hello_run.sh"],
//! );
//! # Ok::<(), talend::Error>(())
//! ```
//!
//! - [`inspect`] tells what [`convert`] would do: the [`report`] has a verdict and the edits for each
//!   launcher. [`rewrite`] is the pure function behind it.
//! - [`Converted::into_layers`] puts libraries in layers that are the same for all jobs, and leaves
//!   out sources and other residue of the build; see [`layers`].
//! - [`application::merge`] makes several jobs one archive and one image; a [`manifest`] names them.
//! - [`context`] lists the variables that a job is run with; [`ConvertOptions`] chooses a context,
//!   gives variables other values, and lets them come from the environment when the job is run.
//! - [`naming`] maps names of jobs to names in a registry.
//! - `watch`, by the feature of that name, processes each zip that appears in a folder.
//!
//! Everything is synchronous and works on a [`repack::Tree`]; nothing here opens a socket or a file.

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
