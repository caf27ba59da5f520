//! Integration tests: archives in, layers out, and everything hostile refused.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

mod advisories;
mod declared;
mod dirs;
mod durability;
mod edits;
mod errors;
mod estargz;
mod everything;
mod example;
mod extraction;
mod golang;
mod hostile;
mod hostile_tar;
mod hostile_zip;
mod images;
mod layers;
mod peers;
mod privileges;
mod properties;
mod real;
mod reproducible;
mod sinks;
mod support;
mod tars;
mod zips;
