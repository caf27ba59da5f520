//! Packages through stores in memory, into prefixes on disk.

mod concurrent;
mod hostile;
mod install;
mod lying;
mod publish;
mod shim;
mod support;
