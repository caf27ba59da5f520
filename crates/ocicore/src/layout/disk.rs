use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use super::Layout;
use crate::{Digest, Error, Result};

/// Prefix of files that are being written.
const TEMPORARY: &str = ".tmp-";

impl Layout {
    /// What is locked to guard the layout: its directory, which is there from the start and is
    /// never replaced.
    pub(super) fn guard(&self) -> io::Result<File> {
        File::open(&self.root)
    }

    /// A temporary file, locked as long as it is open, so that [`Layout::sweep`] knows that its
    /// writer lives.
    pub(super) fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        // Sweepers hold the lock alone, so that none comes between creation and locking.
        let guard = self.guard()?;
        guard.lock_shared()?;
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.root)?;
        file.as_file().lock()?;
        Ok(file)
    }

    /// Removes temporary files of writers that are gone.
    pub(super) fn sweep(&self) -> Result<()> {
        let sweep = || {
            let guard = self.guard()?;
            // Somebody writes; another time, then.
            if guard.try_lock().is_err() {
                return Ok(());
            }
            for entry in fs::read_dir(&self.root)? {
                let path = entry?.path();
                if is_temporary(&path)
                    && let Ok(file) = OpenOptions::new().read(true).open(&path)
                    && file.try_lock().is_ok()
                {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        };
        sweep().map_err(|error| self.io("clean", &self.root, error))
    }

    /// Writes a file of the root directory as a whole; the caller holds the lock alone.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.root)?;
        file.write_all(bytes)?;
        persist(file, &self.root.join(name))
    }

    /// Writes content that is whole and verified.
    pub(super) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.blob_path(digest);
        if path.exists() {
            return Ok(());
        }
        let write = || {
            let mut file = self.temporary()?;
            file.write_all(bytes)?;
            persist(file, &path)
        };
        write().map_err(|error| self.io("write", &path, error))
    }
}

pub(super) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
}

/// Makes a finished temporary file the content of `path`, durably.
pub(crate) fn persist(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    let directory = directory_of(path);
    // It is missing at the first blob only.
    let persisted = match file.persist(path) {
        Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory)?;
            error.file.persist(path)
        }
        persisted => persisted,
    };
    persisted.map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// Where a file lies; that of `image.tar` is `.`, for nothing can be opened by an empty path.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let what = format!("`{}`", path.display());
        return Err(Error::Limit { what, limit }.into());
    }
    Ok(bytes)
}

pub(super) fn starts_like_json(path: &Path, limit: u64) -> bool {
    let mut first = [0];
    File::open(path).is_ok_and(|mut file| {
        file.metadata()
            .is_ok_and(|metadata| metadata.len() <= limit)
            && file.read_exact(&mut first).is_ok()
            && matches!(first[0], b'{' | b' ' | b'\n' | b'\t' | b'\r')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_lies_somewhere() {
        for (file, directory) in [
            ("a.tar", "."),
            ("./a.tar", "."),
            ("b/a.tar", "b"),
            ("/a", "/"),
        ] {
            assert_eq!(
                directory_of(Path::new(file)),
                Path::new(directory),
                "{file}"
            );
        }
    }
}
