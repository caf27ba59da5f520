//! How a tree is extracted.

use std::num::NonZero;

/// How a tree is extracted. By default nothing is made that needs a privilege or grants one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub(super) owner: Owner,
    pub(super) special_bits: SpecialBits,
    pub(super) xattrs: Xattrs,
    pub(super) devices: Devices,
    pub(super) symlinks: Symlinks,
    pub(super) names: Names,
    pub(super) existing: Existing,
    pub(super) durability: Durability,
    pub(super) threads: Option<NonZero<usize>>,
}

/// Who owns what is extracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner {
    /// The user who extracts.
    #[default]
    Caller,
    /// Whom the tree says; only root may do that.
    Kept,
}

/// What becomes of setuid, setgid and sticky.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecialBits {
    /// They are cleared.
    #[default]
    Cleared,
    /// They are set.
    Kept,
}

/// What becomes of extended attributes. Among them are `security.capability`, which grants as much as setuid, and
/// `trusted.overlay.*`, which overlayfs obeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Xattrs {
    /// They are not written.
    #[default]
    Dropped,
    /// All are written; it is an error if the file system has none or the user may not. Names that
    /// begin with `user.` are for everybody, most others for root.
    Kept,
    /// Those are written for which the user and the file system suffice.
    WherePossible,
}

/// What becomes of character and block devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Devices {
    /// One of them is an error, before anything is written.
    #[default]
    Refused,
    /// They are passed over.
    Skipped,
    /// They are made, which needs `CAP_MKNOD` of the first user namespace.
    Made,
}

/// Which symbolic links are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// Only those that cannot leave the directory: relative, and with no more `..` than
    /// directories above them.
    #[default]
    Inside,
    /// All, for a root file system that will be the root of somebody.
    Any,
}

/// Which names may be in one directory.
///
/// On a file system that does not tell `a` from `A`, the second of them is an error in any case, for
/// nothing is opened that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// All that differ.
    #[default]
    Any,
    /// Those that differ in more than the case of letters; others are an error before anything is
    /// written, so that the result does not depend on the file system.
    /// [`Tree::case_collisions`](crate::Tree::case_collisions) lists them.
    CaseInsensitive,
}

/// What becomes of a directory that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Existing {
    /// It is an error.
    #[default]
    Refused,
    /// The new one takes its place in one step, and then it is deleted.
    Replaced,
}

/// When what is extracted survives a loss of power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Before it becomes visible: the whole file system is synchronized once.
    #[default]
    FileSystem,
    /// Before it becomes visible: each file and directory is synchronized. Slower, unless others
    /// write much to the same file system.
    Files,
    /// When the system gets to it; for what can be extracted again.
    None,
}

impl Options {
    /// With another owner than the caller.
    pub fn with_owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// With another rule for setuid, setgid and sticky.
    pub fn with_special_bits(mut self, special_bits: SpecialBits) -> Self {
        self.special_bits = special_bits;
        self
    }

    /// With another rule for extended attributes.
    pub fn with_xattrs(mut self, xattrs: Xattrs) -> Self {
        self.xattrs = xattrs;
        self
    }

    /// With another rule for devices.
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }

    /// With another rule for symbolic links.
    pub fn with_symlinks(mut self, symlinks: Symlinks) -> Self {
        self.symlinks = symlinks;
        self
    }

    /// With another rule for names that differ in case only.
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// With another rule for a directory that is there.
    pub fn with_existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// With another durability.
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// With so many threads that write files, by default twice as many as the machine runs at once.
    pub fn with_threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = Some(threads);
        self
    }
}
