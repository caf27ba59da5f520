use std::{fmt, ops::Range, path::Path, pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::{Cx, Descriptor, Digest, Name, RawManifest, Repository, Result, Tag};

/// A stream as the ports give it.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Content of known digest and size that can be read again, at any range. Nothing is fetched
/// before the stream is polled.
///
/// The content is not verified by `open`: the sink that takes it does that, or
/// [`verified`](crate::verified) where there is none.
pub trait Blob: fmt::Debug + Send + Sync + 'static {
    /// Media type, digest and size.
    fn descriptor(&self) -> &Descriptor;

    /// The bytes of `range`, which must lie within the size.
    fn open(&self, range: Range<u64>) -> BoxStream<Bytes>;

    /// Where it already lies: a registry's sink of the same host mounts it.
    fn origin(&self) -> Option<&Repository> {
        None
    }

    /// A local file with exactly this content: sync readers need no bridge.
    fn file(&self) -> Option<&Path> {
        None
    }
}

/// What [`ImageSink::put_blob`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stored {
    /// It was there.
    Present,
    /// It was in another repository of the same registry and moved by name.
    Mounted,
    /// Its bytes were written.
    Written,
}

/// Where a manifest goes. Closed: a manifest is a root or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Part of an index or a referrer; an OCI layout does not list it in its `index.json`.
    Child,
    /// A root, with these tags; without any it can be had by digest only.
    Root(&'a [Tag]),
}

/// One repository's content, to be read: a repository of a registry, a layout, an archive, memory,
/// an [`Image`](crate::Image).
#[async_trait]
pub trait ImageSource: fmt::Debug + Send + Sync + 'static {
    /// The descriptor of a manifest (a registry's `HEAD`).
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there.
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor>;

    /// A manifest, in one request by tag or digest; its bytes as stored. If asked for by digest,
    /// the bytes have that digest.
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there, [`Error::Digest`](crate::Error::Digest) if it is
    /// not what was asked for.
    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest>;

    /// Content by its descriptor. No I/O: if it is missing, the first poll of its stream says so.
    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob>;

    /// Manifests whose `subject` is `subject`, with their artifact types; none is an empty list.
    ///
    /// # Errors
    /// If they cannot be listed.
    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// All tags, in the order that the store gives them, which is the lexical one for most; of a repository that is not
    /// there, none. What follows an error may be other tags.
    fn tags(&self, cx: &Cx) -> BoxStream<Tag>;
}

/// One repository's content, to be written.
#[async_trait]
pub trait ImageSink: fmt::Debug + Send + Sync + 'static {
    /// Whether content is there. For plans and `--dry-run` only: [`ImageSink::put_blob`] finds out
    /// by itself.
    ///
    /// # Errors
    /// If the store cannot tell.
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool>;

    /// Makes content be there, in as few requests as can be. The sink checks size and digest;
    /// nothing of a wrong content becomes visible.
    ///
    /// # Errors
    /// [`Error::Digest`](crate::Error::Digest) and [`Error::Size`](crate::Error::Size) if the
    /// content is not what its descriptor says; the source's own errors; the store's.
    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored>;

    /// Writes a manifest, byte for byte. What it points to must be there; stores may refuse it
    /// otherwise.
    ///
    /// # Errors
    /// If the store refuses it or cannot write.
    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()>;

    /// Removes a tag, or a manifest with all its tags.
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there.
    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()>;
}

/// A store that can do both.
pub trait ImageStore: ImageSource + ImageSink {}

impl<T: ImageSource + ImageSink + ?Sized> ImageStore for T {}

/// Many stores by name: a registry's client, a server's storage, memory. What gating and
/// pull-through take.
pub trait Repositories: fmt::Debug + Send + Sync + 'static {
    /// The store of one repository, without I/O; it need not exist yet.
    ///
    /// # Errors
    /// If this cannot serve such a name.
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>>;

    /// All repositories, in lexical order.
    fn catalog(&self, cx: &Cx) -> BoxStream<Repository>;
}
