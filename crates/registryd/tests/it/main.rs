//! The server over HTTP, its storages, and the view without HTTP.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod access_log;
mod auth;
mod client;
mod collect;
mod concurrency;
mod crash;
mod durability;
mod errors;
mod load;
mod operation;
mod peers;
mod process;
mod proxy;
mod pull;
mod push;
mod refused;
mod storage;
mod suite;
