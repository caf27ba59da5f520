//! A registry that lies or breaks is the normal case.

use std::time::{Duration, Instant};

use ocicore::{Cx, Descriptor, Digest, MediaType, read};
use ociregistry::Registry;

use crate::{
    fake::{Fake, Reply},
    support::{quick, shown, store},
};

/// What reading the manifest `v1` gives.
async fn manifest(registry: &Registry, fake: &Fake) -> String {
    match store(registry, fake)
        .manifest(&Cx::default(), &"v1".parse().unwrap())
        .await
    {
        Ok(manifest) => format!("{:?}", manifest.bytes()),
        Err(error) => shown(&error, &[fake]),
    }
}

#[tokio::test]
async fn manifests_of_registries_that_lie() {
    const BODY: &str = r#"{"manifests":[]}"#;
    let good = || {
        Reply::new(200)
            .header("content-type", MediaType::OCI_INDEX)
            .body(BODY)
    };
    let once = |first: Reply| move |n: usize| if n == 0 { first.clone() } else { good() };
    let always = |reply: Reply| move |_: usize| reply.clone();
    type Script = Box<dyn Fn(usize) -> Reply + Send + Sync>;
    let cases: Vec<(&str, Script)> = vec![
        ("cut once", Box::new(once(good().cut(5)))),
        ("cut always", Box::new(always(good().cut(5)))),
        ("no answer", Box::new(always(good().length(99).hang()))),
        ("no word", Box::new(always(Reply::none()))),
        (
            "500 then 200",
            Box::new(once(Reply::error(500, "UNKNOWN", "x"))),
        ),
        (
            "429 with Retry-After",
            Box::new(once(Reply::new(429).header("retry-after", "0"))),
        ),
        (
            "429 for ever",
            Box::new(always(Reply::error(
                429,
                "TOOMANYREQUESTS",
                "pull rate limit",
            ))),
        ),
        (
            "429 for an hour",
            Box::new(always(Reply::new(429).header("retry-after", "3600"))),
        ),
        ("longer than announced", Box::new(always(good().length(5)))),
        (
            "another digest",
            Box::new(always(
                good().header("docker-content-digest", Digest::of(b"x")),
            )),
        ),
        (
            "no digest",
            Box::new(always(good().header("docker-content-digest", "md5:x"))),
        ),
        (
            "gzip",
            Box::new(always(good().header("content-encoding", "gzip"))),
        ),
        ("too large", Box::new(always(good().length(5 << 20).hang()))),
        ("endless", Box::new(always(good().endless()))),
        (
            "html",
            Box::new(always(Reply::new(404).body("<html>\n<b>nginx</b></html>"))),
        ),
        (
            "endless error",
            Box::new(always(Reply::new(403).body("denied ").endless())),
        ),
        (
            "a loop",
            Box::new(always(
                Reply::new(302).header("location", "/v2/a/b/manifests/v1"),
            )),
        ),
        ("nowhere", Box::new(always(Reply::new(307)))),
        (
            "garbage",
            Box::new(always(Reply::new(301).header("location", "http://["))),
        ),
        (
            "a file",
            Box::new(always(
                Reply::new(301).header("location", "file:///etc/passwd"),
            )),
        ),
        ("no status", Box::new(always(Reply::new(999)))),
        ("no content", Box::new(always(Reply::new(204)))),
    ];
    let registry = quick().build();
    let mut report = String::new();
    for (what, script) in cases {
        let fake = Fake::new(move |_, n| script(n)).await;
        let started = Instant::now();
        let got = manifest(&registry, &fake).await;
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        report += &format!("{what} ({}):\n  {got}\n", fake.lines().len());
    }
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn blobs_of_registries_that_lie() {
    let content = vec![7; 100_000];
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &content);
    let good = || Reply::new(200).body(content.clone());
    let mut flipped = content.clone();
    flipped[50_000] ^= 1;
    let part = |range: &str| {
        Reply::new(206)
            .header("content-range", range)
            .body(vec![7; 10])
    };
    let mut report = String::new();
    for (what, reply) in [
        ("a flipped byte", Reply::new(200).body(flipped)),
        ("shorter", Reply::new(200).body(vec![7; 10])),
        ("longer", Reply::new(200).body(vec![7; 200_000])),
        ("endless", Reply::new(200).endless()),
        ("cut always", good().cut(0)),
        ("silent", good().length(100_001).hang()),
        ("a part without range", Reply::new(206).body(vec![7; 10])),
        ("another part", part("bytes 5-14/100000")),
        ("a part of something else", part("bytes 0-9/10")),
        (
            "not there",
            Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        ),
        ("no range", Reply::new(416)),
    ] {
        let fake = Fake::new(move |_, _| reply.clone()).await;
        let registry = quick().build();
        let blob = store(&registry, &fake).blob(&descriptor);
        let error = read(&*blob, 1 << 20).await.unwrap_err();
        let shown = shown(&error, &[&fake]);
        report += &format!("{what} ({}):\n  {shown}\n", fake.lines().len());
    }
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn locations_of_registries_that_lie() {
    let mut report = String::new();
    for location in ["", "http://[", "ftp://x/", "http://u:p@x/", "\u{7f}"] {
        let fake = Fake::new(move |_, _| Reply::new(202).header("location", location)).await;
        let registry = quick().build();
        let blob = ocicore::BytesBlob::new(MediaType::OCI_LAYER, "x");
        let error = store(&registry, &fake)
            .put_blob(&Cx::default(), &blob)
            .await
            .unwrap_err();
        report += &format!("{location:?}: {}\n", shown(&error, &[&fake]));
    }
    let fake = Fake::new(|_, _| Reply::new(202)).await;
    let blob = ocicore::BytesBlob::new(MediaType::OCI_LAYER, "x");
    let registry = quick().build();
    let error = store(&registry, &fake)
        .put_blob(&Cx::default(), &blob)
        .await
        .unwrap_err();
    report += &format!("none: {}\n", shown(&error, &[&fake]));
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let fake = Fake::new(|_, _| Reply::new(200)).await;
    let host = fake.host.clone();
    drop(fake);
    let registry = quick().build();
    let name = format!("{host}/a").parse().unwrap();
    let store = ocicore::Repositories::repository(&registry, &name).unwrap();
    let error = store
        .resolve(&Cx::default(), &"v1".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.class(), ocicore::Class::Transient);
    assert!(error.find::<ociregistry::Error>().is_some());
}

#[tokio::test]
async fn who_takes_no_bytes_is_given_up() {
    let fake = Fake::deaf("PUT", |_, _| Reply::new(202).header("location", "/u")).await;
    // More than the sockets of both sides hold.
    let blob = ocicore::BytesBlob::new(MediaType::OCI_LAYER, vec![7; 32 << 20]);
    let error = store(&quick().build(), &fake)
        .put_blob(&Cx::default(), &blob)
        .await
        .unwrap_err();
    let digest = Digest::of(&[7; 32 << 20][..]).to_string();
    insta::assert_snapshot!(shown(&error, &[&fake]).replace(&digest, "DIGEST"), @"
    [Transient] failed to write `DIGEST` in HOST0/a/b
        `HOST0/a/b` made no progress for 0.3 s
    ");
}

/// A queue of one connection that is full: whoever comes next hears nothing.
#[tokio::test]
async fn who_takes_no_connection_is_given_up() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let wait = Duration::from_millis(500);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, wait) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    // Else that would end it, too.
    let stall = Duration::from_secs(10);
    let registry = quick().connect_timeout(wait).stall_timeout(stall).build();
    let name = format!("{address}/a/b").parse().unwrap();
    let error = ocicore::Repositories::repository(&registry, &name)
        .unwrap()
        .resolve(&Cx::default(), &"v1".parse().unwrap())
        .await
        .unwrap_err();
    let text = shown(&error, &[]).replace(&address.to_string(), "HOST");
    // The rest says which of two clocks was first.
    let expected = [
        "[Transient] failed to resolve `v1` in HOST/a/b",
        "no answer from `HOST/a/b` to `HEAD`",
        "error sending request",
        "client error (Connect)",
    ];
    let lines = text.lines().map(str::trim).take(expected.len());
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{text}");
}

#[tokio::test]
async fn cancelling_ends_a_pause() {
    let fake = Fake::new(|_, _| Reply::new(503).header("retry-after", "60")).await;
    let (cx, registry) = (Cx::default(), quick().build());
    let store = store(&registry, &fake);
    let name = "v1".parse().unwrap();
    let work = store.resolve(&cx, &name);
    let cancel = async {
        while fake.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        cx.cancel();
    };
    let (result, ()) = futures_util::future::join(work, cancel).await;
    assert_eq!(result.unwrap_err().class(), ocicore::Class::Cancelled);
}

#[tokio::test]
async fn rate_limits_are_told() {
    let fake = Fake::new(|_, _| {
        Reply::new(404)
            .header("ratelimit-limit", "100;w=21600")
            .header("ratelimit-remaining", "7;w=21600")
    })
    .await;
    let registry = quick().build();
    assert_eq!(registry.rate_limit(&fake.host), None);
    manifest(&registry, &fake).await;
    let limit = registry.rate_limit(&fake.host).unwrap();
    assert_eq!((limit.limit(), limit.remaining()), (Some(100), 7));
}
