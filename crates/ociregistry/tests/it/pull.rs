//! Reading: what a connection may do to it.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use ocicore::{Blob, Cx, Descriptor, MediaType, RawManifest, read};

use crate::{
    fake::{Fake, Reply, Request},
    support::{quick, shown, store},
};

/// 300,000 bytes of content and its descriptor.
fn content() -> (Vec<u8>, Descriptor) {
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER, &bytes);
    (bytes, descriptor)
}

/// A part of a content, as asked for with `Range`.
fn part(request: &Request, bytes: &[u8]) -> Reply {
    let Some(range) = request.header("range") else {
        return Reply::new(200).body(bytes);
    };
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    Reply::new(206)
        .header(
            "content-range",
            format!("bytes {first}-{last}/{}", bytes.len()),
        )
        .body(&bytes[first..=last])
}

async fn pull(fake: &Fake, descriptor: &Descriptor) -> ocicore::Result<bytes::Bytes> {
    let registry = quick().build();
    read(&*store(&registry, fake).blob(descriptor), 1 << 20).await
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let fake = Fake::new(move |request, n| {
        let reply = part(request, &bytes);
        // Each of the first answers breaks; more often than there are attempts without progress.
        if n < 6 { reply.cut(40_000) } else { reply }
    })
    .await;
    assert_eq!(pull(&fake, &descriptor).await.unwrap(), expected);
    let ranges: Vec<_> = fake
        .requests()
        .iter()
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=40000-299999"));
    assert_eq!(ranges[6].as_deref(), Some("bytes=240000-299999"));
    assert_eq!(ranges.len(), 7);
}

/// A few bytes in each answer: as many answers as there are attempts, not as there are bytes.
#[tokio::test]
async fn a_download_that_dawdles_is_given_up() {
    let (bytes, descriptor) = content();
    let fake = Fake::new(move |request, _| part(request, &bytes).cut(100)).await;
    let error = pull(&fake, &descriptor).await.unwrap_err();
    assert_eq!(error.class(), ocicore::Class::Transient);
    assert_eq!(fake.lines().len(), 3);
}

/// Parts of what was asked for, each of them whole: small ones are as good as cut ones.
#[tokio::test]
async fn a_download_in_parts_makes_progress_or_is_given_up() {
    for (most, expected) in [(1, Err(3)), (100, Err(3)), (40_000, Ok(8)), (70_000, Ok(5))] {
        let (bytes, descriptor) = content();
        let content = bytes.clone();
        let fake = Fake::new(move |request, _| {
            let range = request.header("range").unwrap_or("bytes=0-299999");
            let first = range
                .trim_start_matches("bytes=")
                .split_once('-')
                .unwrap()
                .0;
            let first: usize = first.parse().unwrap();
            let end = bytes.len().min(first + most);
            let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
            let reply = Reply::new(206).header("content-range", range);
            reply.body(&bytes[first..end])
        })
        .await;
        let asked = match pull(&fake, &descriptor).await {
            Ok(pulled) => {
                assert_eq!(pulled, content);
                Ok(fake.lines().len())
            }
            Err(error) => {
                let (error, at) = (shown(&error, &[&fake]), 3 * most);
                let stopped = format!("`HOST0/a/b` stopped after {at} of 300000 bytes");
                assert!(error.ends_with(&stopped), "{error}");
                Err(fake.lines().len())
            }
        };
        assert_eq!(asked, expected, "{most}");
    }
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_from_the_start() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let fake = Fake::new(move |_, n| {
        let reply = Reply::new(200).body(bytes.clone());
        if n == 0 { reply.cut(100_000) } else { reply }
    })
    .await;
    let registry = quick().build();
    let blob = store(&registry, &fake).blob(&descriptor);
    assert_eq!(read(&*blob, 1 << 20).await.unwrap(), expected);
    let middle: Vec<_> = blob.open(1000..1007).try_collect().await.unwrap();
    assert_eq!(middle.concat(), expected[1000..1007]);
}

#[tokio::test]
async fn a_silent_server_is_asked_again() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let fake = Fake::new(move |request, n| match n {
        0 => Reply::new(200).length(300_000).hang(),
        1 => Reply::error(429, "TOOMANYREQUESTS", "slow down").header("retry-after", 0),
        2 => part(request, &bytes).cut(100_000),
        3 => Reply::error(503, "UNAVAILABLE", ""),
        _ => part(request, &bytes),
    })
    .await;
    assert_eq!(pull(&fake, &descriptor).await.unwrap(), expected);
    assert_eq!(fake.lines().len(), 5);
}

