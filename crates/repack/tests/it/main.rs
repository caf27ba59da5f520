//! Integration tests: archives in, layers out, and everything hostile refused.

mod edits;
mod errors;
mod hostile_tar;
mod hostile_zip;
mod layers;
mod peers;
mod properties;
mod real;
mod support;
mod tars;
mod zips;
