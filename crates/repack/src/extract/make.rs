//! Makes the entries of a tree below a directory handle.
//!
//! A directory is the unit of work: one thread makes what is in it by its handle and single names,
//! so that two threads seldom wait for the lock that the kernel has for each directory.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    num::NonZero,
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, PoisonError},
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
use crate::{Entry, EntryPath, Error, Kind, Result, Tree};

/// So many entries of one directory are made by one thread; the rest may be by others.
const BATCH: usize = 128;

/// Makes all entries: directories with what is in them on several threads, then hard links, then
/// the metadata of those directories for which it was too early.
pub(super) fn make(
    cx: &Cx,
    tree: &Tree,
    options: &Options,
    root: &Dir,
    threads: NonZero<usize>,
) -> Result<()> {
    let rules = Rules::new(options, root).map_err(|error| Error::io("create a file", error))?;
    let plan = Plan::of(tree);
    let making = Making {
        root,
        options,
        rules,
        plan: &plan,
        later: Mutex::default(),
        task: cx.task("extract", Some(tree.content_size())),
    };
    queue::run(
        threads,
        Work::Directory(0),
        Tools::new,
        |work, tools, queue| match work {
            Work::Directory(at) => making.directory(at, tools, queue),
            Work::Entries(at, range) => {
                let directory = making.open(at)?;
                making.entries(&directory, &plan.directories[at].entries[range], tools)
            }
        },
    )?;
    for (path, target) in &plan.links {
        making.task.add(0)?;
        making.check(path, making.link(path, target))?;
    }
    let mut later = making.later.lock().unwrap_or_else(PoisonError::into_inner);
    // What is above another comes before it in the plan, and may forbid to open it.
    later.sort_unstable();
    for at in later.iter().rev() {
        let directory = making.open(*at)?;
        making.finish(*at, &directory)?;
    }
    if options.durability == Durability::Files {
        let synced = making.open(0)?.sync_all();
        synced.map_err(|error| Error::io("synchronize the directory", error))?;
    }
    Ok(())
}

/// What is in which directory.
struct Plan<'t> {
    /// The root first, and each after the one that it is in.
    directories: Vec<Directory<'t>>,
    links: Vec<(&'t EntryPath, &'t EntryPath)>,
}

#[derive(Default)]
struct Directory<'t> {
    /// None for the root, which is not of the tree.
    entry: Option<(&'t EntryPath, &'t Entry)>,
    /// All but directories and hard links.
    entries: Vec<(&'t EntryPath, &'t Entry)>,
    directories: Vec<usize>,
    has_links: bool,
}

impl<'t> Plan<'t> {
    fn of(tree: &'t Tree) -> Self {
        let mut plan = Self {
            directories: vec![Directory::default()],
            links: Vec::new(),
        };
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        for (path, entry) in tree {
            let bytes = path.as_bytes();
            let above = &bytes[..bytes.len() - path.file_name().len()];
            // Every directory comes before what is in it.
            let above = above.strip_suffix(b"/").and_then(|above| known.get(above));
            let at = above.copied().unwrap_or(0);
            let new = plan.directories.len();
            let parent = &mut plan.directories[at];
            match &entry.kind {
                Kind::Dir => {
                    parent.directories.push(new);
                    plan.directories.push(Directory {
                        entry: Some((path, entry)),
                        ..Directory::default()
                    });
                    known.insert(bytes, new);
                }
                Kind::Hardlink(target) => {
                    parent.has_links = true;
                    plan.links.push((path, target));
                }
                _ => parent.entries.push((path, entry)),
            }
        }
        plan
    }
}

enum Work {
    Directory(usize),
    Entries(usize, Range<usize>),
}

struct Making<'a, 't> {
    root: &'a Dir,
    options: &'a Options,
    rules: Rules<'a>,
    plan: &'a Plan<'t>,
    /// Directories that are not finished.
    later: Mutex<Vec<usize>>,
    task: Task,
}

impl Making<'_, '_> {
    fn directory(&self, at: usize, tools: &mut Tools, queue: &Queue<Work>) -> Result<()> {
        let there = &self.plan.directories[at];
        let directory = self.open(at)?;
        for below in &there.directories {
            if let Some((path, entry)) = self.plan.directories[*below].entry {
                // Whatever its mode will be, there is something to be made in it.
                let mode = raw(self.directory_mode(entry));
                let made = rustix::fs::mkdirat(&directory, name(path), mode);
                self.check(path, made)?;
            }
        }
        let (first, rest) = there.entries.split_at(there.entries.len().min(BATCH));
        let batches = (BATCH..there.entries.len()).step_by(BATCH);
        let batches: Vec<_> = batches
            .map(|start| Work::Entries(at, start..(start + BATCH).min(there.entries.len())))
            .collect();
        queue.push(there.directories.iter().map(|&at| Work::Directory(at)));
        queue.push(batches);
        self.entries(&directory, first, tools)?;
        let is_open = there.entry.is_none_or(|(_, entry)| {
            entry.metadata.mode & 0o700 == 0o700 && self.options.owner == Owner::Caller
        });
        // Whatever is made in it later changes its time, and its mode may forbid that.
        if rest.is_empty() && !there.has_links && is_open {
            return self.finish(at, &directory);
        }
        self.later
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(at);
        Ok(())
    }

    fn entries(
        &self,
        directory: &File,
        entries: &[(&EntryPath, &Entry)],
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
            // These are not among the entries of a directory of the plan.
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

    fn finish(&self, at: usize, directory: &File) -> Result<()> {
        let Some((path, entry)) = self.plan.directories[at].entry else {
            return Ok(());
        };
        let mode = self.directory_mode(entry);
        let finished = self.rules.finish(path, directory, mode, &entry.metadata);
        self.check(path, finished)?;
        if self.options.durability == Durability::Files {
            self.check(path, directory.sync_all())?;
        }
        Ok(())
    }

    /// The mode that a directory is made with: whatever it will be, there is something to be made in it.
    fn directory_mode(&self, entry: &Entry) -> u32 {
        self.rules.mode(&entry.metadata) & 0o777 | 0o700
    }

    /// As a file: a `Dir` is good for what is in it only, not for its own mode and times.
    fn open(&self, at: usize) -> Result<File> {
        match self.plan.directories[at].entry {
            None => {
                let opened = self.root.open(".");
                opened.map_err(|error| Error::io("open the directory", error))
            }
            Some((path, _)) => self.check(path, self.root.open(native(path))),
        }
    }

    fn parent(&self, path: &EntryPath) -> io::Result<Dir> {
        match path.parent() {
            Some(parent) => self.root.open_dir(native(&parent)),
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

fn native(path: &EntryPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}
