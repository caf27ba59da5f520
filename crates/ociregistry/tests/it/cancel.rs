//! Futures that are dropped at any of their awaits.

use std::task::Poll;

use ocicore::{
    BytesBlob, Class, Cx, Digest, ImageStore, MediaType, Name, Place, RawManifest, Reference,
    Repositories, Tag, copy, read,
};
use ociregistry::{Registry, Upload};
use registryd::{Server, storage::MemoryStorage};

use crate::{
    fake::{Fake, Reply, Request},
    old::old_registry,
    support::{at, fresh, quick, store},
};

/// Polls `work` so many times, then drops it.
async fn within<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (std::pin::pin!(work), polls);
    std::future::poll_fn(|cx| match left {
        0 => Poll::Ready(None),
        _ => {
            left -= 1;
            work.as_mut().poll(cx).map(Some)
        }
    })
    .await
}

/// One layer that is sent as a stream, and one that is not.
fn layers() -> [BytesBlob; 2] {
    let bytes: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    [
        BytesBlob::new(MediaType::OCI_LAYER, bytes),
        BytesBlob::new(MediaType::OCI_CONFIG, "{}"),
    ]
}

async fn push(store: &dyn ImageStore) -> ocicore::Result<RawManifest> {
    let (cx, blobs) = (Cx::default(), layers());
    for blob in &blobs {
        store.put_blob(&cx, blob).await?;
    }
    let [layer, config] = blobs.each_ref().map(ocicore::Blob::descriptor);
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config, "layers": [layer],
    });
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
    let place = Place::Root(&["v1".parse()?]);
    store.put_manifest(&cx, &manifest, place).await?;
    Ok(manifest)
}

/// Fails unless all that `v1` names is there, if `v1` is.
async fn is_whole(store: &dyn ImageStore) -> Option<RawManifest> {
    let (cx, name) = (Cx::default(), "v1".parse::<Name>().unwrap());
    let manifest = match store.manifest(&cx, &name).await {
        Ok(manifest) => manifest,
        Err(error) => {
            assert_eq!(error.class(), Class::NotFound, "{error:?}");
            return None;
        }
    };
    for blob in manifest.links().unwrap().blobs() {
        read(&*store.blob(blob), 1 << 20).await.unwrap();
    }
    Some(manifest)
}

async fn a_push_that_is_dropped(upload: Upload) {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let host = server.addr().to_string();
    let registry = Registry::builder().upload(upload).build();
    let (mut polls, mut done) = (0, false);
    while !done {
        let store = registry.repository(&fresh(&host)).unwrap();
        done = within(polls, push(&*store)).await.is_some();
        is_whole(&*store).await;
        // What is left does not disturb the next one.
        let manifest = push(&*store).await.unwrap();
        assert_eq!(is_whole(&*store).await, Some(manifest));
        polls += 1;
    }
    assert!(polls > 5, "it was never dropped in its middle");
}

#[tokio::test]
async fn a_push_that_is_dropped_leaves_nothing_by_halves() {
    a_push_that_is_dropped(Upload::Monolithic).await;
}

#[tokio::test]
async fn a_push_in_chunks_that_is_dropped_leaves_nothing_by_halves() {
    a_push_that_is_dropped(Upload::Chunked(100_000)).await;
}

#[tokio::test]
async fn a_copy_that_is_dropped_leaves_nothing_by_halves() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let (host, registry, cx) = (
        server.addr().to_string(),
        Registry::builder().build(),
        Cx::default(),
    );
    let from = registry.repository(&fresh(&host)).unwrap();
    push(&*from).await.unwrap();
    let (mut polls, mut done) = (0, false);
    while !done {
        let to = registry.repository(&fresh(&host)).unwrap();
        let work = async {
            let root = [copy::Root::same("v1".parse().unwrap())];
            let plan = copy::plan(&cx, &*from, &*to, &root, &copy::Options::default()).await?;
            copy::run(&cx, plan, from.clone(), to.clone()).await
        };
        done = within(polls, work).await.transpose().unwrap().is_some();
        let whole = is_whole(&*to).await;
        assert!(!done || whole.is_some());
        polls += 1;
    }
    assert!(polls > 5, "it was never dropped in its middle");
}

/// Lets a server end what it does for whom nobody waits any more.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

/// A manifest that refers to another one.
fn signature(note: &str) -> RawManifest {
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "test/x",
        "config": {"mediaType": MediaType::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
        "layers": [], "annotations": {"note": note},
        "subject": {"mediaType": MediaType::OCI_MANIFEST, "digest": subject(), "size": 7},
    });
    RawManifest::new(MediaType::OCI_MANIFEST, json.to_string())
}

fn subject() -> Digest {
    Digest::of(b"subject")
}

/// Whether a manifest is there, and whether the list of its subject has it.
async fn is_there_and_listed(store: &dyn ImageStore, raw: &RawManifest) -> (bool, bool) {
    let cx = Cx::default();
    let there = match store.resolve(&cx, &Name::Digest(*raw.digest())).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.class(), Class::NotFound, "{error:?}");
            false
        }
    };
    let listed = store.referrers(&cx, &subject()).await.unwrap();
    (there, listed.iter().any(|one| one.digest() == raw.digest()))
}

