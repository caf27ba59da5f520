//! Archives and image layers with permissions: zip, tar and directories to reproducible layers and back.

mod content;
mod edit;
mod error;
mod file;
pub mod layer;
mod merge;
mod path;
mod pattern;
mod source;
mod tree;
mod write;

pub use content::{Content, Reader};
pub use error::{Error, Fault, Result};
pub use file::into_layer;
pub use merge::{Collision, Difference, Keep, Merged, merge};
pub use ocicore::Cx;
pub use path::{EntryPath, PathFault};
pub use pattern::Pattern;
pub use source::{read_at::ReadAt, tar, zip};
pub use tree::{Device, Entry, Kind, Metadata, Mtime, Tree};
