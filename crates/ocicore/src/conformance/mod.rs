//! The suite that every implementation of the ports runs in its own tests.

pub mod peer;
