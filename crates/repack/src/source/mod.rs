pub(crate) mod read_at;
pub mod tar;
pub mod zip;
