use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Content, EntryPath};

/// One entry of a [`Tree`](crate::Tree).
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Mode, owner, times.
    pub metadata: Metadata,
}

/// What an entry is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A directory.
    Dir,
    /// A symbolic link; its target is kept as it is, also if it is absolute or leads outside.
    Symlink(Bytes),
    /// Another name of a regular file of the same tree.
    Hardlink(EntryPath),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its driver.
    pub major: u32,
    /// Its number with the driver.
    pub minor: u32,
}

/// All of an entry that can be changed without changing what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Permissions with setuid, setgid and sticky: the lower 12 bits of `st_mode`.
    pub mode: u32,
    /// User id.
    pub uid: u64,
    /// Group id.
    pub gid: u64,
    /// When the content was changed.
    pub mtime: Mtime,
    /// Extended attributes by their full names.
    pub xattrs: BTreeMap<Box<[u8]>, Bytes>,
}

/// A time of modification; one second after the epoch by default, as Jib has it, since 0 upsets
/// some tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Nanoseconds on top of these, less than 10^9.
    pub nanoseconds: u32,
}

impl Entry {
    /// A regular file with mode 0644.
    pub fn file(content: impl Into<Content>) -> Self {
        Self::new(Kind::File(content.into()))
    }

    /// A directory with mode 0755.
    pub fn dir() -> Self {
        Self::new(Kind::Dir)
    }

    /// A symbolic link with mode 0777.
    pub fn symlink(target: impl Into<Bytes>) -> Self {
        Self::new(Kind::Symlink(target.into()))
    }

    /// A hard link to `target`.
    pub fn hardlink(target: EntryPath) -> Self {
        Self::new(Kind::Hardlink(target))
    }

    /// An entry with the usual mode of its kind, owner 0 and mtime 1.
    pub fn new(kind: Kind) -> Self {
        let mode = kind.usual_mode();
        Self {
            kind,
            metadata: Metadata {
                mode,
                ..Metadata::default()
            },
        }
    }

    /// With other metadata.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// With another mode.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.metadata.mode = mode;
        self
    }

    /// Content if it is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// As [`Entry::content`], without the rest.
    pub fn into_content(self) -> Option<Content> {
        match self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }
}

impl Kind {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir)
    }

    fn usual_mode(&self) -> u32 {
        match self {
            Self::Dir => 0o755,
            Self::Symlink(_) => 0o777,
            _ => 0o644,
        }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: BTreeMap::new(),
        }
    }
}

impl Mtime {
    /// So many seconds after the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }
}

impl Default for Mtime {
    fn default() -> Self {
        Self::from_seconds(1)
    }
}
