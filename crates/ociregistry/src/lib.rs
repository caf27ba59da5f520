//! OCI distribution (registry v2) client.
//!
//! [`Registry`] is a client for all registries. It gives the store of one repository, and that is
//! what the rest of the workspace copies from and to: see [`ocicore::ImageSource`],
//! [`ocicore::ImageSink`] and [`ocicore::copy`].

mod answer;
mod auth;
mod body;
mod call;
mod client;
mod download;
mod endpoint;
mod error;
mod hosts;
mod list;
mod range;
mod rate_limit;
mod referrers;
mod retry;
mod store;
mod upload;
mod wire;

pub use auth::{AuthFiles, Credentials, Keychain};
pub use client::{Registry, RegistryBuilder, Upload};
pub use error::{Answer, Error, Fault, Result};
pub use hosts::HostOptions;
pub use rate_limit::RateLimit;
pub use retry::Retry;
