//! The client against real servers, and against servers that break.

#![expect(clippy::unwrap_used, reason = "a test fails by its panics")]

mod auth;
mod cancel;
mod conformance;
mod copy;
mod fake;
mod faults;
mod inspect;
mod keychain;
mod lists;
mod logs;
mod manage;
mod mirrors;
mod mtls;
mod old;
mod proxy;
mod pull;
mod push;
mod slow;
mod support;
mod through_faults;
