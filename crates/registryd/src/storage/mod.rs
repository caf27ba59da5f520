//! The server's own port: keys and uploads, no images. Links, tags, referrers and garbage
//! collection are written once above it.

use std::{fmt, ops::Range, str::FromStr, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use ocicore::{BoxStream, Error, Result};

mod fs;
mod memory;

pub use fs::{Durability, FsStorage};
pub use memory::MemoryStorage;

/// Where a server keeps everything: objects under [`Key`]s, and uploads that grow until they
/// become an object.
///
/// Shaped after what object stores can do, so that several servers can work on one storage: an
/// implementation must need no lock that only one process sees. Each call is atomic and, once it
/// returned, durable.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens an object, none if it is missing. The body yields `range`, cut to the object's size,
    /// of the very version that the metadata describes, even if the object is replaced meanwhile.
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Object>>;

    /// Metadata of an object, none if it is missing.
    async fn head(&self, key: &Key) -> Result<Option<Meta>>;

    /// Writes a small object whole.
    ///
    /// # Errors
    /// Of class `Conflict` if `when` does not hold; nothing is written then.
    async fn put(&self, key: &Key, bytes: Bytes, when: When<'_>) -> Result<Version>;

    /// Removes an object; one that is missing is no error.
    ///
    /// # Errors
    /// Of class `Conflict` if `when` does not hold; nothing is removed then.
    async fn delete(&self, key: &Key, when: When<'_>) -> Result<()>;

    /// Objects whose key lies below `prefix`, in the byte order of their keys, those after
    /// `after` only.
    fn list(&self, prefix: &Key, after: Option<&Key>) -> BoxStream<(Key, Meta)>;

    /// Starts an upload, held by the caller. It survives a restart from here on.
    async fn begin(&self) -> Result<Box<dyn Upload>>;

    /// Takes up an upload again, none if it is unknown.
    ///
    /// # Errors
    /// Of class `Conflict` if it is held elsewhere.
    async fn resume(&self, id: &UploadId) -> Result<Option<Box<dyn Upload>>>;

    /// All uploads with the time of their last change.
    fn uploads(&self) -> BoxStream<(UploadId, SystemTime)>;
}

/// An upload in progress, held by one task of one server; dropped, it waits to be resumed.
#[async_trait]
pub trait Upload: fmt::Debug + Send + Sync {
    /// Its name.
    fn id(&self) -> &UploadId;

    /// What was saved last; empty at first.
    fn note(&self) -> &Bytes;

    /// Cuts what lies beyond `at` (left by a crash), appends `body`, makes it durable and returns
    /// the new length. When `body` fails, what came before may stay.
    ///
    /// # Errors
    /// Of class `Conflict` if the upload is shorter than `at`; those of `body`.
    async fn append(&mut self, at: u64, body: BoxStream<Bytes>) -> Result<u64>;

    /// Bytes that were appended. Once its first chunk was polled, the stream goes on even if the
    /// upload ends meanwhile.
    fn read(&self, range: Range<u64>) -> BoxStream<Bytes>;

    /// Keeps `note` with the upload.
    async fn save(&mut self, note: Bytes) -> Result<()>;

    /// Turns the first `len` bytes into an object, replacing one that is there (its version
    /// changes).
    ///
    /// # Errors
    /// Of class `Conflict` if the upload is shorter.
    async fn commit(self: Box<Self>, len: u64, to: &Key) -> Result<()>;

    /// Forgets the upload.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// An object that was opened.
pub struct Object {
    /// What is known without reading it.
    pub meta: Meta,
    /// The bytes asked for.
    pub body: BoxStream<Bytes>,
}

impl Object {
    /// Reads a small object whole.
    ///
    /// # Errors
    /// [`Error::Limit`] if it is larger than `limit` bytes; those of the storage.
    pub async fn read(mut self, limit: u64) -> Result<Bytes> {
        if self.meta.size > limit {
            return Err(Error::Limit {
                what: "a stored document".to_owned(),
                limit,
            });
        }
        let Some(first) = self.body.try_next().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.body.try_next().await? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.body.try_next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// Metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Size in bytes.
    pub size: u64,
    /// When this version was written.
    pub modified: SystemTime,
    /// Changes with each write.
    pub version: Version,
}

/// Condition of a write. Closed: object stores offer just these.
#[derive(Clone, Copy, Debug)]
pub enum When<'a> {
    /// None.
    Always,
    /// There is no such object.
    Absent,
    /// The object is of this version.
    Unchanged(&'a Version),
}

/// One version of an object; opaque, like an `ETag`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// A version as an implementation of [`Storage`] numbers it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of an object: components of letters, digits and `._-+`, not beginning with a dot, joined
/// by `/`. It can never hold `..` or an empty component, so it is safe as a relative path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// A key that is built of parsed nouns.
    pub(crate) fn trusted(text: String) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text} is not a key");
        Self(text)
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let component = |component: &str| {
            !component.is_empty()
                && !component.starts_with('.')
                && component.len() <= 255
                && component
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        if input.split('/').all(component) {
            Ok(Self(input.to_owned()))
        } else {
            Err(Error::parse(
                "storage key",
                input,
                "expected components of letters, digits and `._-+`, joined by `/`",
            ))
        }
    }
}

/// Name of an upload: 32 hexadecimal characters that nobody can guess.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::store(
                "begin",
                "an upload",
                "the storage",
                ocicore::Class::Other,
                error,
            )
        })?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        if input.len() == 32 && input.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(input.to_owned()))
        } else {
            Err(Error::parse(
                "upload",
                input,
                "expected 32 hexadecimal characters",
            ))
        }
    }
}

/// A failed condition.
pub(crate) fn conflict(action: &'static str, subject: impl ToString) -> Error {
    Error::store(
        action,
        subject,
        "the storage",
        ocicore::Class::Conflict,
        "it was changed meanwhile",
    )
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Storage + ?Sized> Storage for Arc<T> {
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Object>> {
        (**self).open(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        (**self).head(key).await
    }
    async fn put(&self, key: &Key, bytes: Bytes, when: When<'_>) -> Result<Version> {
        (**self).put(key, bytes, when).await
    }
    async fn delete(&self, key: &Key, when: When<'_>) -> Result<()> {
        (**self).delete(key, when).await
    }
    fn list(&self, prefix: &Key, after: Option<&Key>) -> BoxStream<(Key, Meta)> {
        (**self).list(prefix, after)
    }
    async fn begin(&self) -> Result<Box<dyn Upload>> {
        (**self).begin().await
    }
    async fn resume(&self, id: &UploadId) -> Result<Option<Box<dyn Upload>>> {
        (**self).resume(id).await
    }
    fn uploads(&self) -> BoxStream<(UploadId, SystemTime)> {
        (**self).uploads()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_safe_path() {
        for (input, good) in [
            ("a/b_c/0.1-x+y", true),
            ("_tags/_x", true),
            ("", false),
            ("/a", false),
            ("a//b", false),
            ("a/../b", false),
            ("a/.b", false),
            ("a/b/", false),
            ("a\\b", false),
            ("a:b", false),
            ("a%2fb", false),
        ] {
            assert_eq!(input.parse::<Key>().is_ok(), good, "{input}");
        }
    }

    #[test]
    fn an_upload_id_is_not_guessed() {
        let one = UploadId::random().unwrap();
        assert_ne!(one, UploadId::random().unwrap());
        assert_eq!(one.as_str().parse::<UploadId>().unwrap(), one);
        assert!(
            "../../../../../../etc/passwd00000"
                .parse::<UploadId>()
                .is_err()
        );
    }
}
