//! Some entries in a row, as bytes.

use std::{mem, ops::Bound, path::Path, ptr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Item;
use crate::{
    Content, Device, Entry, EntryPath, Kind, Metadata, Mtime, ReadAt,
    content::{Repr, Source},
};

/// Entries in order, each told by how it differs from the one before.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// [`Name`]s, apart from all else, so that one is found fast.
    names: Box<[u8]>,
    /// [`Record`]s.
    records: Box<[u8]>,
    /// What records name by number.
    sources: Box<[Arc<dyn ReadAt>]>,
    roots: Box<[Arc<Path>]>,
    contents: Box<[Bytes]>,
}

/// A path: so much of the one before, then the rest.
#[derive(Serialize, Deserialize)]
struct Name<'a> {
    shared: u16,
    rest: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    implied: bool,
    origin: u32,
    at: Option<u64>,
    /// Seconds after the entry before.
    seconds: i64,
    nanoseconds: u32,
    /// None if it is as before.
    #[serde(borrow)]
    common: Option<Common<'a>>,
    #[serde(borrow)]
    what: What<'a>,
}

/// What many entries share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Common<'a> {
    mode: u32,
    uid: u64,
    gid: u64,
    #[serde(borrow)]
    xattrs: Vec<(&'a [u8], &'a [u8])>,
}

#[derive(Serialize, Deserialize)]
enum What<'a> {
    Dir,
    Deflated {
        at: Place,
        compressed: u64,
        crc: [u8; 4],
    },
    Stored {
        at: Place,
        crc: Option<[u8; 4]>,
        /// The same, compressed.
        #[serde(borrow)]
        packed: Option<Box<What<'a>>>,
    },
    /// A file of a directory; without a path it has that of the entry.
    OnDisk {
        root: usize,
        #[serde(borrow)]
        path: Option<&'a [u8]>,
        size: u64,
    },
    Bytes(usize),
    #[serde(borrow)]
    Symlink(&'a [u8]),
    #[serde(borrow)]
    Hardlink(&'a [u8]),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

#[derive(Serialize, Deserialize)]
struct Place {
    source: usize,
    /// Bytes after the content before.
    offset: i64,
    size: u64,
}

impl Block {
    pub(super) fn of(items: &[(EntryPath, Item)]) -> Self {
        let mut packing = Packing::default();
        for (path, item) in items {
            packing.add(path, item);
        }
        Self {
            names: packing.names.into(),
            records: packing.records.into(),
            sources: packing.sources.into(),
            roots: packing.roots.into(),
            contents: packing.contents.into(),
        }
    }

    /// Where an entry is in the order.
    pub(super) fn position(&self, path: &EntryPath) -> Option<usize> {
        let mut names = self.names();
        let mut at = 0;
        while names.advance() {
            if *names.path >= *path.as_bytes() {
                return (*names.path == *path.as_bytes()).then_some(at);
            }
            at += 1;
        }
        None
    }

    pub(super) fn item(&self, at: usize) -> Option<Item> {
        let mut items = self.items();
        for _ in 0..at {
            items.skip_one()?;
        }
        Some(items.next()?.1)
    }

    pub(super) fn items(&self) -> Items<'_> {
        Items {
            block: self,
            names: self.names(),
            records: &self.records,
            common: Common::default(),
            seconds: 0,
            offset: 0,
        }
    }

    /// From here on.
    pub(super) fn items_from(&self, start: Bound<&EntryPath>) -> Items<'_> {
        let is_before = |path: &[u8]| match start {
            Bound::Included(start) => path < start.as_bytes(),
            Bound::Excluded(start) => path <= start.as_bytes(),
            Bound::Unbounded => false,
        };
        let (mut names, mut items) = (self.names(), self.items());
        while names.advance() && is_before(&names.path) {
            items.skip_one();
        }
        items
    }

    /// How much memory its entries take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self) + self.names.len() + self.records.len() + size_of_val(&*self.sources)
    }

    fn names(&self) -> Names<'_> {
        Names {
            rest: &self.names,
            path: Vec::new(),
        }
    }
}

/// What goes into a block.
#[derive(Default)]
struct Packing<'t> {
    names: Vec<u8>,
    records: Vec<u8>,
    sources: Vec<Arc<dyn ReadAt>>,
    roots: Vec<Arc<Path>>,
    contents: Vec<Bytes>,
    path: &'t [u8],
    common: Common<'t>,
    seconds: i64,
    /// Where the content before begins.
    offset: u64,
}

