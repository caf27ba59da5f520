pub(crate) mod read_at;
pub mod zip;
