use std::{
    fs::{self, File},
    io::{self, Write},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use ocicore::{BoxStream, Cx, Error, Result};

use self::{room::Room, upload::FsUpload};
use super::{Key, Meta, Object, Storage, Upload, UploadId, Version, When, conflict};

mod list;
mod read;
mod room;
mod upload;

/// Temporary files of a crashed server are removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A local directory, which any number of server processes may share.
///
/// An object is a file at its key; files and directories whose name begins with a dot are the
/// storage's own. Writes go to a temporary file that is renamed into place; those of one key
/// follow one another by a file lock, which the system releases when a process dies.
#[derive(Clone, Debug)]
pub struct FsStorage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    durability: Durability,
    /// Rooms of their own, so that those who write slow down none who read.
    reading: Room,
    writing: Room,
}

/// What an acknowledged write survives. Closed: there is nothing in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: files and directories are synced before the acknowledgment.
    #[default]
    PowerLoss,
    /// The end of the process, but not of the machine. For registries that do not outlive their
    /// machine, such as one of a job.
    ProcessCrash,
}

impl FsStorage {
    /// Opens a directory, which is made if need be. It should hold nothing else.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::with_durability(root, Durability::default())
    }

    /// The same with another durability.
    ///
    /// # Errors
    /// As [`FsStorage::open`].
    pub fn with_durability(root: impl Into<PathBuf>, durability: Durability) -> Result<Self> {
        let inner = Inner {
            root: root.into(),
            durability,
            reading: Room::default(),
            writing: Room::default(),
        };
        inner.prepare()?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        subject: impl ToString,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let (root, result) = Cx::default()
            .blocking(move |_| {
                let result = work(&inner);
                (inner, result)
            })
            .await;
        result.map_err(|error| Error::io(action, subject, root.root.display(), error))
    }
}

impl Inner {
    fn prepare(&self) -> Result<()> {
        let make = || {
            fs::create_dir_all(&self.root)?;
            for own in [".tmp", ".uploads", ".locks"] {
                fs::create_dir_all(self.root.join(own))?;
            }
            let now = SystemTime::now();
            for entry in fs::read_dir(self.root.join(".tmp"))? {
                let entry = entry?;
                // Another process may be quicker to remove it.
                let Ok(modified) = entry.metadata().and_then(|meta| meta.modified()) else {
                    continue;
                };
                if now
                    .duration_since(modified)
                    .is_ok_and(|age| age > ABANDONED)
                {
                    remove_if_there(&entry.path())?;
                }
            }
            Ok(())
        };
        make().map_err(|error| Error::io("open", self.root.display(), "the file system", error))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Writers of one key follow one another, over all processes.
    fn lock(&self, key: &Key) -> io::Result<File> {
        // FNV-1a; any spread over some files will do.
        let hash = key
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(format!(".locks/{:02x}", hash % 64)))?;
        file.lock()?;
        Ok(file)
    }

    fn check(&self, key: &Key, when: When<'_>) -> io::Result<()> {
        let holds = match when {
            When::Always => true,
            When::Absent => stat(&self.path(key))?.is_none(),
            When::Unchanged(version) => {
                stat(&self.path(key))?.is_some_and(|meta| meta.version == *version)
            }
        };
        if holds {
            Ok(())
        } else {
            Err(conflict("change", key).into())
        }
    }

    fn put(&self, key: &Key, bytes: &[u8], when: When<'_>) -> io::Result<Version> {
        let temporary = Temporary::new(self)?;
        let mut file = File::create_new(&temporary.path)?;
        file.write_all(bytes)?;
        if self.durability == Durability::PowerLoss {
            file.sync_data()?;
        }
        let version = meta(&file.metadata()?).version;
        let _lock = self.lock(key)?;
        self.check(key, when)?;
        self.rename(&temporary.path, &self.path(key))?;
        temporary.moved();
        Ok(version)
    }

    fn delete(&self, key: &Key, when: When<'_>) -> io::Result<()> {
        let _lock = self.lock(key)?;
        let path = self.path(key);
        if stat(&path)?.is_none() {
            return Ok(());
        }
        self.check(key, when)?;
        remove_if_there(&path)?;
        self.sync_directory(&path)?;
        // Directories that become empty go, too; `rename` makes them again.
        let mut directory = path.parent();
        while let Some(empty) = directory
            && empty != self.root
            && fs::remove_dir(empty).is_ok()
        {
            directory = empty.parent();
        }
        Ok(())
    }