impl<'t> Packing<'t> {
    fn add(&mut self, path: &'t EntryPath, item: &'t Item) {
        let bytes = path.as_bytes();
        let same = self.path.iter().zip(bytes).take_while(|(a, b)| a == b);
        // Paths are no longer than 4095 bytes.
        let shared = u16::try_from(same.count()).unwrap_or(0);
        let rest = &bytes[shared.into()..];
        append(&mut self.names, &Name { shared, rest });
        self.path = bytes;

        let metadata = &item.entry.metadata;
        let Mtime {
            seconds,
            nanoseconds,
        } = metadata.mtime;
        let common = Common {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            xattrs: metadata.xattrs.iter().map(|(k, v)| (&**k, &**v)).collect(),
        };
        let record = Record {
            implied: item.implied,
            origin: item.origin,
            at: item.at,
            seconds: seconds.wrapping_sub(self.seconds),
            nanoseconds,
            common: (common != self.common).then(|| common.clone()),
            what: self.what(path, &item.entry.kind),
        };
        append(&mut self.records, &record);
        (self.common, self.seconds) = (common, seconds);
    }

    fn what(&mut self, path: &EntryPath, kind: &'t Kind) -> What<'t> {
        match kind {
            Kind::File(content) => self.content(path, content),
            Kind::Dir => What::Dir,
            Kind::Symlink(target) => What::Symlink(target),
            Kind::Hardlink(target) => What::Hardlink(target.as_bytes()),
            Kind::CharDevice(Device { major, minor }) => What::CharDevice(*major, *minor),
            Kind::BlockDevice(Device { major, minor }) => What::BlockDevice(*major, *minor),
            Kind::Fifo => What::Fifo,
        }
    }

    fn content(&mut self, path: &EntryPath, content: &'t Content) -> What<'t> {
        match &content.0 {
            Repr::Bytes(bytes) => {
                self.contents.push(bytes.clone());
                What::Bytes(self.contents.len() - 1)
            }
            Repr::Deflated {
                source,
                offset,
                compressed,
                size,
                crc,
            } => What::Deflated {
                at: self.place(source, *offset, *size),
                compressed: *compressed,
                crc: crc.to_le_bytes(),
            },
            Repr::Stored {
                source: Source::OnDisk { root, path: file },
                size,
                ..
            } => What::OnDisk {
                root: number(&mut self.roots, root),
                path: (file != path).then(|| file.as_bytes()),
                size: *size,
            },
            Repr::Stored {
                source: Source::Shared(source),
                offset,
                size,
                crc,
                packed,
            } => What::Stored {
                at: self.place(source, *offset, *size),
                crc: crc.map(u32::to_le_bytes),
                packed: packed
                    .as_deref()
                    .map(|packed| Box::new(self.content(path, packed))),
            },
        }
    }

    fn place(&mut self, source: &Arc<dyn ReadAt>, offset: u64, size: u64) -> Place {
        let before = mem::replace(&mut self.offset, offset);
        Place {
            source: number(&mut self.sources, source),
            offset: offset.wrapping_sub(before).cast_signed(),
            size,
        }
    }
}

/// What is kept once, and named by its place.
fn number<T: ?Sized>(known: &mut Vec<Arc<T>>, one: &Arc<T>) -> usize {
    let same = |other: &Arc<T>| ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(one));
    known.iter().rposition(same).unwrap_or_else(|| {
        known.push(Arc::clone(one));
        known.len() - 1
    })
}

fn append<T: Serialize>(to: &mut Vec<u8>, record: &T) {
    let appended = postcard::to_extend(record, mem::take(to));
    *to = appended.expect("memory takes whatever is appended");
}

/// The next record. None at the end, for there is nothing in a block but what was put there.
fn next<'b, T: Deserialize<'b>>(from: &mut &'b [u8]) -> Option<T> {
    let (record, rest) = postcard::take_from_bytes(from).ok()?;
    *from = rest;
    Some(record)
}

#[derive(Clone, Debug)]
struct Names<'b> {
    rest: &'b [u8],
    path: Vec<u8>,
}

