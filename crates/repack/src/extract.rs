//! Trees as files on disk.
//!
//! Everything happens below one directory handle (`cap_std::fs::Dir`, which is `openat2` on
//! Linux), in a directory of its own that is renamed when it is complete. Files are made, never
//! opened, so that nothing is written through a link, whatever the tree says. Content is verified while it is
//! written, and so before it is visible. Several threads fill directories, and long runs of zeros become holes.
//!
//! Layers are stacked by [`Tree::apply_layer`](crate::Tree::apply_layer) first, which knows whiteouts and opaque
//! directories. A layer whose digest is known is opened by [`layer::open`](crate::layer::open), which verifies it before there
//! is anything to extract. What needs a privilege or grants one is refused or left out unless an option asks for it: owners, setuid,
//! attributes, devices.

mod content;
mod make;
mod metadata;
mod options;
mod queue;
mod staging;

use std::{num::NonZero, ops::Bound, path::Path, thread};

use cap_std::{ambient_authority, fs::Dir};
use ocicore::Cx;

pub use self::options::{
    Devices, Durability, Existing, Names, Options, Owner, SpecialBits, Symlinks, Xattrs,
};
use self::staging::{Staging, exists};
use crate::{EntryPath, Error, Kind, Result, Tree};

/// Threads for each processor, as some of them wait for the disk.
const EACH: NonZero<usize> = NonZero::new(2).unwrap();

/// Extracts a tree to a directory, which is there whole or not at all. Until then it is a directory `.extract-…`
/// beside it, for its owner only, which stays if the process is killed.
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
/// [`Error::Escape`], [`Error::LinkTarget`], [`Error::Device`] and [`Error::Case`] before anything is written; [`Error::Entry`] if an
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
    let threads = options.threads.unwrap_or_else(|| {
        let processors = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        processors.saturating_mul(EACH)
    });
    make::make(cx, tree, options, &root, threads)?;
    if options.durability == Durability::FileSystem {
        sync(&root).map_err(Error::file("synchronize", to))?;
    }
    staging.rename(to, options)
}

/// What can be refused without touching the disk.
fn check(tree: &Tree, options: &Options) -> Result<()> {
    for (path, item) in tree.items(Bound::Unbounded) {
        let offset = item.offset();
        match item.entry.kind {
            Kind::CharDevice(_) | Kind::BlockDevice(_) if options.devices == Devices::Refused => {
                return Err(Error::Device { path, offset });
            }
            Kind::Symlink(target)
                if options.symlinks == Symlinks::Inside && leads_out(&path, &target) =>
            {
                return Err(Error::Escape {
                    path,
                    target: crate::error::printable(&target),
                    offset,
                });
            }
            Kind::Hardlink(target) if !tree.get(&target).is_some_and(|e| e.kind.is_file()) => {
                return Err(Error::LinkTarget {
                    path,
                    target,
                    offset,
                });
            }
            _ => {}
        }
    }
    match options.names {
        Names::Any => Ok(()),
        Names::CaseInsensitive => tree
            .case_collisions()
            .into_iter()
            .next()
            .map_or(Ok(()), |two| {
                Err(Error::Case {
                    offset: tree.offset(&two.second),
                    path: two.second,
                    other: two.first,
                })
            }),
    }
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
