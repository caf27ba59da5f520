//! Integration tests of the crate.

mod launchers;
