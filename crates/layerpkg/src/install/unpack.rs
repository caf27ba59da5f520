//! A tree as files.

use std::{
    ffi::OsStr,
    fs::{File, FileTimes, Permissions},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use ocicore::{Cx, Task};
use repack::{Content, EntryPath, Kind, Metadata, Tree};

use crate::{Error, Result};

/// Writes a checked tree into an empty directory.
///
/// All goes through a handle of that directory, and a tree has nothing under a link, so that
/// nothing can be written elsewhere. Owners, set-user-ID bits and attributes are left out; the
/// user who installs can read everything and change every directory.
pub(super) fn write(cx: &Cx, tree: &Tree, to: &Path) -> Result<()> {
    let failed = |path: &EntryPath| Error::file("unpack", to.join(native(path)));
    let directory =
        Dir::open_ambient_dir(to, ambient_authority()).map_err(Error::file("open", to))?;
    let task = cx.task("unpack", Some(tree.content_size()));
    let mut links = Vec::new();
    for (path, entry) in tree {
        match &entry.kind {
            Kind::Dir => directory.create_dir(native(path)).map_err(failed(path))?,
            Kind::File(content) => {
                let write = || write_file(&directory, path, content, &entry.metadata, &task);
                write().map_err(|error| match error.downcast::<ocicore::Error>() {
                    Ok(cancelled) => Error::Store(cancelled),
                    Err(error) => failed(path)(error),
                })?;
            }
            Kind::Symlink(target) => {
                let target = Path::new(OsStr::from_bytes(target));
                directory
                    .symlink_contents(target, native(path))
                    .map_err(failed(path))?;
            }
            Kind::Hardlink(target) => links.push((path, target)),
            // `confine::check` leaves no other.
            _ => {}
        }
    }
    for (path, target) in links {
        directory
            .hard_link(native(target), &directory, native(path))
            .map_err(failed(path))?;
    }
    // What is in a directory changes its time; those below come first.
    for (path, entry) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        if entry.kind.is_dir() {
            let finish = || {
                let own = directory.open(native(path))?.into_std();
                own.set_times(times(&entry.metadata))?;
                own.set_permissions(Permissions::from_mode(entry.metadata.mode & 0o777 | 0o700))
            };
            finish().map_err(failed(path))?;
        }
    }
    Ok(())
}

/// Makes all that is in a directory durable.
///
/// One call for all files of the file system, where one for each of them would take a multiple of
/// the time.
pub(super) fn sync(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(directory)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        Ok(())
    });
    synced.map_err(Error::file("write", directory))
}

fn write_file(
    directory: &Dir,
    path: &EntryPath,
    content: &Content,
    metadata: &Metadata,
    task: &Task,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = directory.open_with(native(path), &options)?.into_std();
    let (mut reader, mut buffer) = (content.open(), vec![0; 256 << 10]);
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n])?;
        task.add(n as u64)
            .map_err(|cancelled| io::Error::from(ocicore::Error::from(cancelled)))?;
    }
    // After the content, for writing would take bits away.
    file.set_permissions(Permissions::from_mode(metadata.mode & 0o777 | 0o400))?;
    file.set_times(times(metadata))
}

fn times(metadata: &Metadata) -> FileTimes {
    let mtime = metadata.mtime;
    let whole = Duration::from_secs(mtime.seconds.unsigned_abs());
    let seconds = if mtime.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    let time = seconds
        .and_then(|time| time.checked_add(Duration::from_nanos(mtime.nanoseconds.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    FileTimes::new().set_modified(time).set_accessed(time)
}

pub(super) fn native(path: &EntryPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}
