//! Trees as files on disk.
//!
//! Everything happens below one directory handle (`cap_std::fs::Dir`, which is `openat2` on
//! Linux), in a directory of its own that is renamed when it is complete. Files are made, never
//! opened, so that nothing is written through a link, whatever the tree says.

mod files;

use std::{
    fs,
    num::NonZero,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use cap_std::{ambient_authority, fs::Dir};
use ocicore::Cx;
use rustix::fs::{CWD, RenameFlags};

use crate::{Entry, EntryPath, Error, Kind, Result, Tree};

/// How a tree is extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    owner: Owner,
    special_bits: SpecialBits,
    symlinks: Symlinks,
    existing: Existing,
    durability: Durability,
    threads: Option<NonZero<usize>>,
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

    /// With another rule for symbolic links.
    pub fn with_symlinks(mut self, symlinks: Symlinks) -> Self {
        self.symlinks = symlinks;
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

    /// With so many threads that write files, by default as many as the machine runs at once.
    pub fn with_threads(mut self, threads: NonZero<usize>) -> Self {
        self.threads = Some(threads);
        self
    }
}

/// Extracts a tree to a directory, which is there whole or not at all.
///
/// ```
/// use repack::{Cx, Entry, Tree, extract};
///
/// let dir = tempfile::tempdir()?;
/// let to = dir.path().join("root");
/// let mut tree = Tree::new();
/// tree.insert("bin/hello".parse()?, Entry::file("#!/bin/sh\n").with_mode(0o755))?;
/// extract::extract(&Cx::default(), &tree, &extract::Options::default(), &to)?;
/// assert_eq!(std::fs::read(to.join("bin/hello"))?, b"#!/bin/sh\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Escape`] and [`Error::Device`] before anything is written; [`Error::Entry`] if an
/// archive lies about a content, [`Error::Extract`], [`Error::File`], [`Error::Cancelled`]. Nothing is left
/// then.
pub fn extract(cx: &Cx, tree: &Tree, options: &Options, to: impl AsRef<Path>) -> Result<()> {
    let to = to.as_ref();
    let _span = tracing::debug_span!("extract", entries = tree.len()).entered();
    check(tree, options)?;
    if options.existing == Existing::Refused && to.symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    let staging = Staging::beside(to)?;
    let root = Dir::open_ambient_dir(&staging.path, ambient_authority())
        .map_err(Error::file("open", &staging.path))?;
    let threads = options
        .threads
        .or_else(|| thread::available_parallelism().ok())
        .unwrap_or(NonZero::<usize>::MIN);
    files::make(cx, tree, options, &root, threads)?;
    if options.durability == Durability::FileSystem {
        sync(&root).map_err(Error::file("synchronize", to))?;
    }
    staging.rename(to, options.existing)
}

/// What can be refused without touching the disk.
fn check(tree: &Tree, options: &Options) -> Result<()> {
    for (path, entry) in tree {
        match &entry.kind {
            Kind::CharDevice(_) | Kind::BlockDevice(_) => {
                return Err(Error::Device { path: path.clone() });
            }
            Kind::Symlink(target)
                if options.symlinks == Symlinks::Inside && leads_out(path, target) =>
            {
                return Err(Error::Escape {
                    path: path.clone(),
                    target: crate::error::printable(target),
                });
            }
            Kind::Hardlink(target) if !tree.get(target).is_some_and(is_file) => {
                return Err(Error::LinkTarget {
                    path: path.clone(),
                    target: target.clone(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_file(entry: &Entry) -> bool {
    entry.kind.is_file()
}

/// Whether the target may be outside, other links on the way included: each of these is checked
/// itself, but a `..` after one of them counts from where it leads, and so `..` may only come first.
fn leads_out(path: &EntryPath, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return true;
    }
    let mut room = path.components().count() - 1;
    let mut named = false;
    for component in target.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if named || room == 0 => return true,
            b".." => room -= 1,
            _ => named = true,
        }
    }
    false
}

fn exists(to: &Path) -> Error {
    Error::file("extract to", to)(std::io::ErrorKind::AlreadyExists.into())
}

fn sync(root: &Dir) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(root.open(".")?)?;
    // Others have no call for one file system.
    #[cfg(not(target_os = "linux"))]
    {
        let _ = root;
        rustix::fs::sync();
    }
    Ok(())
}

/// A directory beside the destination, deleted unless it is renamed.
struct Staging {
    path: PathBuf,
    parent: PathBuf,
}

impl Staging {
    fn beside(to: &Path) -> Result<Self> {
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let made = tempfile::Builder::new()
            .prefix(".extract-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|error| Error::file("create a directory in", parent)(error.kind().into()))?;
        Ok(Self {
            path: made.keep(),
            parent: parent.to_path_buf(),
        })
    }

    fn rename(self, to: &Path, existing: Existing) -> Result<()> {
        // The usual mode of a directory; whoever wants another lists it in a tree around.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("write", &self.path))?;
        let failed = |error: rustix::io::Errno| Error::file("rename to", to)(error.into());
        let (from, there) = (&self.path, to.symlink_metadata().is_ok());
        if there && existing == Existing::Replaced {
            rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(failed)?;
            // What was there is now in the place of the staging directory, and goes with it.
        } else {
            match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => return Err(exists(to)),
                // Not every file system can tell; a directory replaces none that has entries.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !there => {
                    fs::rename(from, to).map_err(Error::file("rename to", to))?;
                }
                other => other.map_err(failed)?,
            }
        }
        let parent = fs::File::open(&self.parent).map_err(Error::file("open", &self.parent))?;
        parent
            .sync_all()
            .map_err(Error::file("write", &self.parent))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// As well as can be: modes of directories may forbid to delete what is in them.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_ok() || path.symlink_metadata().is_err() {
        return;
    }
    let mut pending = vec![path.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "a temporary directory is left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_may_lead_out() {
        for (path, target, expected) in [
            ("a", "b", false),
            ("a", "b/c", false),
            ("d/a", "../b", false),
            ("d/e/a", "../../b", false),
            ("a", ".", false),
            ("a", "..", true),
            ("d/a", "../..", true),
            ("a", "/etc", true),
            ("a", "b/../c", true),
            ("d/a", "./../b", false),
        ] {
            let path = path.parse().unwrap();
            assert_eq!(leads_out(&path, target.as_bytes()), expected, "{target}");
        }
    }
}
