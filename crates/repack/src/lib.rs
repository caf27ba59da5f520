//! Archives and image layers with permissions: zip, tar and directories to reproducible layers and back.
//!
//! **Index** an archive as a [`Tree`] ([`zip::open`], [`tar::open`], [`dir::open`]), **edit** the tree by plain functions,
//! **write** it as a layer ([`into_layer`]). A zip's deflate streams are not compressed again:
//! each becomes a member of the layer's gzip stream, verified on the way. The same tree gives the same
//! bytes, on any machine.
//!
//! ```
//! use std::{io::Write, sync::Arc};
//! use repack::{Cx, SizeLimits, Tree, layer, zip};
//!
//! # fn job() -> Result<bytes::Bytes, Box<dyn std::error::Error>> {
//! #     let mut writer = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
//! #     writer.start_file("job/run.sh", ::zip::write::SimpleFileOptions::default())?;
//! #     writer.write_all(b"java Job\n")?;
//! #     Ok(writer.finish()?.into_inner().into())
//! # }
//! let cx = Cx::default();
//! // A file would be opened by `zip::open`; memory will do, too.
//! let mut tree = zip::index(&cx, Arc::new(job()?), &SizeLimits::default())?;
//! tree.set_mode(&"**/*.sh".parse()?, 0o755);
//! tree.prefix(&"talend".parse()?)?;
//! let mut layer = Vec::new();
//! let written = layer::write(&cx, &tree, &layer::Options::default(), &mut layer)?;
//! assert_eq!(written.size, layer.len() as u64);
//! assert_ne!(written.digest, written.diff_id, "one of the gzip, one of the tar");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing that an archive says is trusted: names that lead outside, entries that are there twice
//! or share bytes, headers that disagree, sizes and checksums that lie are errors that name the entry
//! ([`Error::Entry`]), and [`SizeLimits`] bound the rest.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod case;
mod content;
pub mod diff;
mod edit;
mod entry;
mod error;
#[cfg(unix)]
pub mod extract;
mod file;
mod ignore;
pub mod layer;
mod merge;
mod path;
mod pattern;
mod source;
mod stack;
mod tree;
mod write;

pub use case::CaseCollision;
pub use content::{Content, Reader};
pub use entry::{Device, Entry, Kind, Metadata, Mtime};
pub use error::{Error, Fault, Result};
pub use file::into_layer;
pub use ignore::Ignore;
pub use merge::{Collision, Difference, Keep, Merged, merge};
pub use ocicore::{Cx, SizeLimits};
pub use path::{EntryPath, PathFault};
pub use pattern::Pattern;
#[cfg(unix)]
pub use source::dir;
pub use source::{
    read_at::{ReadAt, Seekable},
    tar, zip,
};
pub use tree::{Iter, Tree};
