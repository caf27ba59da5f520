//! What the example binaries share: exit codes, progress, rendering of errors, command lines.
//!
//! A binary parses its arguments with clap, hands an async closure to [`run`], and prints.

pub mod buildset_registry;
pub mod demo;
mod engines;
mod exit;
mod failure;
mod images;
pub mod imgchain;
pub mod imggate;
pub mod job2docker;
pub mod layerpkg;
mod place;
mod progress;
mod run;

pub use engines::{connect, engine_keychain, log};
pub use exit::{EXIT_CODES, exit_code};
pub use failure::{Failure, Result};
pub use images::{registry, source_date_epoch};
pub use place::Place;
pub use progress::Bars;
pub use run::{Common, Shell, completions, print, run, run_logging};

/// The example in the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
