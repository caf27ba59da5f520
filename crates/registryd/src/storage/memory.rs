use std::{
    collections::{BTreeMap, HashMap},
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{BoxStream, Result};

use super::{Key, Meta, Object, Storage, Upload, UploadId, Version, When, conflict};

/// Everything in memory, gone with the last clone. For tests and short jobs.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, (Meta, Bytes)>,
    /// An upload that is held is not here, but for its time.
    uploads: HashMap<UploadId, (SystemTime, Option<Kept>)>,
    writes: u64,
}

#[derive(Debug, Default)]
struct Kept {
    note: Bytes,
    chunks: Vec<Bytes>,
}

impl MemoryStorage {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, action: &'static str, key: &Key, when: When<'_>) -> Result<()> {
        let there = self.objects.get(key).map(|(meta, _)| &meta.version);
        let holds = match when {
            When::Always => true,
            When::Absent => there.is_none(),
            When::Unchanged(version) => there == Some(version),
        };
        if holds {
            Ok(())
        } else {
            Err(conflict(action, key))
        }
    }

    fn write(&mut self, key: &Key, bytes: Bytes) -> Version {
        self.writes += 1;
        let version = Version::new(self.writes.to_string());
        let meta = Meta {
            size: bytes.len() as u64,
            modified: SystemTime::now(),
            version: version.clone(),
        };
        self.objects.insert(key.clone(), (meta, bytes));
        version
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Object>> {
        Ok(self.lock().objects.get(key).map(|(meta, bytes)| Object {
            meta: meta.clone(),
            body: slices(std::slice::from_ref(bytes), range),
        }))
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        Ok(self.lock().objects.get(key).map(|(meta, _)| meta.clone()))
    }

    async fn put(&self, key: &Key, bytes: Bytes, when: When<'_>) -> Result<Version> {
        let mut state = self.lock();
        state.check("write", key, when)?;
        Ok(state.write(key, bytes))
    }

    async fn delete(&self, key: &Key, when: When<'_>) -> Result<()> {
        let mut state = self.lock();
        if state.objects.contains_key(key) {
            state.check("delete", key, when)?;
            state.objects.remove(key);
        }
        Ok(())
    }

    fn list(&self, prefix: &Key, after: Option<&Key>) -> BoxStream<(Key, Meta)> {
        // All keys below `a/` lie between `a` and `a0`, as `0` follows `/`.
        let (below, end) = (format!("{prefix}/"), format!("{prefix}0"));
        let start = match after {
            Some(after) if after > prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.lock();
        let found: Vec<_> = state
            .objects
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str() < end.as_str())
            .filter(|(key, _)| key.as_str().starts_with(&below))
            .map(|(key, (meta, _))| Ok((key.clone(), meta.clone())))
            .collect();
        stream::iter(found).boxed()
    }

    async fn begin(&self) -> Result<Box<dyn Upload>> {
        let id = UploadId::random()?;
        self.lock()
            .uploads
            .insert(id.clone(), (SystemTime::now(), None));
        Ok(Box::new(MemoryUpload {
            storage: self.clone(),
            id,
            kept: Some(Kept::default()),
        }))
    }

    async fn resume(&self, id: &UploadId) -> Result<Option<Box<dyn Upload>>> {
        match self.lock().uploads.get_mut(id) {
            None => Ok(None),
            Some((_, kept)) => match kept.take() {
                None => Err(conflict("resume", id)),
                Some(kept) => Ok(Some(Box::new(MemoryUpload {
                    storage: self.clone(),
                    id: id.clone(),
                    kept: Some(kept),
                }))),
            },
        }
    }

    fn uploads(&self) -> BoxStream<(UploadId, SystemTime)> {
        let found: Vec<_> = self
            .lock()
            .uploads
            .iter()
            .map(|(id, (time, _))| Ok((id.clone(), *time)))
            .collect();
        stream::iter(found).boxed()
    }
}

#[derive(Debug)]
struct MemoryUpload {
    storage: MemoryStorage,
    id: UploadId,
    /// None once committed or aborted.
    kept: Option<Kept>,
}

impl MemoryUpload {
    fn chunks(&self) -> &[Bytes] {
        self.kept.as_ref().map_or(&[], |kept| &kept.chunks)
    }
}

#[async_trait]
impl Upload for MemoryUpload {
    fn id(&self) -> &UploadId {
        &self.id
    }

    fn note(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.kept.as_ref().map_or(&NONE, |kept| &kept.note)
    }

    async fn append(&mut self, at: u64, mut body: BoxStream<Bytes>) -> Result<u64> {
        let kept: Vec<Bytes> = slices(self.chunks(), 0..at).try_collect().await?;
        let mut len: u64 = kept.iter().map(|chunk| chunk.len() as u64).sum();
        if len < at {
            return Err(conflict("append to", &self.id));
        }
        let Some(own) = &mut self.kept else {
            return Err(conflict("append to", &self.id));
        };
        own.chunks = kept;
        while let Some(chunk) = body.try_next().await? {
            len += chunk.len() as u64;
            own.chunks.push(chunk);
        }
        Ok(len)
    }

    fn read(&self, range: Range<u64>) -> BoxStream<Bytes> {
        slices(self.chunks(), range)
    }

    async fn save(&mut self, note: Bytes) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.note = note;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, len: u64, to: &Key) -> Result<()> {
        let mut chunks: Vec<Bytes> = slices(self.chunks(), 0..len).try_collect().await?;
        if chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() < len {
            return Err(conflict("commit", &self.id));
        }
        self.kept = None;
        let bytes = match chunks.len() {
            1 => chunks.swap_remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
                chunks
                    .iter()
                    .for_each(|chunk| whole.extend_from_slice(chunk));
                whole.freeze()
            }
        };
        let mut state = self.storage.lock();
        state.uploads.remove(&self.id);
        state.write(to, bytes);
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.kept = None;
        self.storage.lock().uploads.remove(&self.id);
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take()
            && let Some(slot) = self.storage.lock().uploads.get_mut(&self.id)
        {
            *slot = (SystemTime::now(), Some(kept));
        }
    }
}

/// The parts of `chunks` within `range`.
fn slices(chunks: &[Bytes], range: Range<u64>) -> BoxStream<Bytes> {
    let (mut at, mut parts) = (0, Vec::new());
    for chunk in chunks {
        let len = chunk.len() as u64;
        let start = range.start.clamp(at, at + len) - at;
        let end = range.end.clamp(at, at + len) - at;
        if start < end {
            let cut = |offset: u64| usize::try_from(offset).unwrap_or(chunk.len());
            parts.push(Ok(chunk.slice(cut(start)..cut(end))));
        }
        at += len;
    }
    stream::iter(parts).boxed()
}
