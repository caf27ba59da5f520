//! Directories as trees.

use std::{
    collections::{BTreeMap, HashMap},
    fs, mem,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use ocicore::{Cx, SizeLimits, Task};

use crate::{
    Content, Device, Entry, EntryPath, Error, Fault, Ignore, Kind, Metadata, Mtime, Result, Tree,
};

/// What is taken of a directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    ignore: Ignore,
    attributes: Attributes,
}

/// Where mode, owner and time come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attributes {
    /// By rule, so that the tree depends neither on the umask nor on who made it when: 0755 for directories
    /// and what anybody can execute, 0644 for others, owner 0, one second after the epoch.
    #[default]
    ByRule,
    /// From the disk.
    OfDisk,
    /// All that a tar can hold is from the disk: extended attributes, hard links and devices, too, as a root file
    /// system needs it. What the user may not read is missing, as some attributes are for all but root.
    Everything,
}

impl Options {
    /// Without what `ignore` matches.
    pub fn with_ignore(mut self, ignore: Ignore) -> Self {
        self.ignore = ignore;
        self
    }

    /// With mode, owner and time from elsewhere than the rule.
    pub fn with_attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }
}

/// Indexes a directory: names and metadata now, content when it is read. Symbolic links are kept and not followed.
/// Sockets are passed over with a warning (`tracing`), as Docker does it: they mean something only
/// to the process that listens.
///
/// ```
/// use repack::{Cx, Ignore, SizeLimits, dir};
///
/// let root = tempfile::tempdir()?;
/// std::fs::write(root.path().join("a.txt"), "hello")?;
/// std::fs::write(root.path().join("a.log"), "")?;
/// let options = dir::Options::default().with_ignore(Ignore::parse("*.log")?);
/// let tree = dir::open(&Cx::default(), root.path(), &options, &SizeLimits::default())?;
/// assert_eq!(tree.len(), 1);
/// assert_eq!(tree.read(&"a.txt".parse()?, 10)?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::File`] for what cannot be read, [`Error::Entry`] for devices unless [`Attributes::Everything`] is
/// asked for, [`Error::Path`], [`Error::Limit`].
pub fn open(
    cx: &Cx,
    path: impl AsRef<Path>,
    options: &Options,
    limits: &SizeLimits,
) -> Result<Tree> {
    let path = path.as_ref();
    let mut walking = Walking {
        root: path.into(),
        options,
        limits,
        tree: Tree::new(),
        unpacked: 0,
        names: HashMap::new(),
        task: cx.task("index entries", None),
    };
    walking.directory(path, None)?;
    walking.links()?;
    Ok(walking.tree)
}

struct Walking<'a> {
    root: Arc<Path>,
    options: &'a Options,
    limits: &'a SizeLimits,
    tree: Tree,
    unpacked: u64,
    /// Of files that have several, by file system and inode.
    names: HashMap<(u64, u64), Vec<EntryPath>>,
    task: Task,
}

