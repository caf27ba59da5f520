//! Who is slow is waited for, and nobody runs ahead of who is slow.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use ocicore::{Blob, BoxStream, Class, Cx, Descriptor, Digest, MediaType, Stored};
use ociregistry::Registry;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Semaphore,
};

use crate::{
    fake::{Fake, Reply},
    support::{pass, quick, store},
};

static ZEROS: [u8; 8 << 10] = [0; 8 << 10];
const PIECE: u64 = ZEROS.len() as u64;
const PIECES: u64 = 40;
/// Less than the stall timeout; all of them together are much more.
const PAUSE: Duration = Duration::from_secs(100);
/// What the buffers of two sockets of one machine may hold, and some.
const BUFFERS: u64 = 32 << 20;

/// Content that comes in pieces, each when it is allowed to.
#[derive(Debug)]
struct Pieces {
    descriptor: Descriptor,
    allowed: Arc<Semaphore>,
    taken: Arc<AtomicU64>,
}

impl Pieces {
    /// `count` pieces, of which so many come at once.
    fn new(count: u64, at_once: usize) -> Self {
        let digest = Digest::of(b"pieces");
        Self {
            descriptor: Descriptor::new(MediaType::OCI_LAYER, digest, count * PIECE),
            allowed: Arc::new(Semaphore::new(at_once)),
            taken: Arc::default(),
        }
    }
}

impl Blob for Pieces {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let (allowed, taken) = (Arc::clone(&self.allowed), Arc::clone(&self.taken));
        let pieces = (range.start / PIECE)..(range.end / PIECE);
        stream::iter(pieces)
            .then(move |_| {
                let (allowed, taken) = (Arc::clone(&allowed), Arc::clone(&taken));
                async move {
                    allowed.acquire().await.unwrap().forget();
                    taken.fetch_add(PIECE, Ordering::Relaxed);
                    Ok(Bytes::from_static(&ZEROS))
                }
            })
            .boxed()
    }
}

/// Lets all other tasks of this runtime do what they can do now.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_download_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let allowed = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&allowed);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        let size = PIECE * PIECES;
        let head = format!("HTTP/1.1 200 X\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..PIECES {
            gate.acquire().await.unwrap().forget();
            stream.write_all(&ZEROS).await.unwrap();
        }
    });
    let registry = Registry::builder().build();
    let name = format!("{host}/a").parse().unwrap();
    let store = ocicore::Repositories::repository(&registry, &name).unwrap();
    let descriptor = Pieces::new(PIECES, 0).descriptor;
    let mut content = store.blob(&descriptor).open(0..descriptor.size());
    for _ in 0..PIECES {
        let piece = async {
            let mut read = 0;
            while read < PIECE {
                read += content.try_next().await.unwrap().unwrap().len() as u64;
            }
            assert_eq!(read, PIECE);
        };
        let time = async {
            settle().await;
            pass(PAUSE).await;
            allowed.add_permits(1);
        };
        future::join(piece, time).await;
    }
    assert!(content.try_next().await.unwrap().is_none());
    server.await.unwrap();
}

#[tokio::test]
async fn a_slow_upload_is_waited_for() {
    let fake = Fake::new(|request, _| match &*request.method {
        "POST" => Reply::new(202).header("location", "/u"),
        _ => Reply::new(201),
    })
    .await;
    let blob = Pieces::new(PIECES, 0);
    let (allowed, taken) = (Arc::clone(&blob.allowed), Arc::clone(&blob.taken));
    let (cx, store) = (Cx::default(), store(&Registry::builder().build(), &fake));
    let mut push = store.put_blob(&cx, &blob);
    let time = async {
        for n in 0..PIECES {
            pass(PAUSE).await;
            allowed.add_permits(1);
            while taken.load(Ordering::Relaxed) <= n * PIECE {
                tokio::task::yield_now().await;
            }
        }
    };
    let stored = tokio::select! {
        stored = push.as_mut() => stored,
        () = time => push.await,
    };
    assert_eq!(stored.unwrap(), Stored::Written);
    assert_eq!(fake.requests()[1].body.len() as u64, PIECE * PIECES);
}

#[tokio::test]
async fn a_download_does_not_run_ahead_of_its_reader() {
    const SIZE: u64 = 256 << 20;
    let fake = Fake::new(|_, _| Reply::new(200).length(SIZE).endless()).await;
    let store = store(&Registry::builder().build(), &fake);
    let descriptor = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b"flood"), SIZE);
    let mut content = store.blob(&descriptor).open(0..SIZE);
    let (mut read, mut ahead) = (0, 0);
    while let Some(chunk) = content.try_next().await.unwrap() {
        read += chunk.len() as u64;
        tokio::task::yield_now().await;
        ahead = fake.flood().saturating_sub(read).max(ahead);
    }
    assert_eq!(read, SIZE);
    assert!(ahead < BUFFERS, "{ahead} bytes were held");
}

#[tokio::test]
async fn an_upload_does_not_run_ahead_of_its_registry() {
    let fake = Fake::deaf("PUT", |_, _| Reply::new(202).header("location", "/u")).await;
    let blob = Pieces::new((1 << 30) / PIECE, Semaphore::MAX_PERMITS);
    let registry = quick().retry(ociregistry::Retry::never()).build();
    let error = store(&registry, &fake)
        .put_blob(&Cx::default(), &blob)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error:?}");
    let taken = blob.taken.load(Ordering::Relaxed);
    assert!(taken < BUFFERS, "{taken} bytes were taken");
}

#[tokio::test]
async fn an_error_of_a_gigabyte_is_not_read() {
    const SIZE: u64 = 1 << 30;
    for status in [403, 404] {
        let fake = Fake::new(move |_, _| {
            let reply = Reply::new(status).body(r#"{"errors":[{"code":"DENIED","message":""#);
            reply.length(SIZE).endless()
        })
        .await;
        let error = store(&Registry::builder().build(), &fake)
            .manifest(&Cx::default(), &"v1".parse().unwrap())
            .await
            .unwrap_err();
        let error = error.find::<ociregistry::Error>().unwrap();
        let answer = error.answer().unwrap();
        assert_eq!(answer.status(), status);
        let said = &answer.faults()[0];
        assert_eq!(said.code(), "DENIED");
        assert_eq!(said.message(), format!("{}…", "x".repeat(500)));
        let sent = fake.flood();
        assert!(sent < BUFFERS, "{sent} bytes were read");
    }
}

/// What is retried is told by the code, however much follows it.
#[tokio::test]
async fn a_code_in_a_large_error_decides() {
    let fake = Fake::new(|_, n| match n {
        0 => {
            let head = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down","detail":""#;
            Reply::new(400).body(head).length(1 << 20).endless()
        }
        _ => Reply::new(200)
            .header("content-type", MediaType::OCI_INDEX)
            .body(r#"{"manifests":[]}"#),
    })
    .await;
    let read = store(&quick().build(), &fake)
        .manifest(&Cx::default(), &"v1".parse().unwrap())
        .await;
    assert!(read.is_ok(), "{read:?}");
    assert_eq!(fake.lines().len(), 2);
}
