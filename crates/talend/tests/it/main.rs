//! Integration tests of the crate.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod application;
mod behavior;
mod convert;
mod errors;
mod fixture;
mod launchers;
mod layers;
#[cfg(feature = "nexus")]
mod nexus;
mod real;
mod signed;
mod start;
#[cfg(feature = "watch")]
mod watch;
