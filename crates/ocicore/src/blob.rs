use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Blob, BoxStream, Descriptor, Digest, Error, Hasher, MediaType, Result};

/// Content in memory.
#[derive(Clone, Debug)]
pub struct BytesBlob {
    descriptor: Descriptor,
    bytes: Bytes,
}

impl BytesBlob {
    /// Describes `bytes` by their SHA-256.
    pub fn new(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            descriptor: Descriptor::of(media_type, &bytes),
            bytes,
        }
    }

    /// Bytes that are said to be what `descriptor` describes; who takes them will check.
    pub fn described(descriptor: Descriptor, bytes: impl Into<Bytes>) -> Self {
        Self {
            descriptor,
            bytes: bytes.into(),
        }
    }
}

impl Blob for BytesBlob {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let len = self.bytes.len() as u64;
        let clamp = |at: u64| usize::try_from(at.min(len)).unwrap_or(self.bytes.len());
        let (start, end) = (clamp(range.start), clamp(range.end));
        let part = self.bytes.slice(start..end.max(start));
        stream::once(std::future::ready(Ok(part))).boxed()
    }
}

/// A missing or failing content: each stream gives the error once.
pub(crate) fn failed(error: Error) -> BoxStream<Bytes> {
    stream::once(std::future::ready(Err(error))).boxed()
}

/// All of a blob, [`verified`]; wrong content is blamed on where it came from, see
/// [`Error::blamed_on`]. Nothing is read before the stream is polled.
pub fn verified_blob(blob: &dyn Blob) -> BoxStream<Bytes> {
    let descriptor = blob.descriptor();
    let content = verified(blob.open(0..descriptor.size()), descriptor);
    let origin = blob.origin().cloned();
    content
        .map_err(move |error| error.blamed_on(origin.as_ref()))
        .boxed()
}

/// Passes a stream on and fails at its end, or as soon as it is too long, unless it has the size
/// and digest that `descriptor` says. Whoever has a [`Blob`] takes [`verified_blob`].
pub fn verified(content: BoxStream<Bytes>, descriptor: &Descriptor) -> BoxStream<Bytes> {
    let verifier = Verifier::new(descriptor);
    stream::try_unfold(
        (content, Some(verifier)),
        |(mut content, verifier)| async move {
            let Some(mut verifier) = verifier else {
                return Ok(None);
            };
            match content.try_next().await? {
                Some(chunk) => {
                    verifier.update(&chunk)?;
                    Ok(Some((chunk, (content, Some(verifier)))))
                }
                None => {
                    verifier.finish()?;
                    Ok(None)
                }
            }
        },
    )
    .boxed()
}

/// Checks content against its descriptor piece by piece.
#[derive(Debug)]
pub struct Verifier {
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// Nothing seen yet.
    pub fn new(descriptor: &Descriptor) -> Self {
        Self {
            expected: *descriptor.digest(),
            size: descriptor.size(),
            seen: 0,
            hasher: descriptor.digest().algorithm().hasher(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::Size`] as soon as there are too many.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.seen += bytes.len() as u64;
        if self.seen > self.size {
            return Err(self.wrong_size());
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// All bytes were taken.
    ///
    /// # Errors
    /// [`Error::Size`] if there were too few, [`Error::Digest`] if they were others.
    pub fn finish(self) -> Result<()> {
        if self.seen != self.size {
            return Err(self.wrong_size());
        }
        let actual = self.hasher.finish();
        if actual != self.expected {
            return Err(Error::Digest {
                expected: self.expected.into(),
                actual: actual.into(),
            });
        }
        Ok(())
    }

    fn wrong_size(&self) -> Error {
        Error::Size {
            digest: self.expected.into(),
            expected: self.size,
            actual: self.seen,
        }
    }
}

/// Reads a small content whole, verified.
///
/// # Errors
/// [`Error::Limit`] if it says to be larger than `limit` bytes; as [`verified_blob`] otherwise.
pub async fn read(blob: &dyn Blob, limit: u64) -> Result<Bytes> {
    let descriptor = blob.descriptor();
    if descriptor.size() > limit {
        return Err(Error::Limit {
            what: format!("`{}`", descriptor.digest()),
            limit,
        });
    }
    let mut content = verified_blob(blob);
    let mut whole = Vec::new();
    while let Some(chunk) = content.try_next().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wrong_content_is_found_out() {
        let good = Descriptor::of(MediaType::OCI_LAYER, b"hello");
        let short = Descriptor::new(MediaType::OCI_LAYER, *good.digest(), 4);
        let long = Descriptor::new(MediaType::OCI_LAYER, *good.digest(), 6);
        let check = async |descriptor: &Descriptor, bytes: &'static str| {
            read(&BytesBlob::described(descriptor.clone(), bytes), 5).await
        };
        assert_eq!(check(&good, "hello").await.unwrap(), "hello");
        assert!(matches!(
            check(&good, "hellO").await,
            Err(Error::Digest { .. })
        ));
        assert!(matches!(
            check(&short, "hello").await,
            Err(Error::Digest { .. })
        ));
        assert!(matches!(
            check(&good, "hell").await,
            Err(Error::Size { actual: 4, .. })
        ));
        assert!(matches!(
            check(&long, "hello").await,
            Err(Error::Limit { .. })
        ));
    }

    #[derive(Debug)]
    struct From(BytesBlob, crate::Repository);

    impl Blob for From {
        fn descriptor(&self) -> &Descriptor {
            self.0.descriptor()
        }

        fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
            self.0.open(range)
        }

        fn origin(&self) -> Option<&crate::Repository> {
            Some(&self.1)
        }
    }

    #[tokio::test]
    async fn wrong_content_is_blamed_on_where_it_came_from() {
        let good = Descriptor::of(MediaType::OCI_LAYER, b"hello");
        let blob = BytesBlob::described(good, "hellO");
        let blob = From(blob, "r.io/a".parse().unwrap());
        let error = read(&blob, 5).await.unwrap_err();
        assert_eq!(error.class(), crate::Class::Invalid);
        assert!(error.to_string().ends_with("in r.io/a"), "{error}");
        let source = std::error::Error::source(&error);
        let source = source.and_then(|source| source.downcast_ref::<Error>());
        assert!(matches!(source, Some(Error::Digest { .. })));
        // What is no fault of the content stays as it is.
        let limit = read(&blob, 4).await.unwrap_err();
        assert!(matches!(limit, Error::Limit { .. }));
    }

    #[tokio::test]
    async fn a_range_beyond_the_end_is_empty() {
        let blob = BytesBlob::new(MediaType::OCI_LAYER, "hello");
        for (range, text) in [(1..3, "el"), (4..100, "o"), (7..9, ""), (3..3, "")] {
            let part: Vec<Bytes> = blob.open(range).try_collect().await.unwrap();
            assert_eq!(part.concat(), text.as_bytes());
        }
    }
}
