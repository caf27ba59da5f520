//! A blob on its way in: hashed while it streams, kept so that it goes on after a restart.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{Algorithm, BoxStream, Class, Digest, RepositoryPath};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    hash::Hash,
    links::{Links, keys},
    storage::{Upload, UploadId},
};

/// How often an upload that is in use is asked for again, and how long is waited before: it takes
/// a millisecond to look at one.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// An upload that this request holds.
#[derive(Debug)]
pub(crate) struct Session {
    repository: RepositoryPath,
    upload: Box<dyn Upload>,
    offset: u64,
    hash: Hash,
}

/// What is kept with the upload, always after the bytes that it speaks of.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    repository: RepositoryPath,
    offset: u64,
    algorithm: String,
    hash: String,
}

/// How the client says where its bytes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// At the end.
    Stream,
    /// From `start` on, of `len` bytes.
    Range { start: u64, len: u64 },
}

impl Session {
    /// A new upload, which is not known to others before [`Session::save`].
    pub(crate) async fn begin(
        links: &Links,
        repository: &RepositoryPath,
        algorithm: Algorithm,
    ) -> Result<Self> {
        Ok(Self {
            repository: repository.clone(),
            upload: links.storage.begin().await?,
            offset: 0,
            hash: Hash::new(algorithm),
        })
    }

