#![doc = include_str!("../README.md")]

mod answer;
mod auth;
mod body;
mod call;
mod client;
mod download;
mod endpoint;
mod error;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod hosts;
#[cfg(feature = "oci-client")]
pub mod interop;
mod list;
mod range;
mod rate_limit;
mod recent;
mod referrers;
mod retry;
mod store;
mod upload;
mod wire;

pub use auth::{AuthFiles, Credentials, Keychain};
pub use client::{Registry, RegistryBuilder, Upload};
pub use error::{Answer, Error, Fault, Login, Result};
pub use hosts::{HostOptions, Hosts, Mirror, ShortNames};
pub use ocicore::Retry;
pub use rate_limit::RateLimit;