#[tokio::test]
async fn redirects_are_followed_without_credentials() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let storage = Fake::new(move |request, _| part(request, &bytes)).await;
    let target = format!("http://{}/bucket/x?signature=s", storage.host);
    let fake = Fake::new(
        move |request, n| match (n, request.header("authorization")) {
            (_, None) => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
            (1, Some(_)) => Reply::new(302).header("location", "/elsewhere?x=1"),
            _ => Reply::new(307).header("location", &target),
        },
    )
    .await;
    let registry = quick()
        .credentials(&fake.host, ociregistry::Credentials::basic("me", "secret"))
        .build();
    let blob = store(&registry, &fake).blob(&descriptor);
    assert_eq!(read(&*blob, 1 << 20).await.unwrap(), expected);
    let digest = descriptor.digest();
    let blob = format!("GET /v2/a/b/blobs/{digest}");
    assert_eq!(fake.lines(), [&blob, &blob, "GET /elsewhere?x=1"]);
    assert!(
        fake.requests()[2].header("authorization").is_some(),
        "same origin"
    );
    let seen = storage.requests();
    assert_eq!(seen[0].line(), "GET /bucket/x?signature=s");
    assert_eq!(seen[0].header("authorization"), None, "another origin");
    assert_eq!(seen[0].header("referer"), None);
}

#[tokio::test]
async fn whoever_fails_elsewhere_is_named() {
    let (bytes, descriptor) = content();
    let storage = Fake::new(move |request, _| match &*request.method {
        "GET" => Reply::error(403, "ExpiredToken", "the signature is too old"),
        _ => Reply::error(403, "AccessDenied", "no"),
    })
    .await;
    let (target, place) = (storage.host.clone(), storage.host.clone());
    let fake = Fake::new(move |request, _| match &*request.method {
        "GET" => Reply::new(307).header("location", format!("http://{target}/x?signature=s")),
        "POST" => Reply::new(202).header("location", format!("http://{place}/u?signature=s")),
        _ => Reply::new(404),
    })
    .await;
    let pulled = pull(&fake, &descriptor).await.unwrap_err();
    let blob = ocicore::BytesBlob::new(MediaType::OCI_LAYER, bytes);
    let pushed = store(&quick().build(), &fake)
        .put_blob(&Cx::default(), &blob)
        .await
        .unwrap_err();
    let report = [pulled, pushed].map(|error| shown(&error, &[&fake, &storage]));
    let digest = descriptor.digest().to_string();
    insta::assert_snapshot!(report.join("\n").replace(&digest, "DIGEST"), @"
    [Denied] failed to read `DIGEST` in HOST0/a/b
        `HOST0/a/b at HOST1` answered `GET` with 403 Forbidden: ExpiredToken: the signature is too old
    [Denied] failed to write `DIGEST` in HOST0/a/b
        `HOST0/a/b at HOST1` answered `PUT` with 403 Forbidden: AccessDenied: no
    ");
}

#[tokio::test]
async fn a_foreign_layer_is_had_from_its_owner() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let owner = Fake::new(move |request, _| match &*request.target {
        "/layer?x=1" => part(request, &bytes),
        _ => Reply::new(404),
    })
    .await;
    let registry_fake = Fake::new(|_, _| Reply::error(404, "BLOB_UNKNOWN", "")).await;
    let urls = [
        "file:///etc/passwd".to_owned(),
        format!("http://{}/gone", owner.host),
        format!("http://{}/layer?x=1", owner.host),
    ];
    let json = serde_json::json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": descriptor.digest(), "size": descriptor.size(), "urls": urls,
    });
    let foreign: Descriptor = serde_json::from_value(json).unwrap();
    assert_eq!(pull(&registry_fake, &foreign).await.unwrap(), expected);
    assert_eq!(owner.lines(), ["GET /gone", "GET /layer?x=1"]);
}

