//! Pulling, listing and deleting over HTTP (distribution-spec §Pull, §Content Discovery, §Content
//! Management).

use ocicore::{Digest, MediaType};
use serde_json::{Value, json};

use crate::client::{Peer, descriptor, header};

#[tokio::test]
async fn a_manifest_is_had_by_tag_and_digest() {
    Peer::each(async |peer| {
        let image = peer.push_image("a/b", "1", b"layer").await;
        let digest = Digest::of(image.as_bytes());
        for reference in [
            "1".to_owned(),
            digest.to_string(),
            "1?ns=docker.io".to_owned(),
        ] {
            let path = format!("/v2/a/b/manifests/{reference}");
            for method in ["GET", "HEAD"] {
                let found = peer
                    .request(method, &path)
                    .header("accept", "application/x-none")
                    .send()
                    .await
                    .unwrap();
                assert_eq!(found.status(), 200);
                assert_eq!(header(&found, "content-length"), image.len().to_string());
                assert_eq!(
                    header(&found, "content-type"),
                    MediaType::OCI_MANIFEST.as_str()
                );
                assert_eq!(header(&found, "docker-content-digest"), digest.to_string());
                let body = if method == "GET" { image.as_str() } else { "" };
                assert_eq!(found.text().await.unwrap(), body);
            }
            let again = peer
                .request("GET", &path)
                .header("if-none-match", format!("\"{digest}\""));
            assert_eq!(again.send().await.unwrap().status(), 304);
        }
        peer.refused("GET", "/v2/a/b/manifests/2", 404, "MANIFEST_UNKNOWN")
            .await;
        peer.refused(
            "GET",
            &format!("/v2/a/manifests/{digest}"),
            404,
            "MANIFEST_UNKNOWN",
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_had_by_range() {
    Peer::each(async |peer| {
        let digest = peer.push_blob("a", b"0123456789").await;
        let path = format!("/v2/a/blobs/{digest}");
        for (range, status, content_range, text) in [
            ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
            ("bytes=8-", 206, "bytes 8-9/10", "89"),
            ("bytes=-2", 206, "bytes 8-9/10", "89"),
            ("bytes=5-100", 206, "bytes 5-9/10", "56789"),
            ("bytes=0-1,3-4", 200, "", "0123456789"),
            ("lines=1-2", 200, "", "0123456789"),
        ] {
            let found = peer
                .request("GET", &path)
                .header("range", range)
                .send()
                .await
                .unwrap();
            assert_eq!(found.status(), status, "{range}");
            assert_eq!(header(&found, "content-range"), content_range, "{range}");
            assert_eq!(header(&found, "content-length"), text.len().to_string());
            assert_eq!(found.text().await.unwrap(), text, "{range}");
        }
        for range in ["bytes=10-", "bytes=5-0", "bytes=-0"] {
            let found = peer
                .request("GET", &path)
                .header("range", range)
                .send()
                .await
                .unwrap();
            assert_eq!(header(&found, "content-range"), "bytes */10");
            crate::client::expect_fault(found, 416, "RANGE_INVALID").await;
        }
    })
    .await;
}

/// Large ones are read piece by piece, small ones are kept in memory.
#[tokio::test]
async fn a_large_blob_is_had_by_range() {
    Peer::each(async |peer| {
        let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let path = format!("/v2/a/blobs/{}", peer.push_blob("a", &content).await);
        for (range, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=131071-131072", 131_071..131_073),
            ("bytes=262144-", 262_144..1_000_000),
            ("bytes=-500000", 500_000..1_000_000),
            ("bytes=999999-2000000", 999_999..1_000_000),
        ] {
            let found = peer.request("GET", &path).header("range", range);
            let found = found.send().await.unwrap();
            assert_eq!(found.status(), 206, "{range}");
            let (first, last) = (part.start, part.end - 1);
            let expected = format!("bytes {first}-{last}/1000000");
            assert_eq!(header(&found, "content-range"), expected);
            assert!(found.bytes().await.unwrap() == content[part], "{range}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_is_that_of_the_whole_answer() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        let (digest, blob) = (Digest::of(image.as_bytes()), Digest::of(b"layer"));
        for path in [
            "/v2/".to_owned(),
            "/v2/_catalog".to_owned(),
            "/v2/a/tags/list".to_owned(),
            "/v2/a/manifests/1".to_owned(),
            format!("/v2/a/manifests/{digest}"),
            format!("/v2/a/blobs/{blob}"),
            format!("/v2/a/referrers/{digest}"),
            "/v2/b/tags/list".to_owned(),
            "/v2/a/manifests/2".to_owned(),
            "/healthz".to_owned(),
        ] {
            // A range is none of `HEAD` (RFC 9110 §14.2).
            let head = peer.request("HEAD", &path).header("range", "bytes=0-0");
            let (head, get) = (head.send().await.unwrap(), peer.send("GET", &path).await);
            assert_eq!(head.status(), get.status(), "{path}");
            for name in ["content-type", "docker-content-digest", "etag"] {
                assert_eq!(header(&head, name), header(&get, name), "{path}");
            }
            let length = header(&head, "content-length");
            assert!(head.bytes().await.unwrap().is_empty());
            let body = get.bytes().await.unwrap();
            assert_eq!(length, body.len().to_string(), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_manifest_may_have_a_longer_digest() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        let digest = ocicore::Algorithm::Sha512.digest(image.as_bytes());
        let put = async |reference: &str, manifest: &str| {
            peer.put_manifest("a", reference, MediaType::OCI_MANIFEST, manifest)
                .await
        };
        let pushed = put(&format!("{digest}?tag=long"), &image).await;
        assert_eq!(pushed.status(), 201);
        assert_eq!(header(&pushed, "docker-content-digest"), digest.to_string());
        for reference in [digest.to_string(), "long".to_owned()] {
            let path = format!("/v2/a/manifests/{reference}");
            let found = peer.send("GET", &path).await;
            assert_eq!(header(&found, "docker-content-digest"), digest.to_string());
            assert_eq!(found.text().await.unwrap(), image);
        }
        let other = ocicore::Algorithm::Sha512.digest(b"other");
        let refused = put(&other.to_string(), &image).await;
        crate::client::expect_fault(refused, 400, "DIGEST_INVALID").await;

        let mut subject = descriptor(MediaType::OCI_MANIFEST, image.as_bytes());
        subject["digest"] = digest.to_string().into();
        let referrer = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": descriptor("x/sig".parse().unwrap(), b"{}"),
            "layers": [],
            "subject": subject,
        })
        .to_string();
        let pushed = put("signature", &referrer).await;
        assert_eq!(header(&pushed, "oci-subject"), digest.to_string());
        let list: Value = peer
            .send("GET", &format!("/v2/a/referrers/{digest}"))
            .await
            .json()
            .await
            .unwrap();
        let expected = Digest::of(referrer.as_bytes()).to_string();
        assert_eq!(list["manifests"][0]["digest"], expected);

        let path = format!("/v2/a/manifests/{digest}");
        assert_eq!(peer.send("DELETE", &path).await.status(), 202);
        peer.refused("GET", "/v2/a/manifests/long", 404, "MANIFEST_UNKNOWN")
            .await;
        // The same bytes under their other digest are another manifest.
        let found = peer.send("GET", "/v2/a/manifests/1").await;
        assert_eq!(found.text().await.unwrap(), image);
    })
    .await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    Peer::each(async |peer| {
        for tag in ["b", "a", "c.1", "C", "_x"] {
            peer.push_image("r/s", tag, b"layer").await;
        }
        peer.push_image("r", "x", b"layer").await;
        for (list, field, all) in [
            (
                "/v2/r/s/tags/list",
                "tags",
                json!(["C", "_x", "a", "b", "c.1"]),
            ),
            ("/v2/_catalog", "repositories", json!(["r", "r/s"])),
        ] {
            for n in 1..6 {
                let (mut next, mut found) = (Some(format!("{list}?n={n}")), Vec::new());
                while let Some(path) = next {
                    let page = peer.send("GET", &path).await;
                    next = header(&page, "link")
                        .strip_prefix('<')
                        .and_then(|link| link.split_once('>'))
                        .map(|(path, rel)| {
                            assert_eq!(rel, "; rel=\"next\"");
                            path.to_owned()
                        });
                    let page: Value = page.json().await.unwrap();
                    let items = page[field].as_array().unwrap();
                    assert!((1..=n).contains(&items.len()));
                    found.extend(items.clone());
                }
                assert_eq!(Value::from(found), all, "{list} by {n}");
            }
            let none: Value = peer
                .send("GET", &format!("{list}?n=0"))
                .await
                .json()
                .await
                .unwrap();
            assert_eq!(none[field], json!([]));
            peer.refused("GET", &format!("{list}?n=-1"), 400, "UNSUPPORTED")
                .await;
        }
        for (last, rest) in [
            ("aa", &["b", "c.1"][..]),
            ("c.1", &[]),
            // What is no tag has a place among them, too.
            ("b%2B", &["c.1"]),
            ("-", &["C", "_x", "a", "b", "c.1"]),
            ("~", &[]),
        ] {
            let path = format!("/v2/r/s/tags/list?last={last}");
            let page: Value = peer.send("GET", &path).await.json().await.unwrap();
            assert_eq!(page["tags"], json!(rest), "{last}");
        }
        peer.refused("GET", "/v2/none/tags/list", 404, "NAME_UNKNOWN")
            .await;
    })
    .await;
}

#[tokio::test]
async fn referrers_are_listed() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        let subject = Digest::of(image.as_bytes());
        let path = format!("/v2/a/referrers/{subject}");
        let list = async |query: &str| {
            let found = peer.send("GET", &format!("{path}{query}")).await;
            assert_eq!(found.status(), 200);
            assert_eq!(
                header(&found, "content-type"),
                MediaType::OCI_INDEX.as_str()
            );
            let applied = header(&found, "oci-filters-applied");
            assert_eq!(applied == "artifactType", query.contains("artifactType"));
            (header(&found, "link"), found.json::<Value>().await.unwrap())
        };
        assert_eq!(list("").await.1["manifests"], json!([]));
        peer.push_blob("a", b"{}").await;
        let mut digests = Vec::new();
        for (artifact_type, note) in [
            (Some("x/sbom"), "one"),
            (Some("x/sig"), "two"),
            (None, "three"),
        ] {
            let mut manifest = json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OCI_MANIFEST,
                "config": descriptor("x/config".parse().unwrap(), b"{}"),
                "layers": [],
                "subject": descriptor(MediaType::OCI_MANIFEST, image.as_bytes()),
                "annotations": { "note": note },
            });
            if let Some(artifact_type) = artifact_type {
                manifest["artifactType"] = artifact_type.into();
            }
            let manifest = manifest.to_string();
            let digest = Digest::of(manifest.as_bytes());
            let put = peer
                .put_manifest("a", &digest.to_string(), MediaType::OCI_MANIFEST, &manifest)
                .await;
            assert_eq!(header(&put, "oci-subject"), subject.to_string());
            digests.push((
                digest,
                artifact_type.unwrap_or("x/config"),
                note,
                manifest.len(),
            ));
        }
        let (_, all) = list("").await;
        assert_eq!(all["manifests"].as_array().unwrap().len(), 3);
        for (digest, artifact_type, note, size) in &digests {
            let (_, found) = list(&format!("?artifactType={artifact_type}")).await;
            let expected = json!([{
                "mediaType": MediaType::OCI_MANIFEST,
                "digest": digest,
                "size": size,
                "artifactType": artifact_type,
                "annotations": { "note": note },
            }]);
            assert_eq!(found["manifests"], expected);
        }
        let (link, first) = list("?n=2").await;
        assert_eq!(first["manifests"].as_array().unwrap().len(), 2);
        let next = link.split(['<', '>']).nth(1).unwrap().replace(&path, "");
        let (link, rest) = list(&next).await;
        assert_eq!(rest["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(link, "");

        let gone = format!("/v2/a/manifests/{}", digests[0].0);
        assert_eq!(peer.send("DELETE", &gone).await.status(), 202);
        assert_eq!(list("").await.1["manifests"].as_array().unwrap().len(), 2);
    })
    .await;
}

/// A list that is larger than a manifest comes in parts, whatever `n` says.
#[tokio::test]
async fn large_referrers_come_in_pages() {
    Peer::each(async |peer| {
        let subject = Digest::of(b"subject");
        peer.push_blob("a", b"{}").await;
        for n in 0..3 {
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OCI_MANIFEST,
                "config": descriptor("x/sig".parse().unwrap(), b"{}"),
                "layers": [],
                "subject": descriptor(MediaType::OCI_MANIFEST, b"subject"),
                "annotations": { "note": n.to_string().repeat(1_900_000) },
            });
            let (tag, manifest) = (n.to_string(), manifest.to_string());
            let put = peer.put_manifest("a", &tag, MediaType::OCI_MANIFEST, &manifest);
            assert_eq!(put.await.status(), 201);
        }
        let mut next = Some(format!("/v2/a/referrers/{subject}"));
        let (mut found, mut pages) = (Vec::new(), 0);
        while let Some(path) = next {
            let page = peer.send("GET", &path).await;
            let link = header(&page, "link");
            next = link.split(['<', '>']).nth(1).map(str::to_owned);
            let page = page.text().await.unwrap();
            assert!(page.len() < (4 << 20) + 1000, "{} bytes", page.len());
            let page: Value = serde_json::from_str(&page).unwrap();
            for one in page["manifests"].as_array().unwrap() {
                let note = one["annotations"]["note"].as_str().unwrap();
                found.push(note.chars().next().unwrap());
            }
            pages += 1;
        }
        found.sort_unstable();
        assert_eq!((found, pages), (vec!['0', '1', '2'], 2));
    })
    .await;
}

#[tokio::test]
async fn tags_and_manifests_are_deleted() {
    Peer::each(async |peer| {
        let image = peer.push_image("a", "1", b"layer").await;
        peer.push_image("a", "2", b"layer").await;
        peer.push_image("a", "3", b"another layer").await;
        let digest = Digest::of(image.as_bytes());
        assert_eq!(peer.send("DELETE", "/v2/a/manifests/1").await.status(), 202);
        peer.refused("GET", "/v2/a/manifests/1", 404, "MANIFEST_UNKNOWN")
            .await;
        peer.refused("DELETE", "/v2/a/manifests/1", 404, "MANIFEST_UNKNOWN")
            .await;
        let path = format!("/v2/a/manifests/{digest}");
        assert_eq!(peer.send("GET", &path).await.status(), 200);
        assert_eq!(peer.send("DELETE", &path).await.status(), 202);
        peer.refused("GET", &path, 404, "MANIFEST_UNKNOWN").await;
        let tags: Value = peer
            .send("GET", "/v2/a/tags/list")
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(tags["tags"], json!(["3"]));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_endpoint_is_told_so() {
    let peer = Peer::memory().await;
    let digest = Digest::of(b"");
    for (method, path, status) in [
        ("POST", "/v2/".to_owned(), 405),
        ("PUT", format!("/v2/a/blobs/{digest}"), 405),
        ("POST", "/v2/a/manifests/1".to_owned(), 405),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), 405),
        ("GET", "/v2/a".to_owned(), 404),
        ("GET", "/nothing".to_owned(), 404),
    ] {
        let response = peer.send(method, &path).await;
        assert_eq!(header(&response, "allow").is_empty(), status == 404);
        crate::client::expect_fault(response, status, "UNSUPPORTED").await;
    }
    let base = peer.send("GET", "/v2/").await;
    assert_eq!(
        header(&base, "docker-distribution-api-version"),
        "registry/2.0"
    );
}
