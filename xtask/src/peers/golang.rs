//! containerd's library for eStargz, as source: its package depends on 250 others, of which it needs four.

use std::path::PathBuf;

use crate::failure::Result;

use super::home::Home;
use super::unpacked;

const PACKAGES: &[&str] = &[
    "golang-github-containerd-stargz-snapshotter-dev",
    "golang-github-klauspost-compress-dev",
    "golang-github-opencontainers-go-digest-dev",
    "golang-github-vbatts-tar-split-dev",
    "golang-golang-x-sync-dev",
];
const LIBRARY: &str =
    "usr/share/gocode/src/github.com/containerd/stargz-snapshotter/estargz/estargz.go";

/// A `GOPATH` with the library and what it imports.
pub(super) fn estargz(home: &Home) -> Result<PathBuf> {
    let dir = unpacked::packages(home, "golang-estargz", PACKAGES, LIBRARY)?;
    Ok(dir.join("usr/share/gocode"))
}
