//! A tree as a stream of bytes: a plan of jobs, threads that do them, and one consumer in order.

pub(crate) mod arena;
pub(crate) mod codec;
pub(crate) mod estargz;
pub(crate) mod header;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod splice;
