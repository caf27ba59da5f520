//! Chains of image builds from IMAGES.json (corpusops).

pub mod dockerfile;
pub mod file;
mod flags;
mod json;
pub mod packer;
mod place;
mod problem;
mod vars;
mod words;

pub use flags::{BuildArg, BuildFlags, Switch};
pub use place::{Located, Place, Position};
pub use problem::{Fault, Note, Problem, Remark};