impl Names<'_> {
    /// To the next path; false if there is none.
    fn advance(&mut self) -> bool {
        let Some(Name { shared, rest }) = next(&mut self.rest) else {
            return false;
        };
        self.path.truncate(shared.into());
        self.path.extend_from_slice(rest);
        true
    }
}

/// Entries of a block.
#[derive(Clone, Debug)]
pub(super) struct Items<'b> {
    block: &'b Block,
    names: Names<'b>,
    records: &'b [u8],
    common: Common<'b>,
    seconds: i64,
    offset: u64,
}

impl<'b> Items<'b> {
    fn skip_one(&mut self) -> Option<()> {
        self.names.advance().then_some(())?;
        let record = self.record()?;
        self.skip(&record.what);
        Some(())
    }

    fn record(&mut self) -> Option<Record<'b>> {
        let mut record: Record<'b> = next(&mut self.records)?;
        self.seconds = self.seconds.wrapping_add(record.seconds);
        if let Some(common) = record.common.take() {
            self.common = common;
        }
        Some(record)
    }

    /// Of contents only the place counts for those that follow.
    fn skip(&mut self, what: &What<'_>) {
        match what {
            What::Deflated { at, .. } => self.offset(at),
            What::Stored { at, packed, .. } => {
                self.offset(at);
                if let Some(packed) = packed {
                    self.skip(packed);
                }
            }
            _ => {}
        }
    }

    fn offset(&mut self, at: &Place) {
        self.offset = self.offset.wrapping_add_signed(at.offset);
    }

    fn metadata(&self, nanoseconds: u32) -> Metadata {
        let Common {
            mode,
            uid,
            gid,
            ref xattrs,
        } = self.common;
        let xattrs = xattrs
            .iter()
            .map(|(name, value)| ((*name).into(), Bytes::copy_from_slice(value)));
        Metadata {
            mode,
            uid,
            gid,
            mtime: Mtime {
                seconds: self.seconds,
                nanoseconds,
            },
            xattrs: xattrs.collect(),
        }
    }

    fn kind(&mut self, path: &EntryPath, what: What<'_>) -> Option<Kind> {
        Some(match what {
            What::Dir => Kind::Dir,
            What::Symlink(target) => Kind::Symlink(Bytes::copy_from_slice(target)),
            What::Hardlink(target) => Kind::Hardlink(EntryPath::parsed(target)),
            What::CharDevice(major, minor) => Kind::CharDevice(Device { major, minor }),
            What::BlockDevice(major, minor) => Kind::BlockDevice(Device { major, minor }),
            What::Fifo => Kind::Fifo,
            content => Kind::File(self.content(path, content)?),
        })
    }

    fn content(&mut self, path: &EntryPath, what: What<'_>) -> Option<Content> {
        Some(match what {
            What::Bytes(at) => self.block.contents.get(at)?.clone().into(),
            What::OnDisk {
                root,
                path: file,
                size,
            } => {
                let root = Arc::clone(self.block.roots.get(root)?);
                let file = file.map_or_else(|| path.clone(), EntryPath::parsed);
                Content::on_disk(root, file, size)
            }
            What::Deflated {
                at,
                compressed,
                crc,
            } => {
                self.offset(&at);
                let source = Arc::clone(self.block.sources.get(at.source)?);
                let crc = u32::from_le_bytes(crc);
                Content::deflated(source, self.offset, compressed, at.size, crc)
            }
            What::Stored { at, crc, packed } => {
                self.offset(&at);
                let source = Arc::clone(self.block.sources.get(at.source)?);
                let crc = crc.map(u32::from_le_bytes);
                let content = Content::stored(source, self.offset, at.size, crc);
                match packed {
                    Some(packed) => content.with_packed(self.content(path, *packed)?),
                    None => content,
                }
            }
            _ => return None,
        })
    }
}

impl Iterator for Items<'_> {
    type Item = (EntryPath, Item);

    fn next(&mut self) -> Option<Self::Item> {
        self.names.advance().then_some(())?;
        let path = EntryPath::parsed(&self.names.path);
        let record = self.record()?;
        let metadata = self.metadata(record.nanoseconds);
        let kind = self.kind(&path, record.what)?;
        let item = Item {
            entry: Entry { kind, metadata },
            implied: record.implied,
            origin: record.origin,
            at: record.at,
        };
        Some((path, item))
    }
}
