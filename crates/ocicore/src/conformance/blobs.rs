use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};

use super::{expect_class, fixture};
use crate::{
    Algorithm, Blob, BoxStream, BytesBlob, Class, Cx, Descriptor, Error, ImageStore, MediaType,
    Stored, Tag, in_one_line, read,
};

const LAYER: MediaType = MediaType::OCI_LAYER;

pub(super) async fn an_empty_store_has_nothing(store: &dyn ImageStore) {
    fixture::misses(store).await;
    let cx = Cx::default();
    let tags: Vec<Tag> = store
        .tags(&cx)
        .try_collect()
        .await
        .expect("no tags is no error");
    assert_eq!(tags, []);
    assert!(
        !store
            .has_blob(&cx, &Descriptor::of(LAYER, b"nowhere"))
            .await
            .unwrap()
    );
}

pub(super) async fn a_blob_is_written_once(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), BytesBlob::new(LAYER, "content"));
    assert_eq!(store.put_blob(&cx, &blob).await.unwrap(), Stored::Written);
    assert_ne!(store.put_blob(&cx, &blob).await.unwrap(), Stored::Written);
    expect_content(store, &blob).await;
}

pub(super) async fn an_empty_blob_is_a_blob(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), BytesBlob::new(LAYER, ""));
    store.put_blob(&cx, &blob).await.unwrap();
    expect_content(store, &blob).await;
}

pub(super) async fn a_large_blob_comes_in_pieces(store: &dyn ImageStore) {
    let bytes: Vec<u8> = (0..5_000_001u32).map(|n| (n % 253) as u8).collect();
    let blob = BytesBlob::new(LAYER, bytes);
    let content = blob.clone();
    let pieces = Slow {
        descriptor: blob.descriptor().clone(),
        open: Box::new(move |range| {
            let content = content.clone();
            let starts = (range.start..range.end).step_by(70_000);
            let pieces = starts.map(move |at| content.open(at..(at + 70_000).min(range.end)));
            stream::iter(pieces).flatten().boxed()
        }),
    };
    assert_eq!(
        store.put_blob(&Cx::default(), &pieces).await.unwrap(),
        Stored::Written
    );
    expect_content(store, &blob).await;
}

pub(super) async fn any_range_can_be_read(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), BytesBlob::new(LAYER, "0123456789"));
    store.put_blob(&cx, &blob).await.unwrap();
    let there = store.blob(blob.descriptor());
    for (range, text) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (9..10, "9"),
        (3..7, "3456"),
    ] {
        let part: Vec<Bytes> = there.open(range.clone()).try_collect().await.unwrap();
        assert_eq!(part.concat(), text.as_bytes(), "{range:?}");
    }
    for range in [0..0, 10..10] {
        let part: Vec<Bytes> = there.open(range.clone()).try_collect().await.unwrap();
        assert_eq!(part.concat(), b"", "{range:?}");
    }
}

pub(super) async fn wrong_content_is_refused(store: &dyn ImageStore) {
    let cx = Cx::default();
    let said = Descriptor::of(LAYER, b"content");
    for wrong in ["CONTENT", "conten", "content!", ""] {
        let blob = Slow::new(b"content", move |_| {
            stream::once(future::ready(Ok(Bytes::from(wrong)))).boxed()
        });
        expect_class(store.put_blob(&cx, &blob).await, Class::Invalid, wrong);
        assert!(
            !store.has_blob(&cx, &said).await.unwrap(),
            "`{wrong}` became visible"
        );
    }
    // And the right content still can be written.
    let blob = BytesBlob::new(LAYER, "content");
    assert_eq!(store.put_blob(&cx, &blob).await.unwrap(), Stored::Written);
    expect_content(store, &blob).await;
}

pub(super) async fn a_failing_source_leaves_nothing(store: &dyn ImageStore) {
    let cx = Cx::default();
    let blob = Slow::new(b"content", |_| {
        let broken = || Error::not_found("read", "a disk", "the suite");
        stream::iter([Ok(Bytes::from("con")), Err(broken())]).boxed()
    });
    let error = store
        .put_blob(&cx, &blob)
        .await
        .expect_err("the source failed");
    let text = in_one_line(&error);
    assert!(
        text.contains("`a disk` in the suite"),
        "the source's own error is kept: {text}"
    );
    assert!(!store.has_blob(&cx, blob.descriptor()).await.unwrap());
}

pub(super) async fn a_dropped_write_leaves_nothing(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), Slow::stalled());
    let work = store.put_blob(&cx, &blob);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), work)
            .await
            .is_err()
    );
    assert!(!store.has_blob(&cx, blob.descriptor()).await.unwrap());
}

pub(super) async fn a_cancelled_write_leaves_nothing(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), Slow::stalled());
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cx.cancel();
    };
    let (result, ()) = future::join(store.put_blob(&cx, &blob), cancel).await;
    expect_class(result, Class::Cancelled, "put_blob");
    expect_class(
        store.put_blob(&cx, &blob).await,
        Class::Cancelled,
        "put_blob, later",
    );
    assert!(
        !store
            .has_blob(&Cx::default(), blob.descriptor())
            .await
            .unwrap()
    );
}

pub(super) async fn one_blob_may_come_from_many(store: &dyn ImageStore) {
    let (cx, blob) = (Cx::default(), BytesBlob::new(LAYER, vec![7; 300_000]));
    let puts = (0..8).map(|_| store.put_blob(&cx, &blob));
    for result in future::join_all(puts).await {
        result.expect("each of them is told that it is there");
    }
    expect_content(store, &blob).await;
}

pub(super) async fn sha512_names_content(store: &dyn ImageStore) {
    let cx = Cx::default();
    let named = |content: &[u8]| {
        Descriptor::new(
            LAYER,
            Algorithm::Sha512.digest(content),
            content.len() as u64,
        )
    };
    let blob = BytesBlob::described(named(b"content"), "content");
    assert_eq!(store.put_blob(&cx, &blob).await.unwrap(), Stored::Written);
    expect_content(store, &blob).await;
    let wrong = BytesBlob::described(named(b"CONTENT"), "content");
    expect_class(store.put_blob(&cx, &wrong).await, Class::Invalid, "sha512");
}

async fn expect_content(store: &dyn ImageStore, expected: &BytesBlob) {
    let descriptor = expected.descriptor();
    assert!(store.has_blob(&Cx::default(), descriptor).await.unwrap());
    let there = read(&*store.blob(descriptor), u64::MAX)
        .await
        .expect("the blob is there");
    assert_eq!(
        there,
        read(expected, u64::MAX).await.expect("it is in memory")
    );
}

type Open = Box<dyn Fn(Range<u64>) -> BoxStream<Bytes> + Send + Sync>;

/// Content whose stream a case makes itself.
struct Slow {
    descriptor: Descriptor,
    open: Open,
}

impl Slow {
    fn new(
        content: &[u8],
        open: impl Fn(Range<u64>) -> BoxStream<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self {
            descriptor: Descriptor::of(LAYER, content),
            open: Box::new(open),
        }
    }

    /// Gives its first half and then nothing.
    fn stalled() -> Self {
        Self::new(&[1; 200_000], |_| {
            let half = stream::once(future::ready(Ok(Bytes::from(vec![1; 100_000]))));
            half.chain(stream::pending()).boxed()
        })
    }
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slow")
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}

impl Blob for Slow {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        (self.open)(range)
    }
}
