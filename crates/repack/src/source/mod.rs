//! What trees are made of.

mod budget;
#[cfg(unix)]
pub mod dir;
pub(crate) mod read_at;
pub mod tar;
pub mod zip;

/// What a limit is about, in messages.
const UNPACKED: &str = "the bytes that the archive unpacks to";
