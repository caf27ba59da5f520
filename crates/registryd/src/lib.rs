#![doc = include_str!("../README.md")]

mod auth;
mod error;
pub mod gc;
mod hash;
mod limits;
mod links;
mod metrics;
mod patient;
mod proxy;
mod repositories;
mod routes;
mod server;
mod slots;
pub mod storage;
#[cfg(feature = "tls")]
mod tls;
mod upload;

pub use auth::{Access, Auth, Grant, Password, Pattern, Secret, User};
pub use error::{Error, Noun, Result};
pub use limits::Limits;
pub use links::Sparse;
pub use server::{Builder, Server};
#[cfg(feature = "tls")]
pub use tls::Tls;
