//! What a `Storage` promises, checked on both.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{BoxStream, Class};
use registryd::storage::{FsStorage, Key, MemoryStorage, Storage, When};

use crate::client::disk;

async fn each(check: impl AsyncFn(&dyn Storage)) {
    check(&MemoryStorage::new()).await;
    let directory = tempfile::tempdir().unwrap();
    check(&disk(&directory)).await;
    let directory = tempfile::tempdir().unwrap();
    check(&FsStorage::open(directory.path()).unwrap()).await;
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn body(parts: &[&'static str]) -> BoxStream<Bytes> {
    let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from(*part))).collect();
    stream::iter(parts).boxed()
}

async fn text(storage: &dyn Storage, name: &str) -> Option<String> {
    let object = storage.open(&key(name), 0..u64::MAX).await.unwrap()?;
    let bytes = object.read(1 << 20).await.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_write_is_conditional() {
    each(async |storage| {
        let (a, always) = (key("d/a"), When::Always);
        let put = async |text: &'static str, when: When<'_>| {
            storage.put(&a, Bytes::from(text), when).await
        };
        let one = put("1", When::Absent).await.unwrap();
        let conflict = put("2", When::Absent).await.unwrap_err();
        assert_eq!(conflict.class(), Class::Conflict);
        assert_eq!(text(storage, "d/a").await.unwrap(), "1");
        let two = put("2", When::Unchanged(&one)).await.unwrap();
        assert_ne!(one, two);
        let conflict = put("3", When::Unchanged(&one)).await.unwrap_err();
        assert_eq!(conflict.class(), Class::Conflict);
        let conflict = storage.delete(&a, When::Unchanged(&one)).await.unwrap_err();
        assert_eq!(conflict.class(), Class::Conflict);
        assert_eq!(storage.head(&a).await.unwrap().unwrap().version, two);
        let same = put("2", always).await.unwrap();
        assert_ne!(two, same, "the same bytes are another version");
        storage.delete(&a, When::Unchanged(&same)).await.unwrap();
        assert!(storage.head(&a).await.unwrap().is_none());
        storage.delete(&a, always).await.unwrap();
        let gone = put("4", When::Unchanged(&same)).await.unwrap_err();
        assert_eq!(gone.class(), Class::Conflict);
    })
    .await;
}

#[tokio::test]
async fn any_range_is_read() {
    each(async |storage| {
        let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let name = key("big");
        storage
            .put(&name, content.clone().into(), When::Always)
            .await
            .unwrap();
        for range in [
            0..10,
            0..1_000_000,
            131_071..131_073,
            999_999..1_000_000,
            5..5,
        ] {
            let object = storage.open(&name, range.clone()).await.unwrap().unwrap();
            assert_eq!(object.meta.size, 1_000_000);
            let parts: Vec<Bytes> = object.body.try_collect().await.unwrap();
            let at = |offset: u64| usize::try_from(offset).unwrap();
            let (start, end) = (at(range.start), at(range.end));
            assert_eq!(parts.concat(), &content[start..end]);
        }
        let beyond = storage.open(&name, 2_000_000..3_000_000).await.unwrap();
        let parts: Vec<Bytes> = beyond.unwrap().body.try_collect().await.unwrap();
        assert!(parts.concat().is_empty());
        let limited = storage.open(&name, 0..u64::MAX).await.unwrap().unwrap();
        assert_eq!(
            limited.read(10).await.unwrap_err().class(),
            Class::Exhausted
        );
    })
    .await;
}

#[tokio::test]
async fn an_open_object_outlives_its_replacement() {
    each(async |storage| {
        let name = key("x");
        let old = Bytes::from(vec![1; 1_000_000]);
        storage.put(&name, old.clone(), When::Always).await.unwrap();
        let object = storage.open(&name, 0..u64::MAX).await.unwrap().unwrap();
        storage
            .put(&name, "new".into(), When::Always)
            .await
            .unwrap();
        assert_eq!(object.read(1 << 20).await.unwrap(), old);
    })
    .await;
}

#[tokio::test]
async fn keys_are_listed_in_order() {
    each(async |storage| {
        let names = [
            "p/a", "p/a-b", "p/a/x", "p/a/y/z", "p/b", "q/a", "p0/x", "p-/x",
        ];
        for name in names {
            // A key below another key is not to be had on every storage.
            let name = name.replace("p/a/", "p/d/");
            storage
                .put(&key(&name), "1".into(), When::Always)
                .await
                .unwrap();
        }
        let list = async |after: Option<&str>| {
            let after = after.map(key);
            let found: Vec<_> = storage
                .list(&key("p"), after.as_ref())
                .try_collect()
                .await
                .unwrap();
            found
                .into_iter()
                .map(|(key, meta)| {
                    assert_eq!(meta.size, 1);
                    key.to_string()
                })
                .collect::<Vec<_>>()
        };
        let all = ["p/a", "p/a-b", "p/b", "p/d/x", "p/d/y/z"];
        assert_eq!(list(None).await, all);
        for (n, name) in all.iter().enumerate() {
            assert_eq!(list(Some(name)).await, all[n + 1..], "{name}");
        }
        assert_eq!(list(Some("p/c")).await, all[3..]);
        assert_eq!(list(Some("a")).await, all);
        let nothing: Vec<_> = storage
            .list(&key("nope"), None)
            .try_collect()
            .await
            .unwrap();
        assert!(nothing.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_upload_goes_on_and_becomes_an_object() {
    each(async |storage| {
        let mut upload = storage.begin().await.unwrap();
        let id = upload.id().clone();
        let held = storage.resume(&id).await.unwrap_err();
        assert_eq!(held.class(), Class::Conflict);
        assert_eq!(upload.append(0, body(&["he", "l"])).await.unwrap(), 3);
        upload.save("note".into()).await.unwrap();
        drop(upload);

        let mut upload = storage.resume(&id).await.unwrap().unwrap();
        assert_eq!(upload.note(), "note");
        assert_eq!(upload.append(3, body(&["XX"])).await.unwrap(), 5);
        let beyond = upload.append(6, body(&["x"])).await.unwrap_err();
        assert_eq!(beyond.class(), Class::Conflict);
        assert_eq!(upload.append(3, body(&["lo", "", "!"])).await.unwrap(), 6);
        let parts: Vec<Bytes> = upload.read(1..5).try_collect().await.unwrap();
        assert_eq!(parts.concat(), b"ello");
        let known: Vec<_> = storage.uploads().try_collect().await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].0, id);
        upload.commit(5, &key("blobs/x")).await.unwrap();
        assert_eq!(text(storage, "blobs/x").await.unwrap(), "hello");
        assert!(storage.resume(&id).await.unwrap().is_none());

        let mut upload = storage.begin().await.unwrap();
        let id = upload.id().clone();
        upload.append(0, body(&["x"])).await.unwrap();
        upload.save("note".into()).await.unwrap();
        upload.abort().await.unwrap();
        assert!(storage.resume(&id).await.unwrap().is_none());
        let mut left = pin!(storage.uploads());
        assert!(left.try_next().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_failing_body_leaves_what_was_there() {
    each(async |storage| {
        let mut upload = storage.begin().await.unwrap();
        upload.append(0, body(&["abc"])).await.unwrap();
        let broken = || ocicore::Error::not_found("read", "x", "y");
        let failing = stream::iter([Ok(Bytes::from("d")), Err(broken())]).boxed();
        let error = upload.append(3, failing).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
        upload.commit(3, &key("x")).await.unwrap();
        assert_eq!(text(storage, "x").await.unwrap(), "abc");
    })
    .await;
}

/// Two handles on one directory are what two processes are: all they share is the file system.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_directory_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (disk(&directory), disk(&directory));
    let counter = key("n");
    one.put(&counter, "0".into(), When::Absent).await.unwrap();
    let count = |storage: Arc<dyn Storage>| {
        let counter = counter.clone();
        async move {
            let mut done = 0;
            while done < 200 {
                let object = storage.open(&counter, 0..100).await.unwrap().unwrap();
                let version = object.meta.version.clone();
                let bytes = object.read(100).await.unwrap();
                let n: u32 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
                let next = Bytes::from((n + 1).to_string());
                match storage.put(&counter, next, When::Unchanged(&version)).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error.class(), Class::Conflict),
                }
            }
        }
    };
    let tasks = [one.clone(), other.clone(), one.clone(), other];
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|storage| tokio::spawn(count(storage)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(text(&*one, "n").await.unwrap(), "800");
}

#[tokio::test]
async fn an_object_is_as_old_as_its_commit() {
    let directory = tempfile::tempdir().unwrap();
    let storage = disk(&directory);
    let mut upload = storage.begin().await.unwrap();
    upload.append(0, body(&["x"])).await.unwrap();
    // Its bytes came long ago.
    let path = directory.path().join(".uploads").join(upload.id().as_str());
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let begin = std::time::SystemTime::now();
    upload.commit(1, &key("x")).await.unwrap();
    let modified = storage.head(&key("x")).await.unwrap().unwrap().modified;
    // File systems know the time less exactly than we do.
    assert!(
        modified + std::time::Duration::from_secs(5) > begin,
        "{modified:?}"
    );
}

#[test]
fn a_file_is_no_directory() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("file");
    std::fs::write(&path, "").unwrap();
    for path in [path.join("store"), path] {
        let error = FsStorage::open(&path).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(&path.display().to_string()), "{shown}");
    }
}