impl Walking<'_> {
    fn directory(&mut self, path: &Path, at: Option<&EntryPath>) -> Result<()> {
        // In the order of the file system, which the tree does not keep.
        for entry in fs::read_dir(path).map_err(Error::file("read", path))? {
            let entry = entry.map_err(Error::file("read", path))?;
            self.task.add(1)?;
            let name = EntryPath::parse(entry.file_name().as_bytes())?;
            let name = match at {
                Some(at) => at.join(&name)?,
                None => name,
            };
            self.entry(&entry.path(), name)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: EntryPath) -> Result<()> {
        let ignored = self.options.ignore.ignores(&name);
        let on_disk = fs::symlink_metadata(path).map_err(Error::file("read", path))?;
        let file_type = on_disk.file_type();
        // In an ignored directory there may be what a later rule takes back.
        if ignored && (!file_type.is_dir() || self.options.ignore.is_final()) {
            return Ok(());
        }
        let kind = if file_type.is_dir() {
            Kind::Dir
        } else if file_type.is_file() {
            self.unpacked = self.unpacked.saturating_add(on_disk.len());
            let root = Arc::clone(&self.root);
            Kind::File(Content::on_disk(root, name.clone(), on_disk.len()))
        } else if file_type.is_symlink() {
            let target = fs::read_link(path).map_err(Error::file("read", path))?;
            Kind::Symlink(target.as_os_str().as_bytes().to_vec().into())
        } else if file_type.is_fifo() {
            Kind::Fifo
        } else if file_type.is_socket() {
            tracing::warn!(path = %name, "passed over a socket, which no archive can hold");
            return Ok(());
        } else if self.options.attributes == Attributes::Everything {
            let device = Device {
                major: rustix::fs::major(on_disk.rdev()),
                minor: rustix::fs::minor(on_disk.rdev()),
            };
            if file_type.is_char_device() {
                Kind::CharDevice(device)
            } else {
                Kind::BlockDevice(device)
            }
        } else {
            return Err(Error::Entry {
                path: name.to_string(),
                offset: 0,
                fault: Fault::Kind,
            });
        };
        let is_dir = kind.is_dir();
        if !ignored {
            let mut entry = self.with_metadata(Entry::new(kind), &on_disk);
            if self.options.attributes == Attributes::Everything {
                entry.metadata.xattrs =
                    attributes(path).map_err(|error| Error::file("read", path)(error.into()))?;
                if file_type.is_file() && on_disk.nlink() > 1 {
                    let inode = (on_disk.dev(), on_disk.ino());
                    self.names.entry(inode).or_default().push(name.clone());
                }
            }
            self.tree.insert(name.clone(), entry)?;
        }
        for (count, limit, what) in [
            (self.tree.len() as u64, self.limits.entries(), "entries"),
            (self.unpacked, self.limits.unpacked(), "bytes"),
        ] {
            if count > limit {
                return Err(Error::Limit {
                    what: format!("the directory up to `{name}`, {count} {what},"),
                    limit,
                });
            }
        }
        if is_dir {
            self.directory(path, Some(&name))?;
        }
        Ok(())
    }

    /// Of several names of a file the first in the order of the tree is the file, whichever was found first.
    fn links(&mut self) -> Result<()> {
        for mut names in mem::take(&mut self.names).into_values() {
            names.sort_unstable();
            let mut names = names.into_iter();
            let Some(first) = names.next() else { continue };
            for name in names {
                let link = Kind::Hardlink(first.clone());
                let metadata = self.tree.get(&name).map(|entry| entry.metadata);
                let entry = Entry::new(link).with_metadata(metadata.unwrap_or_default());
                self.tree.insert(name, entry)?;
            }
        }
        Ok(())
    }

    fn with_metadata(&self, entry: Entry, on_disk: &fs::Metadata) -> Entry {
        match (self.options.attributes, &entry.kind) {
            (Attributes::OfDisk | Attributes::Everything, _) => entry.with_metadata(Metadata {
                mode: on_disk.mode() & 0o7777,
                uid: on_disk.uid().into(),
                gid: on_disk.gid().into(),
                mtime: Mtime {
                    seconds: on_disk.mtime(),
                    nanoseconds: u32::try_from(on_disk.mtime_nsec()).unwrap_or(0),
                },
                ..Metadata::default()
            }),
            (Attributes::ByRule, Kind::File(_)) if on_disk.mode() & 0o111 != 0 => {
                entry.with_mode(0o755)
            }
            (Attributes::ByRule, _) => entry,
        }
    }
}

/// The extended attributes of what is there, not of what it may link to; none where the file system has none.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn attributes(path: &Path) -> rustix::io::Result<BTreeMap<Box<[u8]>, Bytes>> {
    use rustix::{
        fs::{lgetxattr, llistxattr},
        io::Errno,
    };

    // Linux has no longer lists and values (xattr(7)).
    let mut buffer = vec![0; 64 << 10];
    let names = match llistxattr(path, &mut buffer[..]) {
        Ok(len) => buffer[..len].to_vec(),
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut all = BTreeMap::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        match lgetxattr(path, name, &mut buffer[..]) {
            Ok(len) => {
                all.insert(name.into(), Bytes::copy_from_slice(&buffer[..len]));
            }
            // Gone meanwhile, or for others only.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn attributes(_: &Path) -> rustix::io::Result<BTreeMap<Box<[u8]>, Bytes>> {
    Ok(BTreeMap::new())
}
