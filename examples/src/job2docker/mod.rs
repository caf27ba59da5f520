//! Talend jobs to images and archives: what `job2docker` does.

mod access;
mod assemble;
mod base;
mod build;
mod command;
mod contexts;
mod conversion;
mod deploy;
mod entrypoint;
mod hook;
mod original;
mod package;
mod publish;
mod render;
mod run;
mod target;
mod watch;

pub use access::{RepositoryArgument, Side, client};
pub use assemble::{
    LayerFiles, Layering, WrittenImage, WrittenLayer, assemble, named, write_archive,
};
pub use base::{Base, OpenBase};
pub use build::{Outcome, Request, build, default_entrypoint, file_name, mtime, plan};
pub use command::{Build, build_job};
pub use contexts::{Contexts, show_contexts};
pub use conversion::{Conversion, read_properties};
pub use deploy::{Deploy, deploy_image};
pub use hook::Hook;
pub use original::{Original, arguments, convert_as_original};
pub use package::{Package, PublishLayoutName, package_jobs};
pub use publish::{Publish, publish};
pub use render::{render, render_inspection, render_report};
pub use run::{Run, run_job};
pub use target::{ArchivePath, Target};
pub use watch::{Watched, watch_folder};