    /// An upload that was saved.
    pub(crate) async fn resume(
        links: &Links,
        repository: &RepositoryPath,
        id: &UploadId,
    ) -> Result<Self> {
        let unknown = || Error::UploadUnknown {
            repository: repository.to_string(),
            id: id.to_string(),
        };
        let upload = match links.storage.resume(id).await {
            Ok(upload) => upload.ok_or_else(unknown)?,
            Err(error) if error.class() == Class::Conflict => {
                return Err(Error::UploadInUse { id: id.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        let note: Note = serde_json::from_slice(upload.note()).map_err(|_| unknown())?;
        let algorithm: Algorithm = note.algorithm.parse().map_err(|_| unknown())?;
        let hash = Hash::restore(algorithm, &note.hash).ok_or_else(unknown)?;
        if note.repository != *repository {
            return Err(unknown());
        }
        Ok(Self {
            repository: note.repository,
            upload,
            offset: note.offset,
            hash,
        })
    }

    /// The same for who is going to change it, who waits a little for those that merely look at it.
    pub(crate) async fn take(
        links: &Links,
        repository: &RepositoryPath,
        id: &UploadId,
    ) -> Result<Self> {
        for _ in 0..TRIES {
            match Self::resume(links, repository, id).await {
                Err(Error::UploadInUse { .. }) => tokio::time::sleep(PAUSE).await,
                other => return other,
            }
        }
        Self::resume(links, repository, id).await
    }

    /// Its name.
    pub(crate) fn id(&self) -> &UploadId {
        self.upload.id()
    }

    /// Whether others can go on with it.
    pub(crate) fn is_saved(&self) -> bool {
        !self.upload.note().is_empty()
    }

    /// Where the blob will be.
    pub(crate) fn repository(&self) -> &RepositoryPath {
        &self.repository
    }

    /// Bytes that are there.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The hash to begin with when the digest is known before any byte.
    pub(crate) fn expect(&mut self, algorithm: Algorithm) {
        if self.offset == 0 && self.hash.algorithm() != algorithm {
            self.hash = Hash::new(algorithm);
        }
    }

    /// Keeps the state, so that another request, or another process, can go on.
    pub(crate) async fn save(&mut self) -> Result<()> {
        let note = Note {
            repository: self.repository.clone(),
            offset: self.offset,
            algorithm: self.hash.algorithm().to_string(),
            hash: self.hash.save(),
        };
        let note = serde_json::to_vec(&note).map_err(|source| {
            ocicore::Error::store("save", self.id(), "the storage", Class::Other, source)
        })?;
        Ok(self.upload.save(note.into()).await?)
    }

    /// Appends a body of at most `limit` bytes in all. If the client breaks it off, what came is
    /// kept, so that a client that knows of the upload can go on from there.
    pub(crate) async fn append(
        &mut self,
        chunk: Chunk,
        body: BoxStream<Bytes>,
        limit: u64,
    ) -> Result<()> {
        let before = (self.offset, self.hash.clone());
        if let Chunk::Range { start, .. } = chunk
            && start != self.offset
        {
            return Err(Error::OutOfOrder {
                start,
                offset: self.offset,
            });
        }
        let intake = Arc::new(Mutex::new(Intake {
            hash: self.hash.clone(),
            room: limit.saturating_sub(self.offset),
            fault: None,
        }));
        let body = hashed(body, Arc::clone(&intake));
        let appended = self.upload.append(self.offset, body).await;
        let end = appended?;
        let fault = {
            let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
            self.hash = intake.hash.clone();
            intake.fault.take()
        };
        self.offset = end;
        if let Some(fault) = fault {
            let source = match fault {
                Fault::TooLarge => {
                    (self.offset, self.hash) = before;
                    return Err(Error::TooLarge {
                        what: "blob",
                        limit,
                    });
                }
                Fault::Broken(source) => source,
            };
            if self.is_saved() {
                self.save().await?;
            }
            return Err(Error::Body {
                source: source.into(),
            });
        }
        if let Chunk::Range { len, .. } = chunk
            && before.0 + len != end
        {
            (self.offset, self.hash) = before;
            return Err(Error::SizeMismatch {
                what: "chunk".to_owned(),
                expected: len,
                actual: end - self.offset,
            });
        }
        Ok(())
    }

    /// Bytes that are there.
    pub(crate) fn read(&self, range: Range<u64>) -> BoxStream<Bytes> {
        self.upload.read(range)
    }

    /// Makes the bytes a blob of the repository, if they have that digest.
    pub(crate) async fn finish(self, links: &Links, expected: &Digest) -> Result<()> {
        let Self {
            repository,
            upload,
            offset,
            hash,
        } = self;
        let actual = if hash.algorithm() == expected.algorithm() {
            hash.finish()
        } else {
            // The client did not say in time that it uses this algorithm.
            let mut hash = Hash::new(expected.algorithm());
            let mut content = upload.read(0..offset);
            while let Some(chunk) = content.try_next().await? {
                hash.update(&chunk);
            }
            hash.finish()
        };
        if actual != *expected {
            upload.abort().await?;
            return Err(Error::DigestMismatch {
                expected: (*expected).into(),
                actual: actual.into(),
            });
        }
        upload.commit(offset, &keys::content(expected)).await?;
        links.link_blob(&repository, expected, offset).await
    }

    /// Forgets the upload.
    pub(crate) async fn abort(self) -> Result<()> {
        Ok(self.upload.abort().await?)
    }
}

#[derive(Debug)]
struct Intake {
    hash: Hash,
    room: u64,
    fault: Option<Fault>,
}

#[derive(Debug)]
enum Fault {
    TooLarge,
    Broken(ocicore::Error),
}

/// Passes on what fits, hashing it. A fault ends the stream and is kept aside, so that the bytes
/// before it are stored as any others.
fn hashed(body: BoxStream<Bytes>, intake: Arc<Mutex<Intake>>) -> BoxStream<Bytes> {
    stream::unfold(Some(body), move |body| {
        let intake = Arc::clone(&intake);
        async move {
            let mut body = body?;
            let next = body.next().await?;
            let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
            match next {
                Ok(chunk) if chunk.len() as u64 <= intake.room => {
                    intake.room -= chunk.len() as u64;
                    intake.hash.update(&chunk);
                    Some((Ok(chunk), Some(body)))
                }
                Ok(_) => {
                    intake.fault = Some(Fault::TooLarge);
                    None
                }
                Err(error) => {
                    intake.fault = Some(Fault::Broken(error));
                    None
                }
            }
        }
    })
    .boxed()
}
