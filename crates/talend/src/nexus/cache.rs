use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use ocicore::{Cx, Digest, Task};

use super::{
    Error, Result,
    checksum::{Checksum, ChecksumAlgorithm, Sums},
};

/// Bytes that are read and hashed at once.
const CHUNK: usize = 256 << 10;

/// Files by their checksums, in a directory: `sha256/<digits>` is content, `sha1/<digits>` and the
/// like say which, `partial/` has what is still to be completed. Several processes may use one.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A file that is being downloaded. What is there of it is kept for the next attempt if `resume`
/// is known, which is what the complete file's checksum will be.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Cache {
    /// A cache in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for name in ["partial", "sha256"] {
            let directory = root.join(name);
            fs::create_dir_all(&directory).map_err(Error::file("create", &directory))?;
        }
        Ok(Self { root })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where content of that digest is, or would be.
    pub(super) fn content(&self, sha256: &str) -> PathBuf {
        self.root.join("sha256").join(sha256)
    }

    /// The content with a checksum, if it is there and still whole; what is not is removed.
    pub(super) fn find(
        &self,
        cx: &Cx,
        checksum: &Checksum,
    ) -> Result<Option<(PathBuf, Digest, u64)>> {
        let sha256 = match checksum.algorithm() {
            ChecksumAlgorithm::Sha256 => checksum.hex().to_owned(),
            _ => match fs::read_to_string(self.pointer(checksum)) {
                Ok(text) => text.trim().to_owned(),
                Err(_) => return Ok(None),
            },
        };
        let Some(sha256) = Checksum::new(ChecksumAlgorithm::Sha256, &sha256) else {
            return Ok(None);
        };
        let path = self.content(sha256.hex());
        let Ok(mut file) = File::open(&path) else {
            return Ok(None);
        };
        let mut sums = Sums::new([ChecksumAlgorithm::Sha256, checksum.algorithm()]);
        let task = cx.task(
            "verify",
            file.metadata().ok().map(|metadata| metadata.len()),
        );
        let size = hash(cx, &task, &mut file, &mut sums).map_err(read_error(&path))?;
        let sums = sums.finish();
        if sums.contains(&sha256) && sums.contains(checksum) {
            return Ok(Some((path, digest(&sha256), size)));
        }
        tracing::warn!(path = %path.display(), "a file of the cache was changed; it is removed");
        remove(&path)?;
        Ok(None)
    }

    /// A place for content that is being downloaded: that of the last attempt at the same content,
    /// unless another process is at it.
    pub(super) fn partial(&self, resume: Option<&Checksum>) -> Result<Partial> {
        let directory = self.root.join("partial");
        if let Some(checksum) = resume {
            let path = directory.join(format!(
                "{}.{}",
                checksum.hex(),
                checksum.algorithm().extension()
            ));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(Error::file("create", &path))?;
            match file.try_lock() {
                // It may have been completed and renamed while we opened it.
                Ok(()) if path.exists() => {
                    return Ok(Partial {
                        file,
                        path,
                        is_kept: true,
                    });
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
            }
        }
        let temporary = tempfile::Builder::new()
            .prefix("download-")
            .tempfile_in(&directory)
            .map_err(Error::file("create a file in", &directory))?;
        let (file, path) = temporary
            .keep()
            .map_err(|error| Error::file("keep a file in", &directory)(error.error))?;
        Ok(Partial {
            file,
            path,
            is_kept: false,
        })
    }

    /// Takes in a complete file.
    pub(super) fn commit(&self, mut partial: Partial, sums: &[Checksum]) -> Result<PathBuf> {
        let sha256 = sums
            .iter()
            .find(|sum| sum.algorithm() == ChecksumAlgorithm::Sha256);
        let sha256 = sha256.map(Checksum::hex).unwrap_or_default();
        let path = self.content(sha256);
        partial
            .file
            .sync_all()
            .map_err(Error::file("write", &partial.path))?;
        fs::rename(&partial.path, &path).map_err(Error::file("rename", &partial.path))?;
        // It is no longer there to be removed.
        partial.is_kept = true;
        for sum in sums {
            if sum.algorithm() != ChecksumAlgorithm::Sha256 {
                self.point(sum, sha256)?;
            }
        }
        Ok(path)
    }

    fn pointer(&self, checksum: &Checksum) -> PathBuf {
        let directory = self.root.join(checksum.algorithm().extension());
        directory.join(checksum.hex())
    }

    fn point(&self, checksum: &Checksum, sha256: &str) -> Result<()> {
        let path = self.pointer(checksum);
        let write = || {
            let directory = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(sha256.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(Error::file("write", &path))
    }
}

impl Partial {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are there already.
    pub(super) fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(Error::file("read", &self.path))?.len())
    }

    /// Begins again.
    pub(super) fn clear(&mut self) -> Result<()> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(Error::file("write", &self.path))
    }

    /// Hashes what is there, and goes to its end.
    pub(super) fn hash(&mut self, cx: &Cx, task: &Task, sums: &mut Sums) -> Result<u64> {
        let hashed = self
            .file
            .rewind()
            .and_then(|()| hash(cx, task, &mut self.file, sums));
        hashed.map_err(read_error(&self.path))
    }

    /// Keeps nothing of it.
    pub(super) fn discard(&mut self) {
        self.is_kept = false;
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = remove(&self.path)
        {
            tracing::debug!(%error, "a partial file stays behind");
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Hashes a file to its end; returns its size.
pub(super) fn hash(cx: &Cx, task: &Task, file: &mut File, sums: &mut Sums) -> io::Result<u64> {
    let (mut size, mut buffer) = (0, vec![0; CHUNK]);
    loop {
        cx.check().map_err(ocicore::Error::from)?;
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(size);
        }
        sums.update(&buffer[..n]);
        size += n as u64;
        task.add(n as u64).map_err(ocicore::Error::from)?;
    }
}

/// An error of the file, or cancellation.
pub(super) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| match error.downcast::<ocicore::Error>() {
        Ok(ocicore::Error::Cancelled) => Error::Cancelled,
        Ok(error) => Error::file("read", path)(error.into()),
        Err(error) => Error::file("read", path)(error),
    }
}

/// A checksum as the name of content.
pub(super) fn digest(sha256: &Checksum) -> Digest {
    format!("sha256:{}", sha256.hex())
        .parse()
        .expect("64 hexadecimal digits in lower case are a digest")
}
