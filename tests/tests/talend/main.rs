//! Talend jobs in a real engine: several as one image, signals, jobs that start jobs.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod engine;
mod jobs;
mod machines;
mod merged;
mod processes;
mod signals;
