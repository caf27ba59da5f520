//! Tests of `ocicore` from outside.

#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod crash;
mod errors;
