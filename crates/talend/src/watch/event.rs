use std::collections::BTreeMap;

use ocicore::{Class, Digest};
use serde::Serialize;

/// What a watch does, as it happens. `T` is what the work on a zip gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event<T> {
    /// It has begun.
    Watching {
        /// The folder.
        folder: String,
        /// Whether the kernel tells of changes.
        by_kernel: bool,
        /// Why it does not, if that was wanted.
        why_not: Option<String>,
    },
    /// Work on a zip begins.
    Taken {
        /// Its path in the folder.
        path: String,
    },
    /// Work on a zip has ended well.
    Done {
        /// Its path in the folder.
        path: String,
        /// Its content.
        digest: Digest,
        /// What the work gave.
        #[serde(flatten)]
        value: T,
    },
    /// A zip of this name and content was done before.
    Known {
        /// Its path in the folder.
        path: String,
        /// Its content.
        digest: Digest,
    },
    /// A zip was written to while it was in work, and is looked at again.
    Changed {
        /// Its path in the folder.
        path: String,
    },
    /// Work on a zip has failed, or it is no zip.
    Failed {
        /// Its path in the folder.
        path: String,
        /// Why.
        error: String,
        /// Whether it is tried again as it is; else when it changes.
        again: bool,
    },
    /// A zip has failed in an earlier watch, and has not changed since.
    StillFailed {
        /// Its path in the folder.
        path: String,
        /// Why.
        error: String,
    },
    /// Something in the folder, or itself (`path` is empty), cannot be read. It is said once.
    Unreadable {
        /// The path in the folder.
        path: String,
        /// Why.
        error: String,
    },
    /// No more zips are taken; those in work are finished.
    Stopping {
        /// How many these are.
        in_work: usize,
    },
}

/// Why work on a zip failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(crate) error: String,
    pub(crate) transient: bool,
}

impl Fault {
    /// It will fail again as long as the zip is the same.
    pub fn permanent(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            transient: false,
        }
    }

    /// It may work when it is tried again, for example since a registry did not answer.
    pub fn transient(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            transient: true,
        }
    }

    /// By the class of an error: what may pass, what is full and what was cancelled may work later.
    pub fn classed(class: Class, error: impl Into<String>) -> Self {
        match class {
            Class::Transient | Class::Exhausted | Class::Cancelled => Self::transient(error),
            _ => Self::permanent(error),
        }
    }
}

/// What a watch did, when it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Number of zips that were processed.
    pub done: u64,
    /// Zips in the folder that failed last, in this watch or an earlier one, with the reason, by their
    /// paths in it.
    pub failed: BTreeMap<String, String>,
}