    /// Moves a file to its place, durably.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        for _ in 0..100 {
            match fs::rename(from, to) {
                Ok(()) => return self.sync_directory(to),
                // The directory is missing, or a `delete` has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.create_parents(to)?;
                }
                Err(error) => return Err(error),
            }
        }
        fs::rename(from, to)
    }

    fn create_parents(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|directory| *directory != self.root && !directory.is_dir())
            .collect();
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                Ok(()) => self.sync_directory(directory)?,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the entry of `path` in its directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(directory) if self.durability == Durability::PowerLoss => {
                match File::open(directory) {
                    Ok(directory) => directory.sync_all(),
                    // Removed since; then its removal is what has to last.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Storage for FsStorage {
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Object>> {
        let path = self.inner.path(key);
        let opened = self
            .run("read", key, move |inner| {
                read::open(&path, range, &inner.reading)
            })
            .await?;
        Ok(opened.map(|(meta, opened)| Object {
            meta,
            body: opened.into_stream(),
        }))
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        let path = self.inner.path(key);
        self.run("read", key, move |_| stat(&path)).await
    }

    async fn put(&self, key: &Key, bytes: Bytes, when: When<'_>) -> Result<Version> {
        let (own, when) = (key.clone(), OwnedWhen::from(when));
        self.run("write", key, move |inner| {
            inner.put(&own, &bytes, when.as_when())
        })
        .await
    }

    async fn delete(&self, key: &Key, when: When<'_>) -> Result<()> {
        let (own, when) = (key.clone(), OwnedWhen::from(when));
        self.run("delete", key, move |inner| {
            inner.delete(&own, when.as_when())
        })
        .await
    }

    fn list(&self, prefix: &Key, after: Option<&Key>) -> BoxStream<(Key, Meta)> {
        list::list(self.clone(), prefix, after)
    }

    async fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(FsUpload::begin(self).await?))
    }

    async fn resume(&self, id: &UploadId) -> Result<Option<Box<dyn Upload>>> {
        let upload = FsUpload::resume(self, id).await?;
        Ok(upload.map(|upload| Box::new(upload) as Box<dyn Upload>))
    }

    fn uploads(&self) -> BoxStream<(UploadId, SystemTime)> {
        list::uploads(self.clone())
    }
}

enum OwnedWhen {
    Always,
    Absent,
    Unchanged(Version),
}

impl From<When<'_>> for OwnedWhen {
    fn from(when: When<'_>) -> Self {
        match when {
            When::Always => Self::Always,
            When::Absent => Self::Absent,
            When::Unchanged(version) => Self::Unchanged(version.clone()),
        }
    }
}

impl OwnedWhen {
    fn as_when(&self) -> When<'_> {
        match self {
            Self::Always => When::Always,
            Self::Absent => When::Absent,
            Self::Unchanged(version) => When::Unchanged(version),
        }
    }
}

/// A file that is removed again unless it was moved to its place.
struct Temporary {
    path: PathBuf,
    moved: bool,
}

impl Temporary {
    fn new(inner: &Inner) -> io::Result<Self> {
        let name = UploadId::random()?;
        Ok(Self {
            path: inner.root.join(".tmp").join(name.as_str()),
            moved: false,
        })
    }

    fn moved(mut self) {
        self.moved = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.moved {
            return;
        }
        if let Err(error) = remove_if_there(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file is left");
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn stat(path: &Path) -> io::Result<Option<Meta>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(meta(&found))),
        Ok(_) => Ok(None),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A renamed file keeps its number, so that number, time and size name one write.
fn meta(found: &fs::Metadata) -> Meta {
    let seconds = found.mtime().unsigned_abs();
    let nanoseconds = found.mtime_nsec().unsigned_abs();
    Meta {
        size: found.len(),
        modified: SystemTime::UNIX_EPOCH
            + Duration::from_secs(seconds)
            + Duration::from_nanos(nanoseconds),
        version: Version::new(format!(
            "{:x}-{seconds:x}.{nanoseconds:x}-{:x}",
            found.ino(),
            found.len()
        )),
    }
}
