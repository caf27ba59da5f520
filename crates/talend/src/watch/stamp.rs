use std::{
    fs::{self, Metadata},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};

/// What a file system says of a file without reading it. Two that are equal are of the same content:
/// every write changes one of the times, and a file that is put in the place of another is another
/// inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    /// Seconds and nanoseconds since the epoch.
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Stamp {
    /// Of a file, through symbolic links.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self {
            size: metadata.len(),
            modified: (seconds, since.subsec_nanos().into()),
            changed: (0, 0),
            inode: 0,
        }
    }

    /// For tests of what only compares stamps.
    #[cfg(test)]
    pub(crate) fn sized(size: u64) -> Self {
        Self {
            size,
            modified: (0, 0),
            changed: (0, 0),
            inode: 0,
        }
    }
}
