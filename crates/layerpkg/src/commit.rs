//! Changes of the prefix that are whole or not at all. All but [`sync_directory`] need the lock of
//! the prefix, for they use temporary names of their own.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Makes `link` point to `target`, whatever it pointed to before.
pub(crate) fn replace_link(target: &Path, link: &Path) -> Result<()> {
    let new = temporary(link);
    remove_if_there(&new)?;
    symlink(target, &new).map_err(Error::file("create", &new))?;
    rename(&new, link)
}

/// Makes `path` a file with this content.
pub(crate) fn replace_file(content: &[u8], path: &Path) -> Result<()> {
    let new = temporary(path);
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(Error::file("write", &new))?;
    rename(&new, path)
}

/// Makes `path` another name of the file `of`, or a copy where the file system has no hard links.
/// `path` must not be a name of it already: the rename would do nothing.
pub(crate) fn replace_hard_link(of: &Path, path: &Path) -> Result<()> {
    let new = temporary(path);
    remove_if_there(&new)?;
    if fs::hard_link(of, &new).is_err() {
        copy(of, &new)?;
    }
    rename(&new, path)
}

/// Copies a program to `path`.
pub(crate) fn replace_program(of: &Path, path: &Path) -> Result<()> {
    let new = temporary(path);
    remove_if_there(&new)?;
    copy(of, &new)?;
    rename(&new, path)
}

/// Renames, and makes that durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::file("create", to))?;
    let parent = to.parent().unwrap_or(Path::new("."));
    sync_directory(parent).map_err(Error::file("write", parent))
}

/// Makes what is in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory with all above it.
pub(crate) fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// Removes a directory with all that is in it, if it is there.
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    let mut removed = fs::remove_dir_all(path);
    if let Err(error) = &removed
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        // Packages may have directories in which nothing may be removed.
        allow_changes(path).map_err(Error::file("remove", path))?;
        removed = fs::remove_dir_all(path);
    }
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn allow_changes(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            allow_changes(&entry.path())?;
        }
    }
    Ok(())
}

/// As [`fs::read_link`]; none if there is no such link.
pub(crate) fn read_link(path: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Names in a directory that are text, sorted; none if it is not there. Temporary names begin with
/// a dot and are left out.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::file("read", directory)(error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn copy(of: &Path, to: &Path) -> Result<()> {
    fs::copy(of, to).map_err(Error::file("write", to))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(Error::file("write", to))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
