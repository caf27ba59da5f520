//! Makes the entries of a tree below a directory handle.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    num::NonZero,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use ocicore::{Cx, Task};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid};

use super::{Options, Owner, SpecialBits};
use crate::{Content, Entry, EntryPath, Error, Kind, Metadata, Result, Tree};

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

/// Makes all entries: directories first, then files on several threads, then links; modes
/// and times of directories last, for they would forbid or change the rest.
pub(super) fn make(
    cx: &Cx,
    tree: &Tree,
    options: &Options,
    root: &Dir,
    threads: NonZero<usize>,
) -> Result<()> {
    let making = Making {
        root,
        options,
        task: cx.task("extract", Some(tree.content_size())),
    };
    let mut files = Vec::new();
    for (path, entry) in tree {
        match &entry.kind {
            Kind::Dir => making.check(path, root.create_dir(native(path)))?,
            Kind::File(content) => files.push((path, content, &entry.metadata)),
            _ => {}
        }
    }
    making.files(&files, threads)?;
    for (path, entry) in tree {
        making.other(path, entry)?;
    }
    let is_dir = |(_, entry): &(&EntryPath, &Entry)| entry.kind.is_dir();
    for (path, entry) in tree.iter().filter(is_dir).rev() {
        // A `Dir` is only good for what is in it, so that it is opened as a file.
        let directory = making.check(path, root.open(native(path)))?;
        making.finish(path, &directory, &entry.metadata)?;
    }
    Ok(())
}

struct Making<'a> {
    root: &'a Dir,
    options: &'a Options,
    task: Task,
}

type File<'t> = (&'t EntryPath, &'t Content, &'t Metadata);

impl Making<'_> {
    /// The threads take the files in order, and all stop at the first error.
    fn files(&self, files: &[File<'_>], threads: NonZero<usize>) -> Result<()> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            let mut buffer = vec![0; CHUNK];
            while !failed.load(Ordering::Relaxed) {
                let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                if let Err(error) = self.file(*file, &mut buffer) {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                let other = other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(other);
            }
            result
        })
    }

    fn file(&self, (path, content, metadata): File<'_>, buffer: &mut [u8]) -> Result<()> {
        let mut create = OpenOptions::new();
        create.write(true).create_new(true).mode(0o600);
        let mut file = self.check(path, self.root.open_with(native(path), &create))?;
        let mut reader = content.open();
        let mut hole = false;
        loop {
            let n = reader
                .read(buffer)
                .map_err(|error| content.named(path.as_bytes(), error))?;
            if n == 0 {
                break;
            }
            // A file that is mostly zeros, as sparse files are when archived, takes no room.
            hole = n == buffer.len() && buffer.iter().all(|&byte| byte == 0);
            let written = if hole {
                io::Seek::seek_relative(&mut file, n.cast_signed() as i64)
            } else {
                file.write_all(&buffer[..n])
            };
            self.check(path, written)?;
            self.task.add(n as u64)?;
        }
        if hole {
            self.check(path, file.set_len(content.size()))?;
        }
        self.finish(path, &file, metadata)
    }

    fn other(&self, path: &EntryPath, entry: &Entry) -> Result<()> {
        let name = native(path);
        match &entry.kind {
            Kind::Symlink(target) => {
                let target = Path::new(OsStr::from_bytes(target));
                self.check(path, self.root.symlink_contents(target, name))?;
                self.task.add(0)?;
                self.finish_link(path, &entry.metadata)
            }
            Kind::Hardlink(target) => {
                self.task.add(0)?;
                let made = self.root.hard_link(native(target), self.root, name);
                self.check(path, made)
            }
            Kind::Fifo => {
                let (parent, file_name) = self.parent(path)?;
                let mode = self.mode(&entry.metadata);
                let made = rustix::fs::mknodat(&parent, file_name, FileType::Fifo, mode, 0);
                self.check(path, made.map_err(io::Error::from))?;
                // The umask applies to it, and it cannot be opened without somebody at the
                // other end.
                let set = rustix::fs::chmodat(&parent, file_name, mode, AtFlags::empty());
                self.check(path, set.map_err(io::Error::from))?;
                self.finish_link(path, &entry.metadata)
            }
            _ => Ok(()),
        }
    }

    /// Owner first, since changing it clears setuid; then mode and time.
    fn finish(&self, path: &EntryPath, file: &impl rustix::fd::AsFd, of: &Metadata) -> Result<()> {
        if self.options.owner == Owner::Kept {
            let (uid, gid) = self.owner(path, of)?;
            let owned = rustix::fs::fchown(file, Some(uid), Some(gid));
            self.check(path, owned.map_err(io::Error::from))?;
        }
        let set = rustix::fs::fchmod(file, self.mode(of));
        self.check(path, set.map_err(io::Error::from))?;
        let set = rustix::fs::futimens(file, &times(of));
        self.check(path, set.map_err(io::Error::from))
    }

    /// Of what cannot be opened.
    fn finish_link(&self, path: &EntryPath, of: &Metadata) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.options.owner == Owner::Kept {
            let (uid, gid) = self.owner(path, of)?;
            let owned = rustix::fs::chownat(&parent, name, Some(uid), Some(gid), flags);
            self.check(path, owned.map_err(io::Error::from))?;
        }
        let set = rustix::fs::utimensat(&parent, name, &times(of), flags);
        self.check(path, set.map_err(io::Error::from))
    }

    /// The directory that an entry is in, and its name there.
    fn parent<'p>(&self, path: &'p EntryPath) -> Result<(Dir, &'p OsStr)> {
        let directory = match path.parent() {
            Some(parent) => self.root.open_dir(native(&parent)),
            None => self.root.try_clone(),
        };
        let name = OsStr::from_bytes(path.file_name());
        Ok((self.check(path, directory)?, name))
    }

    fn mode(&self, of: &Metadata) -> Mode {
        let mask = match self.options.special_bits {
            SpecialBits::Cleared => 0o777,
            SpecialBits::Kept => 0o7777,
        };
        Mode::from_raw_mode((of.mode & mask) as rustix::fs::RawMode)
    }

    fn owner(&self, path: &EntryPath, of: &Metadata) -> Result<(Uid, Gid)> {
        let id = |id: u64| {
            // The highest one means that it stays as it is.
            let id = u32::try_from(id).ok().filter(|&id| id != u32::MAX);
            self.check(path, id.ok_or_else(|| io::ErrorKind::InvalidInput.into()))
        };
        Ok((Uid::from_raw(id(of.uid)?), Gid::from_raw(id(of.gid)?)))
    }

    fn check<T>(&self, path: &EntryPath, result: io::Result<T>) -> Result<T> {
        result.map_err(|source| Error::Extract {
            path: path.clone(),
            source,
        })
    }
}

fn times(of: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: of.mtime.seconds,
        tv_nsec: of.mtime.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn native(path: &EntryPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}
