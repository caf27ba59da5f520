//! Packages through stores in memory, into prefixes on disk.
#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

mod concurrent;
mod hostile;
mod install;
mod lying;
mod publish;
mod shim;
mod support;
