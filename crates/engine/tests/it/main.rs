//! The port on real engines: each case runs on Docker and on Podman.

#[cfg(feature = "docker")]
mod bench;
#[cfg(feature = "docker")]
mod cases;
