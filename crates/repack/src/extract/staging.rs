//! A directory that becomes visible when it is complete.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags};

use super::Existing;
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

    pub(super) fn rename(self, to: &Path, existing: Existing) -> Result<()> {
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

pub(super) fn exists(to: &Path) -> Error {
    Error::file("extract to", to)(io::ErrorKind::AlreadyExists.into())
}

/// As well as can be: modes of directories may forbid to delete what is in them.
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
    if removed.is_ok() {
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
