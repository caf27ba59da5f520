use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{Algorithm, Blob, BoxStream, Cx, Descriptor, Error, MediaType, Result};

/// Bytes that one poll of a file's stream reads. Each wakes a thread, whose cost counts for more than that of a chunk
/// that leaves the processor's cache before it is sent.
const CHUNK: usize = 1 << 20;
/// Buffers that a stream keeps for its next chunks: one is sent while another is read.
const SPARE: usize = 2;

/// Content that is a file of exactly this content.
#[derive(Clone, Debug)]
pub struct FileBlob {
    descriptor: Descriptor,
    path: PathBuf,
    /// Deletes the file when the last clone is gone.
    _temporary: Option<Arc<tempfile::TempPath>>,
}

impl FileBlob {
    /// A file that is said to be what `descriptor` describes; who takes it will check.
    pub fn described(descriptor: Descriptor, path: impl Into<PathBuf>) -> Self {
        Self {
            descriptor,
            path: path.into(),
            _temporary: None,
        }
    }

    /// A temporary file, deleted with the last clone.
    pub fn temporary(descriptor: Descriptor, path: tempfile::TempPath) -> Self {
        let file = path.to_path_buf();
        Self {
            descriptor,
            path: file,
            _temporary: Some(Arc::new(path)),
        }
    }

    /// Reads a file once to describe it by its SHA-256.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn of(cx: &Cx, media_type: MediaType, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        cx.blocking(move |cx| {
            let hash = || {
                let mut file = File::open(&path)?;
                let task = cx.task("hash", Some(file.metadata()?.len()));
                let mut hasher = Algorithm::Sha256.hasher();
                let (mut size, mut buffer) = (0, vec![0; CHUNK]);
                loop {
                    let n = file.read(&mut buffer)?;
                    if n == 0 {
                        return Ok((hasher.finish(), size));
                    }
                    hasher.update(&buffer[..n]);
                    size += n as u64;
                    task.add(n as u64)
                        .map_err(|cancelled| io::Error::from(Error::from(cancelled)))?;
                }
            };
            let (digest, size) = hash().map_err(|e| io_error(&path, e))?;
            Ok(Self::described(
                Descriptor::new(media_type, digest, size),
                path,
            ))
        })
        .await
    }
}

impl Blob for FileBlob {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        read_range(self.clone(), range)
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// Streams a part of a file; the blob is kept while the stream lives, so that a temporary file is.
fn read_range(blob: FileBlob, range: Range<u64>) -> BoxStream<Bytes> {
    read_file(blob.path.clone(), range)
        .map(move |chunk| {
            let _kept = &blob;
            chunk
        })
        .boxed()
}

/// Streams a part of a file in chunks, each read on a thread for blocking work.
pub(crate) fn read_file(path: PathBuf, range: Range<u64>) -> BoxStream<Bytes> {
    struct State {
        path: PathBuf,
        file: Option<File>,
        spare: Spare,
        at: u64,
        end: u64,
    }
    let state = State {
        path,
        file: None,
        spare: Spare::default(),
        at: range.start,
        end: range.end,
    };
    stream::try_unfold(state, |mut state| async move {
        if state.at >= state.end {
            return Ok(None);
        }
        Cx::default()
            .blocking(move |_| {
                let read = |state: &mut State| {
                    let mut file = match state.file.take() {
                        Some(file) => file,
                        None => {
                            let mut file = File::open(&state.path)?;
                            file.seek(SeekFrom::Start(state.at))?;
                            file
                        }
                    };
                    let want = CHUNK.min(usize::try_from(state.end - state.at).unwrap_or(CHUNK));
                    // Reading to the end of a part fills a buffer that nobody had to clear.
                    let mut chunk = state.spare.take();
                    chunk.reserve_exact(want);
                    let n = (&mut file).take(want as u64).read_to_end(&mut chunk)?;
                    state.at = if n == 0 {
                        state.end
                    } else {
                        state.at + n as u64
                    };
                    state.file = Some(file);
                    Ok(state.spare.lend(chunk))
                };
                match read(&mut state) {
                    Ok(chunk) => Ok(Some((chunk, state))),
                    Err(error) => Err(io_error(&state.path, error)),
                }
            })
            .await
    })
    .boxed()
}

/// Memory of a stream's chunks, which comes back when they are dropped: new memory would have to be cleared by the
/// system each time.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

struct Lent {
    bytes: Vec<u8>,
    spare: Spare,
}

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.buffers().pop().unwrap_or_default()
    }

    fn lend(&self, bytes: Vec<u8>) -> Bytes {
        let spare = self.clone();
        Bytes::from_owner(Lent { bytes, spare })
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut buffers = self.spare.buffers();
        if buffers.len() < SPARE {
            buffers.push(bytes);
        }
    }
}

fn io_error(path: &Path, error: io::Error) -> Error {
    Error::io("read", path.display(), "the file system", error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_read_at_any_range() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0u32..(4 << 20) + 10).map(|n| (n % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let cx = Cx::default();
        let blob = FileBlob::of(&cx, MediaType::OCI_LAYER, file.path())
            .await
            .unwrap();
        assert_eq!(
            *blob.descriptor(),
            Descriptor::of(MediaType::OCI_LAYER, &content)
        );
        for range in [0..content.len(), 1..5, CHUNK - 1..CHUNK + 1, 7..7] {
            let part: Vec<Bytes> = blob
                .open(range.start as u64..range.end as u64)
                .try_collect()
                .await
                .unwrap();
            assert_eq!(part.concat(), content[range]);
        }
    }

    #[tokio::test]
    async fn chunks_that_are_dropped_give_their_memory_to_the_next() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, vec![7; 4 * CHUNK]).unwrap();
        let mut content = read_file(path.to_path_buf(), 0..4 * CHUNK as u64);
        let mut places = std::collections::HashSet::new();
        while let Some(chunk) = content.try_next().await.unwrap() {
            assert_eq!(chunk.len(), CHUNK);
            places.insert(chunk.as_ptr());
        }
        assert_eq!(places.len(), 1);
    }

    #[tokio::test]
    async fn a_temporary_file_lives_as_long_as_its_streams() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, "hello").unwrap();
        let kept = path.to_path_buf();
        let blob = FileBlob::temporary(Descriptor::of(MediaType::OCI_LAYER, b"hello"), path);
        let content = blob.open(0..5);
        drop(blob);
        assert_eq!(
            content.try_collect::<Vec<_>>().await.unwrap().concat(),
            b"hello"
        );
        assert!(!kept.exists());
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_of_the_stream() {
        let blob = FileBlob::described(Descriptor::of(MediaType::OCI_LAYER, b"x"), "/nope/x");
        let error = blob.open(0..1).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.class(), crate::Class::NotFound);
    }
}
