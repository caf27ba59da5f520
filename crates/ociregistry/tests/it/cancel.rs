//! Futures that are dropped at any of their awaits.

use std::task::Poll;

use ocicore::{
    BytesBlob, Class, Cx, ImageStore, MediaType, Name, Place, RawManifest, Repositories, copy, read,
};
use ociregistry::{Registry, Upload};
use registryd::{Server, storage::MemoryStorage};

use crate::support::fresh;

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
