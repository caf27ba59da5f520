#[cfg(unix)]
pub mod dir;
pub(crate) mod read_at;
pub mod tar;
pub mod zip;
