use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Algorithm, Blob, BoxStream, Cx, Descriptor, Error, MediaType, Result};

/// Bytes of a stream's chunks, by which others see that it gets on.
const CHUNK: usize = 256 << 10;
/// Bytes that are read in one step, which wakes a thread; so that is done for several chunks.
const STEP: usize = 4 * CHUNK;
/// Buffers that a stream keeps for its next steps: one is sent while another is read.
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

/// Streams a part of a file, which a thread for blocking work reads.
pub(crate) fn read_file(path: PathBuf, range: Range<u64>) -> BoxStream<Bytes> {
    let state = State {
        path,
        file: None,
        spare: Spare::default(),
        range,
    };
    stream::try_unfold(state, |mut state| async move {
        if state.range.is_empty() {
            return Ok(None);
        }
        Cx::default()
            .blocking(move |_| match state.read() {
                Ok(bytes) => Ok(Some((chunks(bytes), state))),
                Err(error) => Err(io_error(&state.path, error)),
            })
            .await
    })
    .try_flatten()
    .boxed()
}

fn chunks(mut bytes: Bytes) -> impl Stream<Item = Result<Bytes>> {
    stream::iter(std::iter::from_fn(move || {
        let chunk = bytes.split_to(CHUNK.min(bytes.len()));
        (!chunk.is_empty()).then_some(Ok(chunk))
    }))
}

struct State {
    path: PathBuf,
    file: Option<File>,
    spare: Spare,
    range: Range<u64>,
}

impl State {
    /// The next step, empty at the end of the file.
    fn read(&mut self) -> io::Result<Bytes> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(self.range.start))?;
                file
            }
        };
        let left = self.range.end - self.range.start;
        let mut buffer = self.spare.take();
        buffer.resize(usize::try_from(left).unwrap_or(STEP).min(STEP), 0);
        let mut len = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(len..) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.range.start = match len {
            0 => self.range.end,
            _ => self.range.start + len as u64,
        };
        self.file = Some(file);
        Ok(self.spare.lend(buffer).slice(..len))
    }
}

/// Memory of a stream's steps, which comes back when their last chunk is dropped: the system would have to clear new
/// memory each time.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

struct Lent {
    buffer: Vec<u8>,
    spare: Spare,
}

impl Spare {
    /// A buffer, perhaps with content of earlier.
    fn take(&self) -> Vec<u8> {
        self.buffers().pop().unwrap_or_default()
    }

    fn lend(&self, buffer: Vec<u8>) -> Bytes {
        let spare = self.clone();
        Bytes::from_owner(Lent { buffer, spare })
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffers = self.spare.buffers();
        if buffers.len() < SPARE {
            buffers.push(std::mem::take(&mut self.buffer));
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
        let content: Vec<u8> = (0..=250).cycle().take(2 * STEP + 10).collect();
        file.write_all(&content).unwrap();
        let cx = Cx::default();
        let blob = FileBlob::of(&cx, MediaType::OCI_LAYER, file.path())
            .await
            .unwrap();
        assert_eq!(
            *blob.descriptor(),
            Descriptor::of(MediaType::OCI_LAYER, &content)
        );
        for range in [0..content.len(), 1..5, STEP - 1..STEP + 1, 7..7] {
            let part: Vec<Bytes> = blob
                .open(range.start as u64..range.end as u64)
                .try_collect()
                .await
                .unwrap();
            assert_eq!(part.concat(), content[range]);
        }
    }

    #[test]
    fn memory_comes_back_with_the_last_chunk() {
        let spare = Spare::default();
        let lent: Vec<Bytes> = (0..3).map(|_| spare.lend(vec![7; 100])).collect();
        let place = lent[0].as_ptr();
        let chunk = lent[0].slice(20..30);
        drop(lent);
        assert_eq!(spare.buffers().len(), SPARE);
        spare.buffers().clear();
        drop(chunk);
        let buffer = spare.take();
        assert_eq!((buffer.as_ptr(), buffer.len()), (place, 100));
        assert_eq!(spare.take().capacity(), 0);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_early() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; STEP + CHUNK + 1]).unwrap();
        let content = read_file(file.path().to_owned(), 0..10 * STEP as u64);
        let chunks: Vec<Bytes> = content.try_collect().await.unwrap();
        let lens: Vec<usize> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(lens, [CHUNK, CHUNK, CHUNK, CHUNK, CHUNK, 1]);
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
