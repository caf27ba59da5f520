//! The index of eStargz: where the content of each file begins, so that a reader can fetch one
//! (stargz-snapshotter docs/estargz.md, version 1).

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Cursor, Read, Seek, Write},
    iter::Peekable,
    mem,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ocicore::{Algorithm, Digest, Hasher};
use serde::Serialize;
use tempfile::SpooledTempFile;

use crate::{
    Entry, EntryPath, Error, Fault, Kind, Metadata, Mtime, Result, Tree, tree,
    write::header::{self, Type},
};

/// The index is a file of this name, which therefore no other file may have.
const TOC: &str = "stargz.index.json";
/// Says that nothing is worth to be fetched before it is asked for.
const LANDMARK: &str = ".no.prefetch.landmark";
const OTHER_LANDMARK: &str = ".prefetch.landmark";

/// So many bytes of the index are kept in memory, more in a temporary file.
const IN_MEMORY: usize = 4 << 20;

/// The index, written while the contents are: both are in the order of the tree.
#[derive(Debug)]
pub(crate) struct Index<'t> {
    tree: &'t Tree,
    /// What is not in the index yet.
    entries: Peekable<tree::Iter<'t>>,
    /// Of the plan: the first name of a file has the content.
    moved: BTreeMap<EntryPath, EntryPath>,
    /// The file whose content is being written.
    current: Option<Written>,
    json: Json,
}

#[derive(Debug)]
struct Written {
    path: EntryPath,
    offset: u64,
    hasher: Hasher,
}

/// The text of the index.
#[derive(Debug)]
struct Json {
    to: BufWriter<SpooledTempFile>,
    hasher: Hasher,
    size: u64,
    /// Whether there is an entry in it.
    more: bool,
    line: Vec<u8>,
}

/// The index as the last file of the tar, with its end.
pub(crate) struct Toc {
    /// Of the index alone.
    pub(crate) digest: Digest,
    /// Bytes of the tar.
    pub(crate) size: u64,
    pub(crate) tar: Box<dyn Read>,
}

/// An entry of the index; names and order of the fields as the Go library has them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime")]
    modified: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    mode: u32,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    /// Values in base 64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<Digest>,
}

/// The tree with the landmark, and without names that are the format's own.
pub(crate) fn marked(tree: &Tree) -> Result<Tree> {
    let mut tree = tree.clone();
    for name in [TOC, LANDMARK, OTHER_LANDMARK] {
        tree.remove(&EntryPath::parse(name.as_bytes())?);
    }
    // Its content is fixed by the format.
    let landmark = Entry::file(vec![0xf]);
    tree.insert(EntryPath::parse(LANDMARK.as_bytes())?, landmark)?;
    Ok(tree)
}

/// What the descriptor of the layer must say.
pub(crate) fn annotations(toc: &Digest, unpacked: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        (
            "containerd.io/snapshot/stargz/toc.digest".to_owned(),
            toc.to_string(),
        ),
        (
            "io.containers.estargz.uncompressed-size".to_owned(),
            unpacked.to_string(),
        ),
    ])
}

/// An empty gzip member of 51 bytes, which says in an extra field where the index begins.
pub(crate) fn footer(toc: u64) -> Vec<u8> {
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    let place = format!("{toc:016x}STARGZ");
    footer.extend([26, 0, b'S', b'G', 22, 0]);
    footer.extend(place.as_bytes());
    // An empty stored block, then CRC-32 and size of nothing.
    footer.extend([1, 0, 0, 0xff, 0xff]);
    footer.extend([0; 8]);
    footer
}

