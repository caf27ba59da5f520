//! The port on real engines: each case runs on Docker and on Podman.

#![cfg_attr(
    feature = "docker",
    expect(clippy::unwrap_used, reason = "a test fails by its panics")
)]

#[cfg(feature = "docker")]
mod bench;
#[cfg(feature = "docker")]
mod cases;
#[cfg(feature = "docker")]
mod events;
#[cfg(feature = "docker")]
mod faults;
#[cfg(feature = "tls")]
mod tls;
