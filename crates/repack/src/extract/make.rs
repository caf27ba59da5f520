//! Makes the entries of a tree below a directory handle.
//!
//! A directory is the unit of work: one thread makes what is in it by its handle and single names,
//! so that two threads seldom wait for the lock that the kernel has for each directory.

use std::{
    ffi::OsStr,
    io,
    num::NonZero,
    os::unix::ffi::OsStrExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use cap_std::fs::{Dir, File};
use ocicore::{Cx, Task};
use rustix::fs::{AtFlags, FileType};

use super::{
    Devices, Durability, Options, Owner,
    content::Tools,
    metadata::{Rules, create, raw},
    queue::{self, Queue},
};
use crate::{Entry, EntryPath, Error, Kind, Metadata, Result, Tree};

/// So many entries of one directory are made by one thread; the rest may be by others.
const BATCH: usize = 128;

/// Makes all entries: directories with what is in them on several threads, then hard links, then
/// the metadata of those directories for which it was too early. Nothing is kept of an entry that is made, so that
/// the tree may be large.
pub(super) fn make(
    cx: &Cx,
    tree: &Tree,
    options: &Options,
    root: &Dir,
    threads: NonZero<usize>,
) -> Result<()> {
    let rules = Rules::new(options, root).map_err(|error| Error::io("create a file", error))?;
    let making = Making {
        tree,
        root,
        options,
        rules,
        later: Mutex::default(),
        has_links: AtomicBool::new(false),
        task: cx.task("extract", Some(tree.content_size())),
    };
    let first = Work {
        directory: Arc::new(Directory(None)),
        after: None,
    };
    queue::run(threads, first, Tools::new, |work, tools, queue| {
        making.some(work, tools, queue)
    })?;
    if making.has_links.load(Ordering::Relaxed) {
        for (path, entry) in tree {
            if let Kind::Hardlink(target) = &entry.kind {
                making.task.add(0)?;
                making.check(&path, making.link(&path, target))?;
            }
        }
    }
    let mut later = making.later.lock().unwrap_or_else(PoisonError::into_inner);
    // What is above another comes before it, and may forbid to open it.
    later.sort_unstable_by(|one, other| one.path().cmp(&other.path()));
    for there in later.iter().rev() {
        making.finish(there, &making.open(there)?)?;
    }
    if options.durability == Durability::Files {
        let synced = making.open(&Directory(None))?.sync_all();
        synced.map_err(|error| Error::io("synchronize the directory", error))?;
    }
    Ok(())
}

/// A directory that is there; none for the root, which is not of the tree.
struct Directory(Option<(EntryPath, Metadata)>);

impl Directory {
    fn path(&self) -> Option<&EntryPath> {
        self.0.as_ref().map(|(path, _)| path)
    }
}

/// Some of what is in a directory: from the first, or from the one after this.
struct Work {
    directory: Arc<Directory>,
    after: Option<EntryPath>,
}

struct Making<'a> {
    tree: &'a Tree,
    root: &'a Dir,
    options: &'a Options,
    rules: Rules<'a>,
    /// Directories that are not finished.
    later: Mutex<Vec<Arc<Directory>>>,
    has_links: AtomicBool,
    task: Task,
}

