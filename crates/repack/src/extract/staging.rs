//! A directory that becomes visible when it is complete.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use cap_std::{ambient_authority, fs::Dir};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{Durability, Existing, Options};
use crate::{Error, Result};

/// A directory beside the destination, deleted unless it is renamed.
pub(super) struct Staging {
    pub(super) path: PathBuf,
    parent: PathBuf,
}

impl Staging {
    pub(super) fn beside(to: &Path) -> Result<Self> {
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

    pub(super) fn rename(self, to: &Path, options: &Options) -> Result<()> {
        // The usual mode of a directory; whoever wants another lists it in a tree around.
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("write", &self.path))?;
        let failed = |error: Errno| Error::file("rename to", to)(error.into());
        let (from, there) = (&self.path, to.symlink_metadata().is_ok());
        if there && options.existing == Existing::Replaced {
            rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE).map_err(failed)?;
            // What was there is now in the place of the staging directory, and goes with it.
        } else {
            match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(exists(to)),
                // Not every file system can tell; a directory replaces none that has entries.
                Err(Errno::INVAL | Errno::NOSYS) if !there => {
                    fs::rename(from, to).map_err(Error::file("rename to", to))?;
                }
                other => other.map_err(failed)?,
            }
        }
        if options.durability == Durability::None {
            return Ok(());
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

pub(super) fn exists(to: &Path) -> Error {
    Error::file("extract to", to)(io::ErrorKind::AlreadyExists.into())
}

/// As well as can be: modes of directories may forbid to delete what is in them, and there may be more of them, one below
/// the other, than a process can have open.
fn remove(path: &Path) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    // What was in the destination's place may have been no directory.
    let removed = if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if removed.is_ok() || !metadata.is_dir() {
        return;
    }
    if let Err(error) = flatten(path).and_then(|()| fs::remove_dir(path)) {
        tracing::warn!(path = %path.display(), %error, "a temporary directory is left");
    }
}

/// Empties a directory, however deep it is: what is in a directory of it moves up before that is removed, so that there
/// are never more than two of them open, nor is any path long.
fn flatten(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    let root = Dir::open_ambient_dir(path, ambient_authority())?;
    let mut moved = 0_u64;
    loop {
        let mut directories = Vec::new();
        for entry in root.entries()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.file_name());
            } else {
                entry.remove_file()?;
            }
        }
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            let directory = open_closed(&root, &name)?;
            for entry in directory.entries()? {
                let (entry, inner) = entry.map(|entry| (entry.file_name(), entry.file_type()))?;
                if !inner?.is_dir() {
                    directory.remove_file(&entry)?;
                    continue;
                }
                // What has another place in another directory must be writable.
                drop(open_closed(&directory, &entry)?);
                while let Err(error) = directory.rename(&entry, &root, format!(".moved-{moved}")) {
                    // Something is called so.
                    let is_taken = [
                        io::ErrorKind::AlreadyExists,
                        io::ErrorKind::DirectoryNotEmpty,
                        io::ErrorKind::NotADirectory,
                    ];
                    if !is_taken.contains(&error.kind()) {
                        return Err(error);
                    }
                    moved += 1;
                }
                moved += 1;
            }
            root.remove_dir(&name)?;
        }
    }
}

/// A directory that may be closed to its owner, who opens it first.
fn open_closed(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    // Others may change what was in the destination's place: no link is followed where it can be opened.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => {
            rustix::fs::fchmod(&directory, Mode::RWXU)?;
            Ok(Dir::from_std_file(directory.into()))
        }
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            parent.open_dir(name)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_closed_directories_are_emptied() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("top");
        fs::create_dir(&top).unwrap();
        let root = Dir::open_ambient_dir(&top, ambient_authority()).unwrap();
        // One below the other, longer than any path may be; with names that the function gives, too.
        for name in ["d", ".moved-0"] {
            let mut at = root.try_clone().unwrap();
            for depth in 0..3000 {
                at.create_dir(name).unwrap();
                at.create_dir(".moved-7").unwrap();
                if depth % 100 == 0 {
                    at.write("file", "x").unwrap();
                    at.symlink("file", "link").unwrap();
                    at.create_dir_all("a/b").unwrap();
                    at.write("a/b/.moved-1", "x").unwrap();
                }
                let below = at.open_dir(name).unwrap();
                let closed = Mode::from_raw_mode(0o500);
                rustix::fs::chmodat(&at, ".moved-7", closed, AtFlags::empty()).unwrap();
                at = below;
            }
            if name == "d" {
                let closed = Mode::empty();
                rustix::fs::chmodat(&root, "d", closed, AtFlags::empty()).unwrap();
                // The next one is made in it.
                root.remove_dir(".moved-7").unwrap();
                root.remove_file("file").unwrap();
                root.remove_file("link").unwrap();
                fs::remove_dir_all(top.join("a")).unwrap();
            }
        }
        flatten(&top).unwrap();
        assert_eq!(fs::read_dir(&top).unwrap().count(), 0);
    }
}
