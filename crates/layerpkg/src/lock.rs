use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ocicore::Cx;

use crate::{Error, Result};

/// How often a lock that another process has is tried again.
const INTERVAL: Duration = Duration::from_millis(20);

/// An advisory lock on a file (flock(2)). The system releases it with the process, however that
/// ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for whoever has it.
    pub(crate) async fn acquire(cx: &Cx, path: &Path) -> Result<Self> {
        let mut waiting = None;
        loop {
            cx.check()?;
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            waiting.get_or_insert_with(|| cx.task("wait for another process", None));
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Takes the lock; none if another process or thread has it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::file("lock", path)(error);
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who had it may have removed the file: then it is no longer the one that others see.
            let locked = file.metadata().map_err(failed)?;
            match fs::metadata(path) {
                Ok(seen) if (seen.dev(), seen.ino()) == (locked.dev(), locked.ino()) => {
                    return Ok(Some(Self {
                        path: path.to_owned(),
                        _file: file,
                    }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Removes the file and releases the lock.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::file("remove", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_and_a_removed_file_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        lock.remove().unwrap();
        let again = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(path.exists());
        drop(again);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[tokio::test]
    async fn who_waits_can_be_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _lock = Lock::try_acquire(&path).unwrap().unwrap();
        let cx = Cx::default();
        cx.cancel();
        let error = Lock::acquire(&cx, &path).await.unwrap_err();
        assert_eq!(error.class(), ocicore::Class::Cancelled);
    }
}