impl<'t> Index<'t> {
    pub(crate) fn new(tree: &'t Tree, moved: BTreeMap<EntryPath, EntryPath>) -> Result<Self> {
        let mut json = Json {
            to: BufWriter::new(SpooledTempFile::new(IN_MEMORY)),
            hasher: Algorithm::Sha256.hasher(),
            size: 0,
            more: false,
            line: Vec::new(),
        };
        json.text(br#"{"version":1,"entries":["#)?;
        Ok(Self {
            tree,
            entries: tree.iter().peekable(),
            moved,
            current: None,
            json,
        })
    }

    /// A piece of a file's content goes to this offset; the first one counts.
    pub(crate) fn add(&mut self, path: &EntryPath, offset: u64, raw: &[u8]) -> Result<()> {
        if let Some(current) = &mut self.current
            && current.path == *path
        {
            current.hasher.update(raw);
            return Ok(());
        }
        self.up_to(Some(path))?;
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(raw);
        let path = path.clone();
        self.current = Some(Written {
            path,
            offset,
            hasher,
        });
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Toc> {
        self.up_to(None)?;
        self.json.text(b"]}")?;
        let Json {
            to, hasher, size, ..
        } = self.json;
        let mut json = to
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        json.rewind().map_err(failed)?;
        let path = EntryPath::parse(TOC.as_bytes())?;
        let metadata = Metadata {
            mode: 0o444,
            ..Metadata::default()
        };
        let mut start = Vec::new();
        header::append(&mut start, &path, Type::File(size), &metadata).map_err(|fault| {
            Error::Write {
                path: path.clone(),
                offset: None,
                fault,
            }
        })?;
        let mut end = vec![0; header::padding(size)];
        end.extend(header::end());
        Ok(Toc {
            digest: hasher.finish(),
            size: (start.len() + end.len()) as u64 + size,
            tar: Box::new(
                Cursor::new(start)
                    .chain(json.take(size))
                    .chain(Cursor::new(end)),
            ),
        })
    }

    /// All entries before `path`, or all that are left.
    fn up_to(&mut self, path: Option<&EntryPath>) -> Result<()> {
        let mut current = self.current.take();
        while let Some((path, entry)) = self.entries.next_if(|(here, _)| Some(here) != path) {
            let written = current.take_if(|written| written.path == path);
            let entry = self.entry(&path, entry, written);
            let entry = entry.map_err(|fault| Error::Write {
                offset: self.tree.offset(&path),
                path,
                fault,
            })?;
            self.json.entry(&entry)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        path: &EntryPath,
        entry: Entry,
        written: Option<Written>,
    ) -> Result<TocEntry, Fault> {
        let (target, owner) = match &entry.kind {
            Kind::Hardlink(target) => {
                let owner = self.tree.get(target).unwrap_or_else(|| entry.clone());
                (Some(target.clone()), owner)
            }
            Kind::File(_) => (Some(path.clone()), entry),
            _ => (None, entry),
        };
        let holder = target.map(|target| self.moved.get(&target).cloned().unwrap_or(target));
        match holder {
            Some(holder) if holder != *path => Ok(TocEntry {
                link_name: text("name", holder.as_bytes())?,
                ..TocEntry::new(path, "hardlink", &owner.metadata)?
            }),
            _ => describe(path, &owner, written),
        }
    }
}

impl Json {
    fn entry(&mut self, entry: &TocEntry) -> Result<()> {
        let mut line = mem::take(&mut self.line);
        line.clear();
        if mem::replace(&mut self.more, true) {
            line.push(b',');
        }
        serde_json::to_writer(&mut line, entry).map_err(|error| failed(error.into()))?;
        self.text(&line)?;
        self.line = line;
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<()> {
        self.size += text.len() as u64;
        self.hasher.update(text);
        self.to.write_all(text).map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    Error::io("write the index", error)
}

fn describe(path: &EntryPath, entry: &Entry, written: Option<Written>) -> Result<TocEntry, Fault> {
    let new = |kind| TocEntry::new(path, kind, &entry.metadata);
    Ok(match &entry.kind {
        Kind::File(content) => {
            let written = written.map(|written| (written.offset, written.hasher.finish()));
            let digest = written.map(|(_, digest)| digest);
            TocEntry {
                size: content.size(),
                offset: written.map_or(0, |(offset, _)| offset),
                digest,
                chunk_digest: digest,
                ..new("reg")?
            }
        }
        Kind::Dir => {
            let mut dir = new("dir")?;
            dir.name.push('/');
            dir
        }
        Kind::Symlink(target) => TocEntry {
            link_name: text("target", target)?,
            ..new("symlink")?
        },
        Kind::CharDevice(device) | Kind::BlockDevice(device) => TocEntry {
            dev_major: device.major.into(),
            dev_minor: device.minor.into(),
            ..new(if matches!(entry.kind, Kind::CharDevice(_)) {
                "char"
            } else {
                "block"
            })?
        },
        Kind::Fifo => new("fifo")?,
        Kind::Hardlink(_) => new("hardlink")?,
    })
}

impl TocEntry {
    fn new(path: &EntryPath, kind: &'static str, metadata: &Metadata) -> Result<Self, Fault> {
        let xattrs = metadata.xattrs.iter().map(|(name, value)| {
            let name = text("name of an attribute", name)?;
            Ok((name, STANDARD.encode(value)))
        });
        Ok(Self {
            name: text("name", path.as_bytes())?,
            kind,
            size: 0,
            modified: rfc3339(metadata.mtime),
            link_name: String::new(),
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            offset: 0,
            dev_major: 0,
            dev_minor: 0,
            xattrs: xattrs.collect::<Result<_, Fault>>()?,
            digest: None,
            chunk_digest: None,
        })
    }
}

/// JSON has no bytes.
fn text(what: &'static str, bytes: &[u8]) -> Result<String, Fault> {
    let text = str::from_utf8(bytes).map_err(|_| Fault::NotText(what))?;
    Ok(text.to_owned())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whole seconds in UTC, with years of four digits as the format has them.
fn rfc3339(mtime: Mtime) -> String {
    let seconds = mtime.seconds.clamp(-62_135_596_800, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to date by eras of 400 years that begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (1, "1970-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MIN, "0001-01-01T00:00:00Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(Mtime::from_seconds(seconds)), expected);
        }
    }

    #[test]
    fn the_footer_has_its_size() {
        assert_eq!(footer(0x1234).len(), 51);
    }
}