#[tokio::test]
async fn a_referrer_that_is_dropped_is_listed_by_the_next_try() {
    let (cx, raw) = (Cx::default(), signature("a"));
    let (mut polls, mut done) = (0, false);
    while !done {
        let fake = old_registry(|_| None).await;
        let store = store(&quick().build(), &fake);
        let put = store.put_manifest(&cx, &raw, Place::Child);
        done = within(polls, put).await.is_some();
        settle().await;
        let (there, listed) = is_there_and_listed(&*store, &raw).await;
        assert!(there || !listed, "dropped after {polls}: it is not there");
        store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
        assert_eq!(is_there_and_listed(&*store, &raw).await, (true, true));
        // Whoever reads the list and is dropped disturbs nobody.
        within(polls, store.referrers(&cx, &subject())).await;
        let listed = store.referrers(&cx, &subject()).await.unwrap();
        assert_eq!(listed.len(), 1);
        polls += 1;
    }
    assert!(polls > 5, "it was never dropped in its middle");
}

#[tokio::test]
async fn a_retag_that_is_dropped_leaves_nothing_by_halves() {
    let fake = old_registry(|_| None).await;
    let (cx, registry, raw) = (Cx::default(), quick().build(), signature("a"));
    let store = store(&registry, &fake);
    let v1 = Place::Root(&["v1".parse().unwrap()]);
    store.put_manifest(&cx, &raw, v1).await.unwrap();
    let from: Reference = format!("{}:v1", at(&fake)).parse().unwrap();
    let (mut polls, mut done) = (0, false);
    while !done {
        let tag: Tag = format!("t{polls}").parse().unwrap();
        let tags = [tag.clone()];
        let retag = registry.retag(&cx, &from, &tags);
        done = within(polls, retag).await.is_some();
        settle().await;
        match store.manifest(&cx, &Name::Tag(tag.clone())).await {
            Ok(tagged) => assert_eq!(tagged, raw),
            Err(error) => assert_eq!(error.class(), Class::NotFound, "{error:?}"),
        }
        registry.retag(&cx, &from, &tags).await.unwrap();
        let tagged = store.manifest(&cx, &Name::Tag(tag)).await;
        assert_eq!(tagged.unwrap(), raw);
        assert_eq!(is_there_and_listed(&*store, &raw).await, (true, true));
        polls += 1;
    }
    assert!(polls > 3, "it was never dropped in its middle");
}

#[tokio::test]
async fn a_deletion_that_is_dropped_leaves_nothing_by_halves() {
    let fake = old_registry(|_| None).await;
    let (cx, store) = (Cx::default(), store(&quick().build(), &fake));
    let (raw, other) = (signature("a"), signature("b"));
    let name = Name::Digest(*raw.digest());
    store.put_manifest(&cx, &other, Place::Child).await.unwrap();
    let (mut polls, mut done) = (0, false);
    while !done {
        store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
        assert_eq!(is_there_and_listed(&*store, &raw).await, (true, true));
        done = within(polls, store.delete(&cx, &name)).await.is_some();
        settle().await;
        let (there, listed) = is_there_and_listed(&*store, &raw).await;
        assert!(there || !listed, "dropped after {polls}: the list is stale");
        // The next one ends what this one has begun.
        if there {
            store.delete(&cx, &name).await.unwrap();
        }
        assert_eq!(is_there_and_listed(&*store, &raw).await, (false, false));
        assert_eq!(is_there_and_listed(&*store, &other).await, (true, true));
        polls += 1;
    }
    assert!(polls > 5, "it was never dropped in its middle");
}

#[tokio::test]
async fn a_deletion_that_is_refused_takes_nothing_off_the_list() {
    let refuse = |request: &Request| {
        (request.method == "DELETE").then(|| Reply::error(405, "UNSUPPORTED", "disabled"))
    };
    let fake = old_registry(refuse).await;
    let (cx, store) = (Cx::default(), store(&quick().build(), &fake));
    let raw = signature("a");
    let name = Name::Digest(*raw.digest());
    store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
    let (mut polls, mut done) = (0, false);
    while !done {
        done = within(polls, store.delete(&cx, &name)).await.is_some();
        settle().await;
        // Also what was dropped before it was put back is put back by the next one.
        let error = store.delete(&cx, &name).await.unwrap_err();
        assert_eq!(error.class(), Class::Unsupported, "{error:?}");
        assert_eq!(is_there_and_listed(&*store, &raw).await, (true, true));
        polls += 1;
    }
    assert!(polls > 5, "it was never dropped in its middle");
}

/// Whoever keeps lists by itself is not given one under a tag.
#[tokio::test]
async fn a_deletion_that_is_refused_begins_no_list() {
    let raw = signature("a");
    let (name, sent) = (Name::Digest(*raw.digest()), raw.clone());
    let fake = Fake::new(move |request, _| match &*request.method {
        "DELETE" => Reply::error(403, "DENIED", "no"),
        _ if request.target.contains("sha256-") => Reply::new(404),
        _ => Reply::new(200)
            .header("content-type", sent.media_type())
            .body(sent.bytes().to_vec()),
    })
    .await;
    let (cx, store) = (Cx::default(), store(&quick().build(), &fake));
    let error = store.delete(&cx, &name).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    let methods: Vec<_> = fake.requests().into_iter().map(|r| r.method).collect();
    // What it is, its list, and after the refusal whether it is still there, and the list again.
    assert_eq!(methods, ["GET", "GET", "DELETE", "GET", "GET"]);
}

#[tokio::test]
async fn what_is_still_there_is_on_the_list_whatever_is_said_of_it() {
    for status in [404, 503] {
        let refuse =
            move |request: &Request| (request.method == "DELETE").then(|| Reply::new(status));
        let fake = old_registry(refuse).await;
        let (cx, store) = (Cx::default(), store(&quick().build(), &fake));
        let raw = signature("a");
        store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
        let name = Name::Digest(*raw.digest());
        assert!(store.delete(&cx, &name).await.is_err());
        assert_eq!(is_there_and_listed(&*store, &raw).await, (true, true));
    }
}
