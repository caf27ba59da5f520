//! Chains of image builds: from images files (IMAGES.json of corpusops) to images, parents first.
//!
//! An images file lists images with their Dockerfiles or packer templates. Which of them needs which,
//! the files themselves tell (`FROM`, `COPY --from`, a template's `image`), so that nobody has to
//! keep the list in order. **Read** a [`Project`], **plan** it ([`plan()`], pure), **run** the plan
//! ([`run()`]) by a [`Builder`]: several images at once, and never one on a parent that failed.
//!
//! ```
//! use chain::{Project, Selection, file::{self, Surroundings}, project::Found};
//!
//! // `Project::read` takes all this from a directory.
//! let images = r#"{"images": [
//!     {"tag": "demo/app:1", "dockerfile": "Dockerfile.app"},
//!     {"tag": "demo/base:1", "dockerfile": "Dockerfile.base"}
//! ]}"#;
//! let listed = file::parse("docker/IMAGES.json".as_ref(), images, &Surroundings::of("/src/demo"));
//! let project = Project::new("/src/demo", vec![listed], |path| match path.to_str() {
//!     Some("Dockerfile.app") => Found::Text("FROM demo/base:1\n".to_owned()),
//!     Some("Dockerfile.base") => Found::Text("FROM scratch\n".to_owned()),
//!     _ => Found::Directory,
//! })?;
//!
//! let plan = chain::plan(&project, &Selection::all())?;
//! let order: Vec<_> = plan.steps.iter().map(|step| step.label()).collect();
//! assert_eq!(order, ["demo/base:1", "demo/app:1"]);
//! assert_eq!(plan.steps[1].parents[0].place.to_string(), "Dockerfile.app:1:1");
//! # Ok::<(), chain::Error>(())
//! ```
//!
//! With an engine, `run(&cx, &plan, &EngineBuilder::new(engine, project.root()), &options)` does the
//! rest. Everything that is wrong with the user's files is told at once, each [`Problem`] with file,
//! line, column and hint.

pub mod builder;
pub mod dockerfile;
mod error;
pub mod file;
mod flags;
mod graph;
mod json;
pub mod packer;
mod place;
mod plan;
mod problem;
pub mod project;
pub mod report;
pub mod run;
mod schedule;
mod select;
mod vars;
mod words;

pub use builder::{Builder, EngineBuilder};
pub use error::{Error, Problems, Result};
pub use flags::{BuildArg, BuildFlags, Switch};
pub use place::{Located, Place, Position};
pub use plan::{Origin, Parent, Plan, Step, plan};
pub use problem::{Fault, Note, Problem, Remark};
pub use project::{Project, ProjectOptions};
pub use report::Report;
pub use run::{RunOptions, run};
pub use select::Selection;
