use std::{
    fs::{self, File, TryLockError},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    TryStreamExt,
    future::{self, Either},
    stream::{self, StreamExt},
};
use ocicore::{BoxStream, Error, Result};

use super::{
    Durability, FsStorage, Inner, Key, Upload, UploadId, conflict, is_missing, read,
    remove_if_there,
};

/// Bytes that are written in one step, while the next are received.
const BATCH: usize = 256 << 10;
/// How long a step is gathered.
const LONGEST: Duration = Duration::from_secs(1);

/// A file that grows. It is locked, so that one process and one task holds it.
#[derive(Debug)]
pub(super) struct FsUpload {
    storage: FsStorage,
    id: UploadId,
    file: Arc<File>,
    note: Bytes,
}

impl FsUpload {
    pub(super) async fn begin(storage: &FsStorage) -> Result<Self> {
        let id = UploadId::random()?;
        let path = data_path(&storage.inner, &id);
        let file = storage
            .run("begin", &id, move |_| {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(path)?;
                file.lock()?;
                Ok(file)
            })
            .await?;
        Ok(Self {
            storage: storage.clone(),
            id,
            file: Arc::new(file),
            note: Bytes::new(),
        })
    }

    pub(super) async fn resume(storage: &FsStorage, id: &UploadId) -> Result<Option<Self>> {
        let own = id.clone();
        let found = storage
            .run("resume", id, move |inner| {
                let path = data_path(inner, &own);
                let file = match File::options().read(true).write(true).open(&path) {
                    Ok(file) => file,
                    Err(error) if is_missing(&error) => return Ok(None),
                    Err(error) => return Err(error),
                };
                match file.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => {
                        return Err(conflict("resume", &own).into());
                    }
                    Err(TryLockError::Error(error)) => return Err(error),
                }
                // It may have been committed between the opening and the lock.
                match fs::metadata(&path) {
                    Ok(there) if there.ino() == file.metadata()?.ino() => {}
                    Ok(_) => return Ok(None),
                    Err(error) if is_missing(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
                let note = match fs::read(note_path(inner, &own)) {
                    Ok(note) => note,
                    Err(error) if is_missing(&error) => Vec::new(),
                    Err(error) => return Err(error),
                };
                Ok(Some((file, note)))
            })
            .await?;
        Ok(found.map(|(file, note)| Self {
            storage: storage.clone(),
            id: id.clone(),
            file: Arc::new(file),
            note: note.into(),
        }))
    }

    /// Works on the file, which stays locked until the work is over.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Inner, &File) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = Arc::clone(&self.file);
        self.storage
            .run(action, &self.id, move |inner| work(inner, &file))
            .await
    }
}

#[async_trait]
impl Upload for FsUpload {
    fn id(&self) -> &UploadId {
        &self.id
    }

    fn note(&self) -> &Bytes {
        &self.note
    }

    async fn append(&mut self, at: u64, body: BoxStream<Bytes>) -> Result<u64> {
        // It is polled once more after its end.
        let mut body = body.fuse().boxed();
        let id = self.id.clone();
        let mut batch = collect(&mut body).await?;
        // A body of one batch, as most are, takes one step.
        let mut offset = at;
        let mut first = true;
        while !batch.is_empty() || first {
            let len: u64 = batch.iter().map(|chunk| chunk.len() as u64).sum();
            let (id, is_first, from) = (id.clone(), first, offset);
            let write = self.run("append to", move |_, file| {
                if is_first {
                    cut(file, from, &id)?;
                }
                let mut to = from;
                for chunk in batch {
                    file.write_all_at(&chunk, to)?;
                    to += chunk.len() as u64;
                }
                Ok(())
            });
            let (written, next) = future::join(write, collect(&mut body)).await;
            written?;
            offset += len;
            batch = next?;
            first = false;
        }
        if self.storage.inner.durability == Durability::PowerLoss && offset > at {
            self.run("append to", |_, file| file.sync_data()).await?;
        }
        Ok(offset)
    }

    fn read(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let (storage, id) = (self.storage.clone(), self.id.clone());
        let opened = async move {
            let path = data_path(&storage.inner, &id);
            let opened = storage
                .run("read", &id, move |inner| {
                    read::open(&path, range, &inner.room)
                })
                .await?;
            Ok::<_, Error>(opened.map_or_else(
                || stream::empty().boxed(),
                |(_, opened)| opened.into_stream(),
            ))
        };
        stream::once(opened).try_flatten().boxed()
    }

    async fn save(&mut self, note: Bytes) -> Result<()> {
        let (id, bytes) = (self.id.clone(), note.clone());
        // Not synced: without it the upload is merely unknown, or shorter, after a loss of power.
        self.run("save", move |inner, _| {
            let path = note_path(inner, &id);
            let temporary = path.with_extension("new");
            fs::write(&temporary, bytes)?;
            fs::rename(temporary, path)
        })
        .await?;
        self.note = note;
        Ok(())
    }

    async fn commit(self: Box<Self>, len: u64, to: &Key) -> Result<()> {
        let (id, to, noted) = (self.id.clone(), to.clone(), !self.note.is_empty());
        self.run("commit", move |inner, file| {
            if cut(file, len, &id)? && inner.durability == Durability::PowerLoss {
                file.sync_data()?;
            }
            // Its bytes may have come long ago, and garbage collection goes by age.
            file.set_modified(SystemTime::now())?;
            let lock = inner.lock(&to)?;
            inner.rename(&data_path(inner, &id), &inner.path(&to))?;
            drop(lock);
            if noted {
                remove_if_there(&note_path(inner, &id))?;
            }
            Ok(())
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let id = self.id.clone();
        self.run("abort", move |inner, _| {
            remove_if_there(&data_path(inner, &id))?;
            remove_if_there(&note_path(inner, &id))
        })
        .await
    }
}

/// Cuts what lies beyond `len`; whether there was any.
fn cut(file: &File, len: u64, id: &UploadId) -> io::Result<bool> {
    match file.metadata()?.len() {
        there if there < len => Err(conflict("go on with", id).into()),
        there if there > len => file.set_len(len).map(|()| true),
        _ => Ok(false),
    }
}

/// The next chunks, empty at the end only. Of who sends slowly, what came is not kept for long.
async fn collect(body: &mut BoxStream<Bytes>) -> Result<Vec<Bytes>> {
    let (mut batch, mut len) = (Vec::new(), 0);
    let mut enough = pin!(tokio::time::sleep(LONGEST));
    while len < BATCH {
        let next = match batch.is_empty() {
            true => body.try_next().await?,
            false => match future::select(body.try_next(), enough.as_mut()).await {
                Either::Left((next, _)) => next?,
                Either::Right(_) => break,
            },
        };
        let Some(chunk) = next else { break };
        len += chunk.len();
        if !chunk.is_empty() {
            batch.push(chunk);
        }
    }
    Ok(batch)
}

fn data_path(inner: &Inner, id: &UploadId) -> PathBuf {
    inner.root.join(".uploads").join(id.as_str())
}

fn note_path(inner: &Inner, id: &UploadId) -> PathBuf {
    inner.root.join(format!(".uploads/{id}.note"))
}