#[tokio::test]
async fn manifests_are_asked_for_by_all_types_and_kept_as_they_are() {
    let raw = RawManifest::new(MediaType::OCI_INDEX, "{ \"manifests\":[],\n \"x\": 1.50}");
    let sent = raw.clone();
    let fake = Fake::new(move |_, _| {
        Reply::new(200)
            .header(
                "content-type",
                format!("{}; charset=utf-8", sent.media_type()),
            )
            .header("docker-content-digest", sent.digest())
            .body(sent.bytes().to_vec())
    })
    .await;
    let (cx, registry) = (Cx::default(), quick().build());
    let store = store(&registry, &fake);
    let name = "v1".parse().unwrap();
    assert_eq!(store.manifest(&cx, &name).await.unwrap(), raw);
    assert_eq!(store.resolve(&cx, &name).await.unwrap(), *raw.descriptor());
    let accepted = fake.requests()[0].header("accept").unwrap().to_owned();
    for media_type in [
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_LIST,
    ] {
        assert!(accepted.contains(media_type.as_str()), "{media_type}");
    }
    assert_eq!(
        fake.lines(),
        ["GET /v2/a/b/manifests/v1", "HEAD /v2/a/b/manifests/v1"]
    );
}

#[tokio::test]
async fn a_registry_that_says_little_is_asked_for_the_manifest() {
    let body = br#"{"manifests":[]}"#;
    for (method, status) in [("HEAD", 200), ("HEAD", 405)] {
        let fake = Fake::new(move |request, _| match &*request.method {
            "HEAD" => Reply::new(status),
            _ => Reply::new(200)
                .header("content-type", "application/json")
                .body(*body),
        })
        .await;
        let registry = quick().build();
        let descriptor = store(&registry, &fake)
            .resolve(&Cx::default(), &"v1".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(
            descriptor,
            Descriptor::of(MediaType::OCI_INDEX, body),
            "{method} {status}"
        );
    }
}

#[tokio::test]
async fn a_dropped_download_ends_its_connection() {
    let (_, descriptor) = content();
    let fake = Fake::new(|_, _| Reply::new(200).body(vec![0; 1000]).length(300_000).hang()).await;
    let registry = quick().build();
    let blob: Arc<dyn Blob> = store(&registry, &fake).blob(&descriptor);
    let mut stream = blob.open(0..300_000);
    assert_eq!(stream.try_next().await.unwrap().unwrap().len(), 1000);
    drop(stream);
    // Else the test would not end.
    fake.closed().await;
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn mirrors_are_asked_first_and_passed_over() {
    let (bytes, descriptor) = content();
    let expected = bytes.clone();
    let index = Reply::new(200)
        .header("content-type", MediaType::OCI_INDEX)
        .body(r#"{"manifests":[]}"#);
    let fails = Fake::new(|_, _| Reply::error(503, "UNAVAILABLE", "")).await;
    let (content, manifest) = (bytes.clone(), index.clone());
    // This one has the manifest, and breaks in the middle of the blob.
    let breaks = Fake::new(move |request, _| match &*request.target {
        target if target.contains("/manifests/") => manifest.clone(),
        _ => part(request, &content).cut(100_000),
    })
    .await;
    let home = Fake::new(move |request, _| match request.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => part(request, &bytes),
    })
    .await;
    let mirror = |fake: &Fake| ociregistry::Mirror::at(&format!("http://{}", fake.host)).unwrap();
    let hosts = ociregistry::Hosts::default()
        .with_mirror(&home.host, mirror(&fails))
        .with_mirror(&home.host, mirror(&breaks));
    let registry = quick()
        .hosts(hosts)
        .credentials(&home.host, ociregistry::Credentials::basic("me", "secret"))
        .build();
    let store = store(&registry, &home);
    let cx = Cx::default();
    assert_eq!(
        store
            .manifest(&cx, &"v1".parse().unwrap())
            .await
            .unwrap()
            .bytes()
            .len(),
        16
    );
    assert_eq!(
        read(&*store.blob(&descriptor), 1 << 20).await.unwrap(),
        expected
    );
    let namespace = format!("?ns={}", home.host.replace(':', "%3A"));
    let line = |what: &str| format!("GET /v2/a/b/{what}{namespace}");
    let (manifest, blob) = (
        line("manifests/v1"),
        line(&format!("blobs/{}", descriptor.digest())),
    );
    assert_eq!(fails.lines(), [&*manifest], "left alone after that");
    assert_eq!(breaks.lines(), [&*manifest, &*blob]);
    assert!(
        breaks
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    let last = home.requests().pop().unwrap();
    assert_eq!(last.header("range"), Some("bytes=100000-299999"));
}

#[tokio::test]
async fn a_mirror_is_asked_again_after_its_rest() {
    for (rest, asked) in [(Duration::from_secs(600), 1), (Duration::ZERO, 3)] {
        let fails = Fake::new(|_, _| Reply::none()).await;
        let home = Fake::new(|_, _| {
            Reply::new(200)
                .header("content-type", MediaType::OCI_INDEX)
                .body(r#"{"manifests":[]}"#)
        })
        .await;
        let mirror = ociregistry::Mirror::at(&format!("http://{}", fails.host)).unwrap();
        let hosts = ociregistry::Hosts::default().with_mirror(&home.host, mirror);
        let registry = quick().hosts(hosts).mirror_rest(rest).build();
        for _ in 0..3 {
            let (cx, name) = (Cx::default(), "v1".parse().unwrap());
            store(&registry, &home).manifest(&cx, &name).await.unwrap();
        }
        assert_eq!((fails.lines().len(), home.lines().len()), (asked, 3));
    }
}

/// What a mirror says of a tag may be old: whoever writes, compares or retags asks the registry.
#[tokio::test]
async fn what_a_tag_names_is_for_the_registry_to_say() {
    let index = |note: &str| {
        let json = format!(r#"{{"manifests":[],"note":"{note}"}}"#);
        RawManifest::new(MediaType::OCI_INDEX, json)
    };
    let says = |raw: &RawManifest| {
        Reply::new(200)
            .header("content-type", raw.media_type())
            .header("docker-content-digest", raw.digest())
            .body(raw.bytes().to_vec())
    };
    let (old, new) = (index("old"), index("new"));
    let (stale, fresh) = (says(&old), says(&new));
    let mirror = Fake::new(move |_, _| stale.clone()).await;
    let home = Fake::new(move |request, n| match &*request.method {
        "PUT" => Reply::new(201),
        // At last it does not answer.
        _ if n > 2 => Reply::none(),
        _ => fresh.clone(),
    })
    .await;
    let at = ociregistry::Mirror::at(&format!("http://{}", mirror.host)).unwrap();
    let hosts = ociregistry::Hosts::default().with_mirror(&home.host, at);
    let registry = quick().hosts(hosts).build();
    let (cx, store) = (Cx::default(), store(&registry, &home));
    let name = "v1".parse().unwrap();
    assert_eq!(store.manifest(&cx, &name).await.unwrap(), old);
    assert_eq!(store.resolve(&cx, &name).await.unwrap(), *new.descriptor());
    let reference = format!("{}/a/b:v1", home.host).parse().unwrap();
    let tags = ["v2".parse().unwrap()];
    let tagged = registry.retag(&cx, &reference, &tags).await.unwrap();
    assert_eq!(tagged, *new.descriptor());
    assert_eq!(home.requests()[2].body, new.bytes()[..]);
    assert_eq!(mirror.lines().len(), 1);
    assert_eq!(store.resolve(&cx, &name).await.unwrap(), *old.descriptor());
    // It is not waited for again and again.
    let asked = home.lines().len();
    assert_eq!(store.resolve(&cx, &name).await.unwrap(), *old.descriptor());
    assert_eq!(home.lines().len(), asked);
}

#[tokio::test]
async fn a_manifest_that_nothing_vouches_for_is_at_least_whole() {
    for (length, is_whole) in [(16, true), (15, false)] {
        let fake = Fake::new(move |_, _| {
            Reply::new(200)
                .header("content-type", MediaType::OCI_INDEX)
                .body(r#"{"manifests":[]}"#)
                .length(length)
        })
        .await;
        let registry = quick().build();
        let read = store(&registry, &fake)
            .manifest(&Cx::default(), &"v1".parse().unwrap())
            .await;
        assert_eq!(read.is_ok(), is_whole, "{read:?}");
    }
}

/// The size of an encoded answer is not that of the manifest.
#[tokio::test]
async fn a_head_with_an_encoding_says_no_size() {
    let raw = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
    for always in [false, true] {
        let sent = raw.clone();
        let fake = Fake::new(move |request, _| {
            let reply = Reply::new(200)
                .header("content-type", sent.media_type())
                .header("docker-content-digest", sent.digest())
                .body(sent.bytes().to_vec());
            match request.method == "HEAD" || always {
                true => reply.length(7).header("content-encoding", "gzip"),
                false => reply,
            }
        })
        .await;
        let (cx, name) = (Cx::default(), "v1".parse().unwrap());
        let resolved = store(&quick().build(), &fake).resolve(&cx, &name).await;
        match resolved {
            Ok(descriptor) => assert!(!always && descriptor == *raw.descriptor()),
            Err(error) => {
                let text = shown(&error, &[&fake]);
                assert!(always && text.contains("content encoding `gzip`"), "{text}");
            }
        }
        let methods: Vec<_> = fake.requests().into_iter().map(|r| r.method).collect();
        assert_eq!(methods, ["HEAD", "GET"]);
    }
}
