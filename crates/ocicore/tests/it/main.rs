//! Tests of `ocicore` that need a process of their own.

#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod crash;
