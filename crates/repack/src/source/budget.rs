//! What an index may keep of an archive in memory.

use ocicore::SizeLimits;

use crate::{Fault, Tree};

/// Bytes for each entry that the limits allow; all entries together may have so many, however long those of one are.
const EACH: u64 = 256;
/// And on top of that, so that few entries may have long names.
const BASE: u64 = 1 << 20;

/// What each of many small things takes in memory besides its own bytes.
pub(super) const THING: usize = 128;

/// Bytes of names, targets of links, attributes and maps, which stay in memory as long as the tree. A few
/// bytes of a compressed archive can be many of these.
#[derive(Debug)]
pub(super) struct Budget {
    used: u64,
    most: u64,
}

impl Budget {
    pub(super) fn new(limits: &SizeLimits) -> Self {
        Self {
            used: 0,
            most: most(limits),
        }
    }

    /// So many bytes more.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.used = self.used.saturating_add(bytes as u64);
        if self.used <= self.most {
            return Ok(());
        }
        Err(Fault::Limit {
            what: "the bytes of all names, links and attributes",
            actual: self.used,
            limit: self.most,
        })
    }
}

/// Bytes that all entries may take in memory.
pub(super) fn most(limits: &SizeLimits) -> u64 {
    let all = limits.entries().saturating_mul(EACH);
    all.saturating_add(BASE)
}

/// Directories that no entry is for come on top of the entries, and a name of 4 KiB is in some two thousand of them: they
/// may be as many as the entries.
pub(super) fn check_depth(tree: &Tree, limits: &SizeLimits) -> Result<(), Fault> {
    let (actual, limit) = (tree.len() as u64, limits.entries().saturating_mul(2));
    if actual <= limit {
        return Ok(());
    }
    Err(Fault::Limit {
        what: "the number of entries and directories above them",
        actual,
        limit,
    })
}
