//! Tags, repositories and referrers, page by page.

use std::sync::Mutex;

use futures_util::{StreamExt, TryStreamExt};
use ocicore::{
    Class, Cx, Descriptor, Digest, ImageStore, MediaType, RawManifest, Repositories, Tag,
};
use registryd::{Server, storage::MemoryStorage};
use serde_json::json;

use crate::{
    fake::{Fake, Reply},
    support::{at, quick, shown, store},
};

async fn tags(store: &dyn ImageStore) -> ocicore::Result<Vec<String>> {
    let tags = store
        .tags(&Cx::default())
        .map_ok(|tag: Tag| tag.to_string());
    tags.try_collect().await
}

/// Whatever it is asked for, it answers with a page for people.
async fn web(status: u16) -> Fake {
    Fake::new(move |_, _| {
        Reply::new(status)
            .header("content-type", "text/html")
            .body("<html><h1>Hello</h1></html>")
    })
    .await
}

#[tokio::test]
async fn what_is_no_registry_has_no_empty_lists() {
    let (cx, fake) = (Cx::default(), web(404).await);
    let store = store(&quick().build(), &fake);
    let error = tags(&*store).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert_eq!(
        shown(&error, &[&fake]),
        "[NotFound] failed to list `tags` in HOST0/a/b\n    \
         `HOST0/a/b` answered `GET` with 404 Not Found: <html><h1>Hello</h1></html>"
    );
    let error = store.referrers(&cx, &Digest::of(b"x")).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}

#[tokio::test]
async fn what_is_no_registry_has_neither_tags_nor_blobs() {
    let (cx, fake) = (Cx::default(), web(200).await);
    let store = store(&quick().build(), &fake);
    let error = tags(&*store).await.unwrap_err();
    let text = shown(&error, &[&fake]);
    let expected =
        "`HOST0/a/b` breaks the protocol: it sent a page for people, and may be no registry";
    assert!(text.ends_with(expected), "{text}");
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"hello");
    let error = store.has_blob(&cx, &blob).await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
}

