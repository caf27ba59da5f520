//! What all tests share: archives made here, layers read by the tar crate.

pub(crate) mod disk;
pub(crate) mod tar;
pub(crate) mod zip;

use std::{
    error::Error as StdError,
    io::{Read, Write},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{Compression, Crc, read::MultiGzDecoder, write::DeflateEncoder};
use ocicore::{Digest, SizeLimits};
use repack::{Cx, EntryPath, Error, Tree, layer};

/// One entry as a foreign reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) kind: ::tar::EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) link: Option<String>,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn path(path: &str) -> EntryPath {
    path.parse().unwrap()
}

pub(crate) fn index_zip(bytes: impl Into<Bytes>) -> Result<Tree, Error> {
    let source = Arc::new(bytes.into());
    repack::zip::index(&Cx::default(), source, &SizeLimits::default())
}

pub(crate) fn index_tar(bytes: impl Into<Bytes>) -> Result<Tree, Error> {
    let source = Arc::new(bytes.into());
    repack::tar::index(&Cx::default(), source, &SizeLimits::default())
}

pub(crate) fn write(
    tree: &Tree,
    options: &layer::Options,
) -> Result<(Vec<u8>, layer::Written), Error> {
    let mut out = Vec::new();
    let written = layer::write(&Cx::default(), tree, options, &mut out)?;
    assert_eq!(written.size, out.len() as u64);
    assert_eq!(written.digest, Digest::of(&out));
    Ok((out, written))
}

/// A gzip layer with the default options; its diff_id is right.
pub(crate) fn gzip(tree: &Tree) -> Vec<u8> {
    let (out, written) = write(tree, &layer::Options::default()).unwrap();
    let raw = gunzip(&out);
    assert_eq!(written.diff_id, Digest::of(&raw));
    assert_eq!(written.unpacked_size, raw.len() as u64);
    out
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
    raw
}

/// All entries of a plain tar.
pub(crate) fn entries(raw: &[u8]) -> Vec<Seen> {
    let mut archive = ::tar::Archive::new(raw);
    let see = |entry: std::io::Result<::tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Seen {
            name: text(&entry.path_bytes()),
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap(),
            link: entry.link_name_bytes().map(|link| text(&link)),
            content,
        }
    };
    archive.entries().unwrap().map(see).collect()
}

/// The error and all that caused it, one line each.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut lines = vec![error.to_string()];
    let mut at = error.source();
    while let Some(error) = at {
        lines.push(error.to_string());
        at = error.source();
    }
    lines.join("\n  ")
}

pub(crate) fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn crc32(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}

/// Bytes that look like text, the same for the same seed, so that deflate makes them smaller.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    const UNIT: usize = 60_000;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = Vec::with_capacity(UNIT + 16);
    while unit.len() < len.min(UNIT) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        unit.extend_from_slice(format!("{} ", state % 100_003).as_bytes());
    }
    let mut out = Vec::with_capacity(len + UNIT + 32);
    for at in 0.. {
        out.extend_from_slice(&unit);
        if out.len() >= len {
            break;
        }
        out.extend_from_slice(format!("line {at}\n").as_bytes());
    }
    out.truncate(len);
    out
}
