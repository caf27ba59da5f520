//! The crate from outside: plans, runs, real images files.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod directory;
mod engine;
mod plan;
mod real;
mod run;
