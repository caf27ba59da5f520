//! Writing: what a registry may answer to it.

use std::sync::Mutex;

use ocicore::{Blob, BytesBlob, Cx, Descriptor, MediaType, Place, RawManifest, Stored};
use ociregistry::{HostOptions, Upload};

use crate::{
    fake::{Fake, Reply, Request},
    mtls::Authority,
    support::{quick, shown, store},
};

const BEGIN: &str = "POST /v2/a/b/blobs/uploads/?mount=DIGEST&from=a%2Fb";

/// A blob that is too large to be read before it is sent.
fn large() -> BytesBlob {
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    BytesBlob::new(MediaType::OCI_LAYER, bytes)
}

/// Pushes and lists the requests, with the digest and the host as words.
async fn push(
    fake: &Fake,
    blob: &dyn Blob,
    upload: Upload,
) -> (Result<Stored, String>, Vec<String>) {
    let registry = quick().upload(upload).build();
    let stored = store(&registry, fake).put_blob(&Cx::default(), blob).await;
    let digest = blob.descriptor().digest().to_string();
    let encoded = digest.replace(':', "%3A");
    let words = |text: String| text.replace(&encoded, "DIGEST").replace(&digest, "DIGEST");
    let lines = fake.lines().into_iter().map(words).collect();
    (stored.map_err(|error| words(shown(&error, &[fake]))), lines)
}

#[tokio::test]
async fn a_blob_that_is_there_costs_one_request() {
    let fake = Fake::new(|_, _| Reply::new(201).header("location", "/x")).await;
    let (stored, lines) = push(&fake, &large(), Upload::Monolithic).await;
    assert_eq!(
        (stored, lines),
        (Ok(Stored::Present), vec![BEGIN.to_owned()])
    );
}

