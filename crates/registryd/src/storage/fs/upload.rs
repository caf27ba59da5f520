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
use bytes::{Bytes, BytesMut};
use futures_util::{
    TryStreamExt,
    future::{self, Either},
    stream::{self, StreamExt},
};
use ocicore::{BoxStream, Error, Result};

use super::{
    Durability, FsStorage, Inner, Key, Upload, UploadId, conflict, is_missing, read,
    remove_if_there,
    room::{LARGE, Room, Share},
};

/// Bytes that are written in one step, while the next are received; [`LARGE`] where there is room.
const BATCH: usize = 256 << 10;
/// Smaller chunks are put together, so that a batch holds little more than its bytes, whatever they came in.
const SMALL: usize = 16 << 10;
/// How long a step is gathered.
const LONGEST: Duration = Duration::from_secs(1);

/// What is written in one step.
#[derive(Default)]
struct Batch {
    chunks: Vec<Bytes>,
    /// What comes behind them.
    small: BytesMut,
    len: usize,
    share: Option<Share>,
}

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
        let (id, room) = (self.id.clone(), self.storage.inner.writing.clone());
        let mut batch = collect(&mut body, &room).await?;
        // A body of one batch, as most are, takes one step.
        let mut offset = at;
        let mut first = true;
        while batch.len > 0 || first {
            let len = batch.len as u64;
            let (id, is_first, from) = (id.clone(), first, offset);
            let write = self.run("append to", move |_, file| {
                if is_first {
                    cut(file, from, &id)?;
                }
                batch.write(file, from)
            });
            let (written, next) = future::join(write, collect(&mut body, &room)).await;
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
                    read::open(&path, range, &inner.reading)
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

impl Batch {
    fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        if chunk.len() < SMALL {
            self.small.extend_from_slice(&chunk);
        } else {
            let small = self.end();
            self.chunks.extend(small.into_iter().chain([chunk]));
        }
    }

    /// The small chunks as one.
    fn end(&mut self) -> Option<Bytes> {
        let small = self.small.split().freeze();
        (!small.is_empty()).then_some(small)
    }

    /// Writes it and gives up its share.
    fn write(mut self, file: &File, mut to: u64) -> io::Result<()> {
        let end = self.end();
        for chunk in self.chunks.into_iter().chain(end) {
            file.write_all_at(&chunk, to)?;
            to += chunk.len() as u64;
        }
        Ok(())
    }
}

/// The next chunks, none at the end only. Of who sends slowly, what came is not kept for long.
async fn collect(body: &mut BoxStream<Bytes>, room: &Room) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut enough = pin!(tokio::time::sleep(LONGEST));
    loop {
        if batch.len >= BATCH && batch.share.is_none() {
            batch.share = room.of(LARGE);
        }
        let most = batch.share.as_ref().map_or(BATCH, |_| LARGE);
        if batch.len >= most {
            break;
        }
        let next = match batch.len {
            0 => body.try_next().await?,
            _ => match future::select(body.try_next(), enough.as_mut()).await {
                Either::Left((next, _)) => next?,
                Either::Right(_) => break,
            },
        };
        let Some(chunk) = next else { break };
        batch.push(chunk);
    }
    Ok(batch)
}

fn data_path(inner: &Inner, id: &UploadId) -> PathBuf {
    inner.root.join(".uploads").join(id.as_str())
}

fn note_path(inner: &Inner, id: &UploadId) -> PathBuf {
    inner.root.join(format!(".uploads/{id}.note"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn batches(room: &Room) -> Vec<usize> {
        let chunks = (0..40u8).map(|n| Ok(Bytes::from(vec![n; 64 << 10])));
        let mut body = stream::iter(chunks).boxed();
        let mut lens = Vec::new();
        loop {
            let batch = collect(&mut body, room).await.unwrap();
            if batch.len == 0 {
                return lens;
            }
            lens.push(batch.len);
        }
    }

    fn shares(room: &Room) -> Vec<Share> {
        std::iter::from_fn(|| room.of(LARGE)).collect()
    }

    #[tokio::test]
    async fn batches_are_large_where_there_is_room() {
        let room = Room::default();
        assert_eq!(batches(&room).await, [LARGE, LARGE, LARGE / 2]);
        let shares = shares(&room);
        assert_eq!(batches(&room).await, [BATCH; 10]);
        drop(shares);
        assert_eq!(batches(&room).await, [LARGE, LARGE, LARGE / 2]);
    }

    #[tokio::test]
    async fn small_chunks_are_put_together_in_their_order() {
        let lens = [1, SMALL, 0, 2, SMALL - 1, 3, SMALL + 1, SMALL, 1, 1];
        let chunks = lens
            .into_iter()
            .zip(1u8..)
            .map(|(len, n)| Bytes::from(vec![n; len]));
        let content = chunks.clone().collect::<Vec<_>>().concat();
        let mut body = stream::iter(chunks.map(Ok)).boxed();
        let batch = collect(&mut body, &Room::default()).await.unwrap();
        assert_eq!((batch.len, batch.chunks.len()), (content.len(), 5));
        let file = tempfile::NamedTempFile::new().unwrap();
        batch.write(file.as_file(), 0).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), content);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_sender_sent_is_not_kept_for_long() {
        let sent = stream::iter([Ok(Bytes::from(vec![7; BATCH]))]);
        let mut body = sent.chain(stream::pending()).boxed();
        let room = Room::default();
        let batch = collect(&mut body, &room).await.unwrap();
        assert_eq!(batch.len, BATCH);
    }

    #[tokio::test]
    async fn what_is_written_takes_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let storage = FsStorage::open(directory.path()).unwrap();
        let mut upload = FsUpload::begin(&storage).await.unwrap();
        let (path, room) = (
            data_path(&storage.inner, &upload.id),
            storage.inner.writing.clone(),
        );
        let all = shares(&room).len();
        let sent = stream::iter([Ok(Bytes::from(vec![7; BATCH]))]);
        let stopped = upload.append(0, sent.chain(stream::pending()).boxed());
        let looked = async {
            while fs::metadata(&path).unwrap().len() < BATCH as u64 || shares(&room).len() < all {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let looked = tokio::time::timeout(Duration::from_secs(60), looked);
        match future::select(stopped, pin!(looked)).await {
            Either::Left(_) => panic!("it has no end"),
            Either::Right((looked, _)) => looked.unwrap(),
        }
    }
}