#[tokio::test]
async fn a_catalog_is_of_a_host_and_nothing_else() {
    let registry = quick().build();
    for host in ["r.io/team", "r.io?x", "r.io#x", "https://r.io", r"r.io\x"] {
        let list = registry.catalog_of(&Cx::default(), host);
        let error = list.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.class(), Class::Invalid, "{host}");
        let text = ocicore::in_one_line(&error);
        assert!(
            text.contains(&format!("`{host}` is not a valid host")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn pages_are_read_as_they_are_asked_for() {
    // A list without an end.
    let fake = Fake::new(|_, n| {
        Reply::new(200)
            .header(
                "link",
                format!("</v2/a/b/tags/list?last=t{n}&n=1>; rel=\"next\""),
            )
            .body(format!(
                r#"{{"name":"a/b","tags":["t{n:03}b","t{n:03}a"]}}"#
            ))
    })
    .await;
    let registry = quick().build();
    let stream = store(&registry, &fake).tags(&Cx::default());
    let first: Vec<_> = stream
        .take(5)
        .map(|tag| tag.unwrap().to_string())
        .collect()
        .await;
    assert_eq!(first, ["t000a", "t000b", "t001a", "t001b", "t002a"]);
    assert_eq!(
        fake.lines(),
        [
            "GET /v2/a/b/tags/list?n=1000",
            "GET /v2/a/b/tags/list?last=t0&n=1",
            "GET /v2/a/b/tags/list?last=t1&n=1",
        ]
    );
}

#[tokio::test]
async fn odd_lists() {
    let mut report = String::new();
    let page = |body: &str| Reply::new(200).body(body);
    for (what, reply) in [
        (
            "no repository",
            Reply::error(404, "NAME_UNKNOWN", "unknown"),
        ),
        ("null", page(r#"{"tags":null}"#)),
        ("denied", Reply::error(403, "DENIED", "no")),
        ("no tag", page(r#"{"tags":["a","-x"]}"#)),
        ("no list", page("<html>")),
        (
            "elsewhere",
            page(r#"{"tags":["a"]}"#).header("link", "<http://127.0.0.2/x>; rel=next"),
        ),
        (
            "a circle",
            page(r#"{"tags":["a"]}"#).header("link", "</v2/a/b/tags/list?n=1000>; rel=next"),
        ),
    ] {
        let fake = Fake::new(move |_, _| reply.clone()).await;
        let registry = quick().build();
        let listed = tags(&*store(&registry, &fake)).await;
        let listed = listed.map_err(|error| shown(&error, &[&fake]));
        report += &match listed {
            Ok(tags) => format!("{what}: {tags:?}\n"),
            Err(error) => format!("{what}: {error}\n"),
        };
    }
    insta::assert_snapshot!(report);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_asked_for_again() {
    let fake = Fake::new(move |request, n| {
        let page = match &*request.target {
            "/v2/_catalog?n=1000" => r#"{"repositories":["a/b"]}"#,
            "/v2/a/b/tags/list?n=1000" => r#"{"tags":["a","b"]}"#,
            _ => r#"{"manifests":[]}"#,
        };
        let reply = Reply::new(200).body(page);
        if n % 2 == 0 { reply.cut(10) } else { reply }
    })
    .await;
    let (cx, registry) = (Cx::default(), quick().build());
    let store = store(&registry, &fake);
    assert_eq!(tags(&*store).await.unwrap(), ["a", "b"]);
    let subject = Digest::of(b"subject");
    assert_eq!(store.referrers(&cx, &subject).await.unwrap(), []);
    let all: Vec<_> = registry
        .catalog_of(&cx, &fake.host)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all, [at(&fake)]);
    assert_eq!(fake.lines().len(), 6);
}

#[tokio::test]
async fn who_collects_an_endless_list_ends() {
    let fake = Fake::new(|_, n| {
        Reply::new(200)
            .header("link", format!("<?n={n}>; rel=next"))
            .body(format!(r#"{{"tags":["t{n}"],"repositories":["a/r{n}"]}}"#))
    })
    .await;
    let limits = ocicore::SizeLimits::default().with_documents(20 << 10);
    let (cx, registry) = (Cx::default(), quick().limits(limits).build());
    let error = tags(&*store(&registry, &fake)).await.unwrap_err();
    // Each page counts as a kibibyte at least.
    assert_eq!(fake.lines().len(), 21);
    let other = registry
        .catalog_of(&cx, &fake.host)
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    let report = format!("{}\n{}", shown(&error, &[&fake]), shown(&other, &[&fake]));
    insta::assert_snapshot!(report, @"
    [Exhausted] the list of tags of `HOST0/a/b` is larger than the limit of 20480 bytes
    [Exhausted] the list of repositories of `HOST0` is larger than the limit of 20480 bytes
    ");
}

#[tokio::test]
async fn repositories_come_in_pages() {
    let fake = Fake::new(|request, _| match &*request.target {
        "/v2/_catalog?n=1000" => Reply::new(200)
            .header("link", "</v2/_catalog?last=a%2Fb&n=1000>; rel=\"next\"")
            .body(r#"{"repositories":["a/b"]}"#),
        _ => Reply::new(200).body(r#"{"repositories":["c"]}"#),
    })
    .await;
    let all: Vec<_> = quick()
        .build()
        .catalog_of(&Cx::default(), &fake.host)
        .map_ok(|name| name.path().to_string())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all, ["a/b", "c"]);
    assert_eq!(fake.lines()[1], "GET /v2/_catalog?last=a%2Fb&n=1000");
}

#[tokio::test]
async fn a_list_of_empty_pages_ends() {
    let fake = Fake::new(|_, n| {
        Reply::new(200)
            .header("link", format!("<?n={n}>; rel=next"))
            .body("{}")
    })
    .await;
    let registry = quick().build();
    let error = tags(&*store(&registry, &fake)).await.unwrap_err();
    assert!(shown(&error, &[]).contains("100 empty pages in a row"));
}

#[tokio::test]
async fn repositories_are_listed_for_hosts_with_a_name() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let host = server.addr().to_string();
    let (cx, registry) = (
        Cx::default(),
        quick()
            .host(&host, ociregistry::HostOptions::default())
            .build(),
    );
    let mut expected = Vec::new();
    for path in ["a/b", "c"] {
        let name = format!("{host}/{path}").parse().unwrap();
        let fixture = ocicore::conformance::Fixture::image();
        fixture
            .fill(&cx, &*registry.repository(&name).unwrap())
            .await
            .unwrap();
        expected.push(name);
    }
    assert_eq!(
        registry.catalog(&cx).try_collect::<Vec<_>>().await.unwrap(),
        expected
    );
    assert_eq!(
        registry
            .catalog_of(&cx, &host)
            .try_collect::<Vec<_>>()
            .await
            .unwrap(),
        expected
    );
    let nobody = quick()
        .build()
        .catalog(&cx)
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    insta::assert_snapshot!(shown(&nobody, &[]), @"
    [Unsupported] failed to list `repositories` in all registries
        no host was named to the client
    ");
}

#[tokio::test]
async fn referrers_come_in_pages_and_errors_are_no_empty_list() {
    let entry = |n: usize| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{n},"artifactType":"x/y"}}"#,
            MediaType::OCI_MANIFEST,
            Digest::of(n.to_string().as_bytes())
        )
    };
    let fake = Fake::new(move |_, n| {
        let reply = Reply::new(200)
            .header("content-type", MediaType::OCI_INDEX)
            .body(format!(
                r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                entry(n)
            ));
        if n < 2 {
            reply.header("link", format!("<?page={n}>; rel=\"next\""))
        } else {
            reply
        }
    })
    .await;
    let (cx, registry) = (Cx::default(), quick().build());
    let subject = Digest::of(b"subject");
    let listed = store(&registry, &fake)
        .referrers(&cx, &subject)
        .await
        .unwrap();
    assert_eq!(
        listed.iter().map(Descriptor::size).collect::<Vec<_>>(),
        [0, 1, 2]
    );

    let fake = Fake::new(move |_, _| {
        // Not filtered: the client does it.
        let other = entry(7).replace("x/y", "x/z");
        let body = format!(r#"{{"manifests":[{},{other}]}}"#, entry(3));
        Reply::new(200).body(body)
    })
    .await;
    let (kind, repository) = ("x/z".parse().unwrap(), at(&fake));
    let listed = registry
        .referrers_of_type(&cx, &repository, &subject, &kind)
        .await
        .unwrap();
    assert_eq!(listed.iter().map(Descriptor::size).collect::<Vec<_>>(), [7]);
    assert_eq!(
        fake.lines(),
        [format!(
            "GET /v2/a/b/referrers/{subject}?artifactType=x%2Fz"
        )]
    );

    for (status, asked) in [(401, 1), (403, 1), (400, 1), (500, 3)] {
        let fake = Fake::new(move |_, _| Reply::error(status, "DENIED", "no")).await;
        let error = store(&registry, &fake)
            .referrers(&cx, &subject)
            .await
            .unwrap_err();
        assert!(shown(&error, &[&fake]).contains(&status.to_string()));
        assert_eq!(fake.lines().len(), asked, "{status}");
    }
    // Neither is a list under a tag that one may not read.
    let fake = Fake::new(|request, _| match request.target.contains("/referrers/") {
        true => Reply::new(404),
        false => Reply::error(403, "DENIED", "no"),
    })
    .await;
    let error = store(&registry, &fake)
        .referrers(&cx, &subject)
        .await
        .unwrap_err();
    assert!(shown(&error, &[&fake]).contains("403"), "{error:?}");
    let fake = Fake::new(|_, _| Reply::new(404)).await;
    assert_eq!(
        store(&registry, &fake)
            .referrers(&cx, &subject)
            .await
            .unwrap(),
        []
    );
    let tag = format!("GET /v2/a/b/manifests/sha256-{}", subject.hex());
    assert_eq!(fake.lines()[1], tag);
}

/// What listing referrers gives with a limit of 20 KiB, and how many requests there were.
async fn referrers_of(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (String, usize) {
    let fake = Fake::new(move |_, n| reply(n)).await;
    let limits = ocicore::SizeLimits::default().with_config(20 << 10);
    let registry = quick().limits(limits).build();
    let subject = Digest::of(b"subject");
    let error = store(&registry, &fake)
        .referrers(&Cx::default(), &subject)
        .await
        .unwrap_err();
    let text = shown(&error, &[&fake]).replace(&subject.to_string(), "SUBJECT");
    (text, fake.lines().len())
}

#[tokio::test]
async fn a_list_of_referrers_without_an_end_ends() {
    const LIMIT: &str = "[Exhausted] the list of referrers of `SUBJECT` in `HOST0/a/b` is larger than the limit of 20480 bytes";
    let page = |link: String| {
        let body = format!(r#"{{"manifests":[]{}}}"#, " ".repeat(100));
        Reply::new(200).header("link", link).body(body)
    };
    // Each page counts as a kibibyte at least.
    let endless = referrers_of(move |n| page(format!("<?n={n}>; rel=next"))).await;
    assert_eq!(endless, (LIMIT.to_owned(), 21));
    let circle = referrers_of(move |n| page(format!("<?n={}>; rel=next", n % 2))).await;
    assert_eq!(circle, (LIMIT.to_owned(), 21));
    let large = referrers_of(|n| {
        let body = format!(r#"{{"manifests":[]{}}}"#, " ".repeat(15_000));
        Reply::new(200)
            .header("link", format!("<?n={n}>; rel=next"))
            .body(body)
    });
    assert_eq!(large.await, (LIMIT.to_owned(), 2));

    let (same, asked) = referrers_of(move |_| page("<?n=1>; rel=next".to_owned())).await;
    assert_eq!(asked, 2);
    insta::assert_snapshot!(same, @"
    [Invalid] failed to list `SUBJECT` in HOST0/a/b
        `HOST0/a/b` breaks the protocol: the next page of its list is the same again
    ");
    let huge = referrers_of(|_| Reply::new(200).body(" ".repeat(30_000)))
        .await
        .0;
    insta::assert_snapshot!(huge, @"[Exhausted] the list of `HOST0/a/b` is larger than the limit of 20480 bytes");
}

/// A registry that keeps no list of referrers, of which one is deleted while somebody else writes.
#[tokio::test]
async fn a_list_that_others_change_is_changed_again() {
    let subject = Digest::of(b"subject");
    let json = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "x/y",
        "config": {"mediaType": MediaType::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 7},
    });
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
    let entry = |digest: &Digest| json!({"mediaType": MediaType::OCI_MANIFEST, "digest": digest, "size": 3, "more": 1});
    let (ours, others) = (entry(manifest.digest()), entry(&Digest::of(b"other")));
    let list = |entries: Vec<serde_json::Value>| {
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries, "annotations": {"a": "b"}}).to_string()
    };
    let now = Mutex::new((0, list(vec![ours.clone()])));
    let (raw, both) = (manifest.clone(), list(vec![ours, others.clone()]));
    let tag = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
    let fake = Fake::new(move |request, _| {
        let mut now = now.lock().unwrap();
        let found = |body: Vec<u8>, kind: &MediaType| {
            Reply::new(200).header("content-type", kind).body(body)
        };
        match (&*request.method, request.target == tag) {
            ("GET", true) => found(now.1.clone().into_bytes(), &MediaType::OCI_INDEX),
            ("GET", false) => found(raw.bytes().to_vec(), &MediaType::OCI_MANIFEST),
            ("PUT", _) => {
                // The first one is overwritten at once by whoever read the list before.
                now.1 = match now.0 {
                    0 => both.clone(),
                    _ => String::from_utf8(request.body.clone()).unwrap(),
                };
                now.0 += 1;
                Reply::new(201)
            }
            _ => Reply::new(202),
        }
    })
    .await;
    let (cx, registry) = (Cx::default(), quick().build());
    let name = ocicore::Name::Digest(*manifest.digest());
    store(&registry, &fake).delete(&cx, &name).await.unwrap();
    let methods: Vec<_> = fake.requests().iter().map(|r| r.method.clone()).collect();
    assert_eq!(
        methods,
        ["GET", "GET", "PUT", "GET", "GET", "PUT", "GET", "DELETE"]
    );
    let last: serde_json::Value = serde_json::from_slice(&fake.requests()[5].body).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&list(vec![others])).unwrap();
    assert_eq!(last, expected);
}
