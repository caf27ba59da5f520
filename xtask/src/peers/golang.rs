//! containerd's library for eStargz, as source: its package depends on 250 others, of which it needs five.

use std::path::PathBuf;

use crate::failure::Result;

use super::home::Home;
use super::unpacked;

const PACKAGES: &[&str] = &[
    "golang-github-cespare-xxhash-dev",
    "golang-github-containerd-stargz-snapshotter-dev",
    "golang-github-klauspost-compress-dev",
    "golang-github-opencontainers-go-digest-dev",
    "golang-github-vbatts-tar-split-dev",
    "golang-golang-x-sync-dev",
];
/// A `GOPATH` with the library and what it imports.
pub(super) fn estargz(home: &Home) -> Result<PathBuf> {
    let dir = unpacked::packages(home, "golang-estargz", PACKAGES)?;
    Ok(dir.join("usr/share/gocode"))
}
