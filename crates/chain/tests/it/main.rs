//! The crate from outside: plans, runs, real images files.

mod directory;
mod plan;
mod real;
mod run;
