//! The client against real servers, and against servers that break.

mod conformance;
mod support;
