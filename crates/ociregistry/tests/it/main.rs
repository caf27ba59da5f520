//! The client against real servers, and against servers that break.

#![expect(clippy::unwrap_used, reason = "a test fails by its panics")]

mod auth;
mod conformance;
mod fake;
mod faults;
mod lists;
mod mtls;
mod pull;
mod push;
mod support;
