use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{Error, Result};

/// Replaces a file that holds a secret: only its owner can read it (mode 0600), at no moment
/// anybody else, and a kill leaves the old file or the new one, but for a file that is a mount of
/// its own.
///
/// # Errors
/// [`Error::Io`].
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, Permissions::from_mode(0o600))
}

/// Replaces a file that everybody may read; one that is there keeps its mode, a new one gets
/// 0644. A kill leaves the old file or the new one, but for a file that is a mount of its own.
///
/// # Errors
/// [`Error::Io`].
pub fn write_public(path: &Path, content: &[u8]) -> Result<()> {
    let permissions = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Permissions::from_mode(0o644),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    write(path, content, permissions)
}

/// Text of a file, none if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Whether others than the owner can read a file that is there.
pub(crate) fn is_shared(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

fn write(path: &Path, content: &[u8], permissions: Permissions) -> Result<()> {
    let replace = move || {
        // A link stays a link: what it points to is replaced.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        // It is made with mode 0600, and widened only if it may be.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(permissions.clone())?;
        file.as_file().sync_all()?;
        match file.persist(&target) {
            Ok(_) => File::open(folder)?.sync_all(),
            // A file that is mounted, as /etc/hosts in containers, can be changed in place only.
            Err(error) if error.error.kind() == io::ErrorKind::ResourceBusy => {
                fs::set_permissions(&target, permissions)?;
                fs::write(&target, content)
            }
            Err(error) => Err(error.error),
        }
    };
    replace().map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn modes_are_kept_or_narrowed() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("a/secret"), dir.path().join("a/public"));
        write_private(&private, b"1").unwrap();
        assert_eq!(mode(&private), 0o600);
        fs::set_permissions(&private, Permissions::from_mode(0o644)).unwrap();
        write_private(&private, b"2").unwrap();
        assert_eq!(mode(&private), 0o600);
        write_public(&public, b"1").unwrap();
        assert_eq!(mode(&public), 0o644);
        fs::set_permissions(&public, Permissions::from_mode(0o640)).unwrap();
        write_public(&public, b"2").unwrap();
        assert_eq!(mode(&public), 0o640);
        assert_eq!(fs::read(&public).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 2);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_public(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn what_is_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_private(dir.path(), b"x").unwrap_err();
        assert!(
            error.to_string().starts_with("failed to write `"),
            "{error}"
        );
    }
}