#[tokio::test]
async fn a_registry_that_looks_nowhere_can_be_asked_first() {
    for (there, expected) in [
        (200, vec!["HEAD /v2/a/b/blobs/DIGEST"]),
        (
            404,
            vec!["HEAD /v2/a/b/blobs/DIGEST", BEGIN, "PUT /u?digest=DIGEST"],
        ),
    ] {
        let fake = Fake::new(move |request, _| match &*request.method {
            "HEAD" => Reply::new(there),
            "POST" => Reply::new(202).header("location", "/u"),
            _ => Reply::new(201),
        })
        .await;
        let options = HostOptions::default().with_head_before_upload();
        let registry = quick().host(&fake.host, options).build();
        let (cx, blob) = (Cx::default(), large());
        store(&registry, &fake).put_blob(&cx, &blob).await.unwrap();
        let digest = blob.descriptor().digest().to_string();
        let lines: Vec<_> = fake
            .lines()
            .iter()
            .map(|line| line.replace(&digest.replace(':', "%3A"), &digest))
            .map(|line| line.replace(&digest, "DIGEST"))
            .collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn a_new_blob_costs_two() {
    for (location, put) in [
        (
            "/v2/u/1?_state=a%2Bb",
            "PUT /v2/u/1?_state=a%2Bb&digest=DIGEST",
        ),
        ("next", "PUT /v2/a/b/blobs/uploads/next?digest=DIGEST"),
        ("?x", "PUT /v2/a/b/blobs/uploads/?x&digest=DIGEST"),
    ] {
        let fake = Fake::new(move |request, _| match &*request.method {
            "POST" => Reply::new(202).header("location", location),
            _ => Reply::new(201),
        })
        .await;
        let blob = large();
        let (stored, lines) = push(&fake, &blob, Upload::Monolithic).await;
        assert_eq!(
            (stored, lines),
            (Ok(Stored::Written), vec![BEGIN.to_owned(), put.to_owned()])
        );
        let sent = &fake.requests()[1];
        assert_eq!(sent.header("content-length"), Some("1000000"));
        assert_eq!(
            Descriptor::of(MediaType::OCI_LAYER, &sent.body),
            *blob.descriptor()
        );
    }
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_credentials() {
    let storage = Fake::new(|_, _| Reply::new(201)).await;
    let location = format!("http://{}/u?sig=1", storage.host);
    let fake = Fake::new(move |request, _| match request.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::new(202).header("location", &location),
    })
    .await;
    let registry = quick()
        .credentials(&fake.host, ociregistry::Credentials::basic("me", "secret"))
        .build();
    let stored = store(&registry, &fake)
        .put_blob(&Cx::default(), &large())
        .await;
    assert_eq!(stored.unwrap(), Stored::Written);
    assert_eq!(storage.requests()[0].header("authorization"), None);
    assert!(
        storage.requests()[0]
            .target
            .starts_with("/u?sig=1&digest=sha256%3A")
    );
}

/// A proxy that ends TLS makes a registry say `http` of itself: that stays with TLS. Elsewhere no
/// content goes without TLS, unless the options of that host allow it.
#[tokio::test]
async fn an_upload_does_not_leave_tls() {
    let authority = Authority::new();
    let fake = Fake::secured(authority.server(None), |request, _| {
        match &*request.method {
            "POST" => {
                let host = request.header("host").unwrap();
                Reply::new(202).header("location", format!("http://{host}/u"))
            }
            _ => Reply::new(201),
        }
    })
    .await;
    let registry = quick().host(&fake.host, authority.trust()).build();
    let (cx, blob) = (Cx::default(), large());
    let stored = store(&registry, &fake).put_blob(&cx, &blob).await;
    assert_eq!(stored.unwrap(), Stored::Written);
    assert_eq!(fake.requests()[1].body.len(), 1_000_000);

    let (tls, plain) = (
        HostOptions::default().with_tls(),
        HostOptions::default().with_plain_http(),
    );
    for (options, upload, is_allowed) in [
        (tls.clone(), Upload::Monolithic, false),
        // The first chunk goes to the registry itself.
        (tls, Upload::Chunked(400_000), false),
        (plain, Upload::Monolithic, true),
    ] {
        let storage = Fake::new(|_, _| Reply::new(201)).await;
        let location = format!("http://{}/u?sig=1", storage.host);
        let fake = Fake::secured(authority.server(None), move |_, n| match upload {
            Upload::Chunked(_) if n == 0 => Reply::new(202).header("location", "/u"),
            _ => Reply::new(202).header("location", &location),
        })
        .await;
        let registry = quick()
            .host(&fake.host, authority.trust())
            .host(&storage.host, options)
            .upload(upload)
            .build();
        let stored = store(&registry, &fake).put_blob(&cx, &blob).await;
        assert_eq!(stored.is_ok(), is_allowed, "{stored:?}");
        assert_eq!(storage.lines().len(), usize::from(is_allowed));
        if let Err(error) = stored {
            let error = shown(&error, &[&fake, &storage]);
            let digest = blob.descriptor().digest().to_string();
            let error = error.replace(&digest, "DIGEST");
            insta::allow_duplicates! {
                insta::assert_snapshot!(error, @"
                [Denied] failed to write `DIGEST` in HOST0/a/b
                    `HOST0/a/b` redirects to `http://HOST1/u`, which is not followed: it has no TLS
                ");
            }
        }
    }
}

#[tokio::test]
async fn a_mount_that_is_denied_becomes_an_upload() {
    let fake = Fake::new(|request, _| match &*request.method {
        "POST" if request.target.ends_with("from=secret") => Reply::error(403, "DENIED", "no"),
        "POST" => Reply::new(202).header("location", "/u"),
        _ => Reply::new(201),
    })
    .await;
    let registry = quick().build();
    let origin = format!("{}/secret", fake.host).parse().unwrap();
    let blob = Elsewhere(large(), origin);
    let stored = store(&registry, &fake)
        .put_blob(&Cx::default(), &blob)
        .await;
    assert_eq!(stored.unwrap(), Stored::Written);
    assert_eq!(fake.lines().len(), 3);
}

/// Some do not know that repository, some know no mounting. Neither is asked again.
#[tokio::test]
async fn a_mount_that_is_not_understood_becomes_an_upload() {
    const SECRET: &str = "POST /v2/a/b/blobs/uploads/?mount=DIGEST&from=secret";
    const PLAIN: &str = "POST /v2/a/b/blobs/uploads/";
    const PUT: &str = "PUT /u?digest=DIGEST";
    for (status, understood, expected) in [
        (404, "from=a%2Fb", &[SECRET, BEGIN, PUT, BEGIN, PUT][..]),
        (400, "from=a%2Fb", &[SECRET, BEGIN, PUT, BEGIN, PUT]),
        (404, "uploads/", &[SECRET, BEGIN, PLAIN, PUT, PLAIN, PUT]),
        (400, "uploads/", &[SECRET, BEGIN, PLAIN, PUT, PLAIN, PUT]),
        (404, "nothing", &[SECRET, BEGIN, PLAIN]),
        (409, "uploads/", &[SECRET]),
    ] {
        let fake = Fake::new(move |request, n| match &*request.method {
            "POST" if request.target.ends_with(understood) => {
                Reply::new(202).header("location", "/u")
            }
            "POST" => Reply::error(status, "NAME_UNKNOWN", "no"),
            _ if n < 4 => Reply::none(),
            _ => Reply::new(201),
        })
        .await;
        let origin = format!("{}/secret", fake.host).parse().unwrap();
        let blob = Elsewhere(large(), origin);
        let (stored, lines) = push(&fake, &blob, Upload::Monolithic).await;
        assert_eq!(lines, expected, "{stored:?}");
        assert_eq!(stored.is_ok(), expected.ends_with(&[PUT]), "{stored:?}");
    }
}

#[derive(Debug)]
struct Elsewhere(BytesBlob, ocicore::Repository);

impl Blob for Elsewhere {
    fn descriptor(&self) -> &Descriptor {
        self.0.descriptor()
    }

    fn open(&self, range: std::ops::Range<u64>) -> ocicore::BoxStream<bytes::Bytes> {
        self.0.open(range)
    }

    fn origin(&self) -> Option<&ocicore::Repository> {
        Some(&self.1)
    }
}

#[tokio::test]
async fn a_broken_upload_begins_anew() {
    let fake = Fake::new(|request, n| match (&*request.method, n) {
        ("POST", _) => Reply::new(202).header("location", format!("/u/{n}")),
        (_, 1) => Reply::error(500, "UNKNOWN", "disk"),
        (_, 3) => Reply::none(),
        _ => Reply::new(201),
    })
    .await;
    let (stored, lines) = push(&fake, &large(), Upload::Monolithic).await;
    assert_eq!(stored, Ok(Stored::Written));
    let put = |n| format!("PUT /u/{n}?digest=DIGEST");
    assert_eq!(
        lines[..4],
        [BEGIN.to_owned(), put(0), BEGIN.to_owned(), put(2)]
    );
}

#[tokio::test]
async fn an_upload_that_was_forgotten_begins_anew() {
    // As often as there are attempts without progress.
    for (times, begins, expected) in [(1, 2, true), (2, 3, true), (usize::MAX, 3, false)] {
        let left = Mutex::new(times);
        let forgetful = move |request: &Request, n: usize, have: &mut Vec<u8>| {
            let mut left = left.lock().unwrap();
            (request.method == "PATCH" && n > 1 && *left > 0).then(|| {
                *left -= 1;
                have.clear();
                Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
            })
        };
        let fake = Fake::new(chunked(forgetful)).await;
        let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
        assert_eq!(stored.is_ok(), expected, "{stored:?}");
        let begun = lines.iter().filter(|line| *line == BEGIN);
        assert_eq!(begun.count(), begins, "{lines:?}");
    }
}

/// Servers behind one name that do not know each other's uploads: what was sent before is no
/// progress.
#[tokio::test]
async fn an_upload_that_is_forgotten_after_each_first_chunk_is_given_up() {
    let forgetful = |request: &Request, _: usize, have: &mut Vec<u8>| {
        (request.method == "PATCH" && !have.is_empty()).then(|| {
            have.clear();
            Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        })
    };
    let fake = Fake::new(chunked(forgetful)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert!(stored.is_err(), "{stored:?}");
    let begun = lines.iter().filter(|line| *line == BEGIN);
    assert_eq!(begun.count(), 3, "{lines:?}");
}

/// docker-registry answers so to who asks where an upload is of which a chunk was cut.
#[tokio::test]
async fn an_upload_that_cannot_go_on_begins_anew() {
    let stuck = |request: &Request, n: usize, have: &mut Vec<u8>| match (&*request.method, n) {
        ("PATCH", 2) => Some(Reply::none()),
        ("GET", _) => {
            have.clear();
            Some(Reply::error(
                404,
                "BLOB_UPLOAD_INVALID",
                "blob upload invalid",
            ))
        }
        _ => None,
    };
    let fake = Fake::new(chunked(stuck)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!(stored, Ok(Stored::Written), "{lines:?}");
    let methods: Vec<_> = lines
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let expected = [
        "POST", "PATCH", "PATCH", "GET", "POST", "PATCH", "PATCH", "PATCH", "PUT",
    ];
    assert_eq!(methods, expected);
}

/// Not every registry says where an upload stands.
#[tokio::test]
async fn an_upload_of_which_nothing_is_said_begins_anew() {
    let says: [fn() -> Reply; 6] = [
        || Reply::error(405, "UNSUPPORTED", "no"),
        || Reply::new(501),
        || Reply::new(404).body("<html>not found</html>"),
        || Reply::new(400),
        || Reply::new(204).header("location", "/u"),
        || Reply::new(204).header("range", "all of it"),
    ];
    for (answer, times) in says.into_iter().flat_map(|f| [(f, 1), (f, usize::MAX)]) {
        let left = Mutex::new(times);
        let mute = move |request: &Request, _: usize, have: &mut Vec<u8>| {
            let mut left = left.lock().unwrap();
            if request.method == "PATCH" && !have.is_empty() && *left > 0 {
                *left -= 1;
                return Some(Reply::error(503, "UNAVAILABLE", "later"));
            }
            (request.method == "GET").then(|| {
                have.clear();
                answer()
            })
        };
        let fake = Fake::new(chunked(mute)).await;
        let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
        let begun = lines.iter().filter(|line| *line == BEGIN).count();
        if times == 1 {
            assert_eq!((stored, begun), (Ok(Stored::Written), 2), "{lines:?}");
        } else {
            let error = stored.unwrap_err();
            assert!(error.contains("`PATCH` with 503"), "{error}");
            assert_eq!(begun, 3, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_no_second_upload() {
    let fake = Fake::new(|request, n| match (&*request.method, n) {
        ("POST", 0) => Reply::new(202).header("location", "/u"),
        ("POST", _) => Reply::new(201),
        _ => Reply::new(504),
    })
    .await;
    let (stored, lines) = push(&fake, &large(), Upload::Monolithic).await;
    assert_eq!((stored, lines.len()), (Ok(Stored::Written), 3));
}

#[tokio::test]
async fn credentials_may_be_asked_for_in_mid_push() {
    let fake = Fake::new(
        |request, _| match (&*request.method, request.header("authorization")) {
            ("POST", _) => Reply::new(202).header("location", "/u"),
            (_, None) => Reply::new(401).header("www-authenticate", "Basic realm=\"x\""),
            _ => Reply::new(201),
        },
    )
    .await;
    let registry = quick()
        .credentials(&fake.host, ociregistry::Credentials::basic("me", "secret"))
        .build();
    let stored = store(&registry, &fake)
        .put_blob(&Cx::default(), &large())
        .await;
    assert_eq!(stored.unwrap(), Stored::Written);
    let bodies: Vec<_> = fake
        .requests()
        .iter()
        .map(|request| request.body.len())
        .collect();
    assert_eq!(bodies, [0, 1_000_000, 1_000_000]);
}

/// A registry that takes chunks, and keeps what it has.
fn chunked(
    quirk: impl Fn(&Request, usize, &mut Vec<u8>) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Request, usize) -> Reply + Send + Sync + 'static {
    let have = Mutex::new(Vec::new());
    move |request, n| {
        let mut have = have.lock().unwrap();
        if let Some(reply) = quirk(request, n, &mut have) {
            return reply;
        }
        let range = |have: &[u8]| format!("0-{}", have.len().saturating_sub(1));
        match &*request.method {
            "POST" => Reply::new(202).header("location", "/u?n=0"),
            "GET" => Reply::new(204)
                .header("range", range(&have))
                .header("location", "/u?n=get"),
            "PATCH" => {
                let start = format!("{}-", have.len());
                if !request.header("content-range").unwrap().starts_with(&start) {
                    return Reply::error(416, "BLOB_UPLOAD_INVALID", "order")
                        .header("range", range(&have));
                }
                have.extend_from_slice(&request.body);
                Reply::new(202)
                    .header("location", format!("/u?n={n}"))
                    .header("range", range(&have))
            }
            "PUT" if have.len() == 1_000_000 => Reply::new(201),
            _ => Reply::error(400, "DIGEST_INVALID", "not all of it"),
        }
    }
}

#[tokio::test]
async fn chunks_follow_one_another() {
    let fake = Fake::new(chunked(|_, _, _| None)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!(stored, Ok(Stored::Written));
    let expected = [
        BEGIN,
        "PATCH /u?n=0",
        "PATCH /u?n=1",
        "PATCH /u?n=2",
        "PUT /u?n=3&digest=DIGEST",
    ];
    assert_eq!(lines, expected);
    let ranges: Vec<_> = fake.requests()[1..4]
        .iter()
        .map(|r| r.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(ranges, ["0-399999", "400000-799999", "800000-999999"]);
}

#[tokio::test]
async fn an_upload_in_chunks_goes_on_where_the_registry_is() {
    // The second chunk breaks after the registry has kept a part of it.
    let fake = Fake::new(chunked(|request, n, have| {
        (n == 2).then(|| {
            have.extend_from_slice(&request.body[..100_000]);
            Reply::none()
        })
    }))
    .await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!(stored, Ok(Stored::Written), "{lines:?}");
    let ranges: Vec<_> = fake
        .requests()
        .iter()
        .filter_map(|r| r.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(
        ranges,
        [
            "0-399999",
            "400000-799999",
            "500000-899999",
            "900000-999999"
        ]
    );
    assert!(lines.contains(&"GET /u?n=1".to_owned()));
}

/// `Range: 0-0` is what registries say that have one byte, and those that have none.
#[tokio::test]
async fn an_upload_of_which_one_byte_is_there_goes_on() {
    let fake = Fake::new(chunked(|request, n, have| {
        (n == 1).then(|| {
            have.extend_from_slice(&request.body[..1]);
            Reply::none()
        })
    }))
    .await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!(stored, Ok(Stored::Written), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == BEGIN).count(), 1);
}

#[tokio::test]
async fn quirks_of_registries_are_known() {
    let no_range = |request: &Request, n: usize, have: &mut Vec<u8>| {
        // ECR: 201 and an old range; GHCR: no range and no location.
        (request.method == "PATCH").then(|| {
            have.extend_from_slice(&request.body);
            if n == 1 {
                Reply::new(201).header("range", "0-0")
            } else {
                Reply::new(202)
            }
        })
    };
    let fake = Fake::new(chunked(no_range)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!((stored, lines.len()), (Ok(Stored::Written), 5));

    let least = |request: &Request, _: usize, _: &mut Vec<u8>| {
        (request.method == "POST").then(|| {
            Reply::new(202)
                .header("location", "/u")
                .header("oci-chunk-min-length", 600_000)
        })
    };
    let fake = Fake::new(chunked(least)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!((stored, lines.len()), (Ok(Stored::Written), 4));
}

/// First for one request, which is one chunk, too, then by the chunk.
#[tokio::test]
async fn what_is_refused_as_too_large_goes_in_chunks() {
    let small = |least: u64| {
        move |request: &Request, _: usize, _: &mut Vec<u8>| match &*request.method {
            "POST" => Some(
                Reply::new(202)
                    .header("location", "/u")
                    .header("oci-chunk-min-length", least),
            ),
            _ => (request.body.len() > 300_000).then(|| Reply::new(413)),
        }
    };
    for upload in [
        Upload::Monolithic,
        Upload::Chunked(1_000_000),
        Upload::Chunked(u64::MAX),
        Upload::Chunked(400_000),
    ] {
        let fake = Fake::new(chunked(small(0))).await;
        let (stored, lines) = push(&fake, &large(), upload).await;
        assert_eq!(stored, Ok(Stored::Written), "{upload:?} {lines:?}");
        // It wants what it does not take.
        let fake = Fake::new(chunked(small(1_000_000))).await;
        let (stored, lines) = push(&fake, &large(), upload).await;
        let error = stored.unwrap_err();
        assert!(error.starts_with("[Exhausted]"), "{error}");
        assert_eq!(lines.len(), 3, "{upload:?} {lines:?}");
    }
}

#[tokio::test]
async fn out_of_order_is_asked_for() {
    // The registry has forgotten the first chunk, and says so by 416.
    let forgetful = |_: &Request, n: usize, have: &mut Vec<u8>| {
        if n == 2 {
            have.clear();
        }
        None
    };
    let fake = Fake::new(chunked(forgetful)).await;
    let (stored, lines) = push(&fake, &large(), Upload::Chunked(400_000)).await;
    assert_eq!(stored, Ok(Stored::Written), "{lines:?}");
    assert!(lines.contains(&"GET /u?n=1".to_owned()));
}

#[tokio::test]
async fn a_failed_upload_is_given_up() {
    let fake = Fake::new(|request, _| match &*request.method {
        "POST" => Reply::new(202).header("location", "/u"),
        "PUT" => Reply::error(403, "DENIED", "quota of the project"),
        _ => Reply::new(204),
    })
    .await;
    let (stored, lines) = push(&fake, &large(), Upload::Monolithic).await;
    insta::assert_snapshot!(stored.unwrap_err(), @"
    [Denied] failed to write `DIGEST` in HOST0/a/b
        `HOST0/a/b` answered `PUT` with 403 Forbidden: DENIED: quota of the project
    ");
    assert_eq!(lines.last().unwrap(), "DELETE /u");
}

#[tokio::test]
async fn wrong_content_is_the_sources_fault() {
    let fake = Fake::new(|request, _| match &*request.method {
        "POST" => Reply::new(202).header("location", "/u"),
        "PUT" => Reply::error(400, "DIGEST_INVALID", "mismatch"),
        _ => Reply::new(204),
    })
    .await;
    let good = large();
    let wrong = BytesBlob::described(good.descriptor().clone(), vec![0; 1_000_000]);
    let error = push(&fake, &wrong, Upload::Monolithic).await.0.unwrap_err();
    assert!(
        error.starts_with("[Invalid] content of `DIGEST` hashes to `sha256:"),
        "{error}"
    );
    let error = push(&fake, &good, Upload::Monolithic).await.0.unwrap_err();
    assert!(error.contains("DIGEST_INVALID: mismatch"), "{error}");
}

#[tokio::test]
async fn retagging_is_one_get_and_one_put() {
    let raw = RawManifest::new(MediaType::DOCKER_LIST, "{\"manifests\":[] }\n");
    let sent = raw.clone();
    let fake = Fake::new(move |request, _| match &*request.method {
        "GET" => Reply::new(200)
            .header("content-type", sent.media_type())
            .body(sent.bytes().to_vec()),
        _ => Reply::new(201).header("docker-content-digest", sent.digest()),
    })
    .await;
    let registry = quick().build();
    let from = format!("{}/a/b:v1", fake.host).parse().unwrap();
    for _ in 0..2 {
        let tagged = registry
            .retag(&Cx::default(), &from, &["v2".parse().unwrap()])
            .await;
        assert_eq!(tagged.unwrap(), *raw.descriptor());
    }
    let seen = fake.requests();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[1].line(), "PUT /v2/a/b/manifests/v2");
    assert_eq!(seen[1].body, raw.bytes()[..]);
    assert_eq!(
        seen[1].header("content-type"),
        Some(raw.media_type().as_str())
    );
}

#[tokio::test]
async fn a_manifest_is_written_again_until_it_is_there() {
    let raw = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
    let fake = Fake::new(|_, n| Reply::new(if n == 0 { 502 } else { 201 })).await;
    let registry = quick().build();
    let place = Place::Root(&[]);
    store(&registry, &fake)
        .put_manifest(&Cx::default(), &raw, place)
        .await
        .unwrap();
    let line = format!("PUT /v2/a/b/manifests/{}", raw.digest());
    assert_eq!(fake.lines(), [&*line, &*line]);
}
