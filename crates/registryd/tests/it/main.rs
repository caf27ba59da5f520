//! The server over HTTP, its storages, and the view without HTTP.

mod auth;
mod client;
mod collect;
mod crash;
mod operation;
mod proxy;
mod pull;
mod push;
mod storage;
mod suite;