impl Making<'_> {
    fn some(&self, work: Work, tools: &mut Tools, queue: &Queue<Work>) -> Result<()> {
        let Work { directory, after } = work;
        let there = self.open(&directory)?;
        let mut children = self.tree.children(directory.path(), after.as_ref());
        let batch: Vec<_> = children.by_ref().take(BATCH).collect();
        let last = batch.last().filter(|_| batch.len() == BATCH);
        let last = last.map(|(path, _)| path.clone());
        let is_all = last.is_none() || children.next().is_none();
        if !is_all {
            let directory = Arc::clone(&directory);
            queue.push([Work {
                directory,
                after: last,
            }]);
        }
        let mut below = Vec::new();
        let mut has_links = false;
        for (path, entry) in &batch {
            if entry.kind.is_dir() {
                // Whatever its mode will be, there is something to be made in it.
                let mode = raw(self.directory_mode(&entry.metadata));
                self.check(path, rustix::fs::mkdirat(&there, name(path), mode))?;
                let metadata = entry.metadata.clone();
                below.push(Work {
                    directory: Arc::new(Directory(Some((path.clone(), metadata)))),
                    after: None,
                });
            }
            has_links |= matches!(entry.kind, Kind::Hardlink(_));
        }
        queue.push(below);
        self.entries(&there, &batch, tools)?;
        if has_links {
            self.has_links.store(true, Ordering::Relaxed);
        }
        if after.is_some() {
            return Ok(());
        }
        let is_open = directory.0.as_ref().is_none_or(|(_, metadata)| {
            metadata.mode & 0o700 == 0o700 && self.options.owner == Owner::Caller
        });
        // Whatever is made in it later changes its time, and its mode may forbid that.
        if is_all && !has_links && is_open {
            return self.finish(&directory, &there);
        }
        self.later
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(directory);
        Ok(())
    }

    fn entries(
        &self,
        directory: &File,
        entries: &[(EntryPath, Entry)],
        tools: &mut Tools,
    ) -> Result<()> {
        for (path, entry) in entries {
            match &entry.kind {
                Kind::File(content) => {
                    let mode = self.rules.mode(&entry.metadata) & 0o777;
                    let mut file = self.check(path, create(directory, name(path), mode))?;
                    tools.write(path, content, &mut file, &self.task)?;
                    let finished = self.rules.finish(path, &file, mode, &entry.metadata);
                    self.check(path, finished)?;
                    if self.options.durability == Durability::Files {
                        self.check(path, file.sync_all())?;
                    }
                }
                // Directories are there, and links are made when all files are.
                Kind::Dir | Kind::Hardlink(_) => {}
                _ => {
                    self.task.add(0)?;
                    self.check(path, self.special(directory, path, entry))?;
                }
            }
        }
        Ok(())
    }

    /// What has no content.
    fn special(&self, directory: &File, path: &EntryPath, entry: &Entry) -> io::Result<()> {
        let file_name = name(path);
        let node = |file_type, device| {
            let mode = raw(self.rules.mode(&entry.metadata));
            rustix::fs::mknodat(directory, file_name, file_type, mode, device)
        };
        let number = |device: &crate::Device| rustix::fs::makedev(device.major, device.minor);
        match &entry.kind {
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(OsStr::from_bytes(target), directory, file_name)?;
            }
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::CharDevice(_) | Kind::BlockDevice(_)
                if self.options.devices == Devices::Skipped =>
            {
                tracing::debug!(%path, "a device is passed over");
                return Ok(());
            }
            Kind::CharDevice(device) => node(FileType::CharacterDevice, number(device))?,
            Kind::BlockDevice(device) => node(FileType::BlockDevice, number(device))?,
            // These are made elsewhere.
            Kind::File(_) | Kind::Dir | Kind::Hardlink(_) => return Ok(()),
        }
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        self.rules
            .finish_at(path, directory, file_name, &entry.metadata, is_link)
    }

    fn link(&self, path: &EntryPath, target: &EntryPath) -> io::Result<()> {
        let (from, to) = (self.parent(target)?, self.parent(path)?);
        let (old, new) = (name(target), name(path));
        Ok(rustix::fs::linkat(from, old, to, new, AtFlags::empty())?)
    }

    fn finish(&self, there: &Directory, directory: &File) -> Result<()> {
        let Some((path, metadata)) = &there.0 else {
            return Ok(());
        };
        let mode = self.directory_mode(metadata);
        let finished = self.rules.finish(path, directory, mode, metadata);
        self.check(path, finished)?;
        if self.options.durability == Durability::Files {
            self.check(path, directory.sync_all())?;
        }
        Ok(())
    }

    /// The mode that a directory is made with: whatever it will be, there is something to be made in it.
    fn directory_mode(&self, metadata: &Metadata) -> u32 {
        self.rules.mode(metadata) & 0o777 | 0o700
    }

    /// As a file: a `Dir` is good for what is in it only, not for its own mode and times.
    fn open(&self, directory: &Directory) -> Result<File> {
        match directory.path() {
            None => {
                let opened = self.root.open(".");
                opened.map_err(|error| Error::io("open the directory", error))
            }
            Some(path) => self.check(path, self.root.open(path.to_native())),
        }
    }

    fn parent(&self, path: &EntryPath) -> io::Result<Dir> {
        match path.parent() {
            Some(parent) => self.root.open_dir(parent.to_native()),
            None => self.root.try_clone(),
        }
    }

    fn check<T, E: Into<io::Error>>(
        &self,
        path: &EntryPath,
        result: std::result::Result<T, E>,
    ) -> Result<T> {
        result.map_err(|source| Error::Extract {
            path: path.clone(),
            source: source.into(),
        })
    }
}

/// The last component, which is nothing but a name.
fn name(path: &EntryPath) -> &OsStr {
    OsStr::from_bytes(path.file_name())
}
