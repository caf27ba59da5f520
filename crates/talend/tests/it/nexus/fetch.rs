use std::{fs, time::Duration};

use ocicore::{Cx, Digest};
use talend::nexus::{
    Cache, ChecksumAlgorithm, Client, Credentials, Error, Logins, Origin, Repository, fetch,
};

use super::{
    all, archive, client, coordinates, one, options,
    server::{Answer, Server},
    url,
};

fn hex(digest: Digest) -> String {
    digest.hex()
}

/// A server with one file and its SHA-256 beside it.
async fn with_checksum(path: &'static str, content: Vec<u8>) -> Server {
    let sum = hex(Digest::of(&content));
    Server::start(move |asked, _| match asked.path.strip_prefix(path) {
        Some("") => Answer::part(&content, asked),
        Some(".sha256") => Answer::new(200, sum.clone()),
        _ => Answer::new(404, ""),
    })
    .await
}

#[tokio::test]
async fn a_job_is_verified_and_fetched_once() {
    let folder = tempfile::tempdir().unwrap();
    let content = archive(300_000);
    let server = with_checksum("/a/load-0.1.0.zip", content.clone()).await;
    let source = url(format!("{}/a/load-0.1.0.zip", server.base));
    let first = one(&client(), source.clone(), &[], folder.path())
        .await
        .unwrap();
    assert_eq!(fs::read(&first.path).unwrap(), content);
    assert_eq!(first.file_name, "load-0.1.0.zip");
    assert_eq!(first.verified, Some(ChecksumAlgorithm::Sha256));
    assert_eq!(first.origin, Origin::Downloaded { from: 0 });
    assert_eq!(first.digest, Digest::of(&content));
    let second = one(&client(), source.clone(), &[], folder.path())
        .await
        .unwrap();
    assert_eq!(second.origin, Origin::Cache);
    assert_eq!(second.path, first.path);
    let gets = |server: &Server| {
        let lines = server.lines();
        lines.iter().filter(|line| line.ends_with(".zip")).count()
    };
    assert_eq!(gets(&server), 1);
    // A cache that was tampered with is not believed.
    fs::write(&first.path, b"PK\x03\x04 something else").unwrap();
    let third = one(&client(), source, &[], folder.path()).await.unwrap();
    assert_eq!(third.origin, Origin::Downloaded { from: 0 });
    assert_eq!(fs::read(&third.path).unwrap(), content);
    assert_eq!(gets(&server), 2);
}

#[tokio::test]
async fn a_snapshot_is_its_newest_build() {
    let folder = tempfile::tempdir().unwrap();
    let content = archive(1000);
    let (file, metadata) = (
        "/r/org/example/load/0.1.0-SNAPSHOT/load-0.1.0-20180620.090617-2.zip",
        "<metadata><versioning><snapshot><timestamp>20180620.090617</timestamp>\
         <buildNumber>2</buildNumber></snapshot></versioning></metadata>",
    );
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        path if path == file => Answer::new(200, content.clone()),
        "/r/org/example/load/0.1.0-SNAPSHOT/maven-metadata.xml" => Answer::new(200, metadata),
        "/r/org/example/load/maven-metadata.xml" => Answer::new(
            200,
            "<metadata><versioning><latest>0.1.0-SNAPSHOT</latest></versioning></metadata>",
        ),
        _ => Answer::new(404, ""),
    })
    .await;
    let repositories = [
        Repository::maven(&format!("{}/empty", server.base)).unwrap(),
        Repository::maven(&format!("{}/r/", server.base)).unwrap(),
    ];
    for version in ["0.1.0-SNAPSHOT", "0.1.0-20180620.090617-2", "LATEST"] {
        let source = coordinates(&format!("org.example:load:{version}"));
        let fetched = one(&client(), source, &repositories, folder.path()).await;
        let fetched = fetched.unwrap();
        assert_eq!(fetched.file_name, "load-0.1.0-20180620.090617-2.zip");
        assert_eq!(fetched.verified, None, "there is no checksum");
    }
    let missing = coordinates("org.example:load:9");
    let error = one(&client(), missing, &repositories, folder.path())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string().replace(&server.base, "http://HOST"),
        "`org.example:load:9` is in no repository: looked in `http://HOST/empty/`, `http://HOST/r/`"
    );
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_was_cut() {
    let content = archive(300_000);
    let sum = hex(Digest::of(&content));
    let there = content.clone();
    let server = Server::start(move |asked, before| match asked.path.as_str() {
        "/load-0.1.zip" => {
            let answer = Answer::part(&there, asked).with("etag", "\"one\"");
            match before {
                0 => answer.cut(100_000),
                1 => answer.cut(50_000),
                _ => answer,
            }
        }
        "/load-0.1.zip.sha256" => Answer::new(200, sum.clone()),
        _ => Answer::new(404, ""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let fetched = one(&client(), source, &[], folder.path()).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    let asked = server.asked();
    let parts = asked.iter().filter(|one| one.path.ends_with(".zip"));
    let ranges: Vec<_> = parts
        .map(|one| (one.from(), one.header("if-range").map(str::to_owned)))
        .collect();
    let tag = Some("\"one\"".to_owned());
    assert_eq!(ranges, [(0, None), (100_000, tag.clone()), (150_000, tag)]);
}

#[tokio::test]
async fn a_later_run_goes_on_where_the_last_one_was_cut() {
    let content = archive(300_000);
    let sum = hex(Digest::of(&content));
    let there = content.clone();
    let server = Server::start(move |asked, before| match asked.path.as_str() {
        "/load-0.1.zip" if before == 0 => Answer::part(&there, asked).cut(200_000),
        "/load-0.1.zip" if before < 3 => Answer::new(503, "busy"),
        "/load-0.1.zip" => Answer::part(&there, asked),
        "/load-0.1.zip.sha256" => Answer::new(200, sum.clone()),
        _ => Answer::new(404, ""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let error = one(&client(), source.clone(), &[], folder.path())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Server { status: 503, .. }),
        "{error}"
    );
    let fetched = one(&client(), source, &[], folder.path()).await.unwrap();
    assert_eq!(fetched.origin, Origin::Downloaded { from: 200_000 });
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    let left = fs::read_dir(folder.path().join("partial")).unwrap().count();
    assert_eq!(left, 0, "nothing partial stays");
}

#[tokio::test]
async fn servers_without_ranges_are_read_again() {
    let content = archive(300_000);
    let there = content.clone();
    let server = Server::start(move |asked, before| match asked.path.as_str() {
        "/load-0.1.zip" if before == 0 => Answer::new(200, there.clone()).cut(200_000),
        "/load-0.1.zip" => Answer::new(200, there.clone()),
        _ => Answer::new(404, ""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let fetched = one(&client(), source, &[], folder.path()).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
}

#[tokio::test]
async fn credentials_go_to_their_host_and_no_further() {
    let content = archive(1000);
    let there = content.clone();
    let elsewhere = Server::start(move |_, _| Answer::new(200, there.clone())).await;
    let target = format!("{}/blob", elsewhere.base);
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/load-0.1.zip" => Answer::new(302, "").with("location", target.clone()),
        _ => Answer::new(404, ""),
    })
    .await;
    let host = server.base.strip_prefix("http://").unwrap();
    // Both servers have one host name: the port makes the origin.
    let logins = Logins::default().with(host, Credentials::new("me", "hunter2"));
    let client = Client::new(options().with_logins(logins));
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let fetched = one(&client, source, &[], folder.path()).await.unwrap();
    assert_eq!(
        fetched.file_name, "load-0.1.zip",
        "that of the address asked for"
    );
    let all = server.asked();
    assert!(
        all.iter()
            .all(|one| one.header("authorization") == Some("Basic bWU6aHVudGVyMg=="))
    );
    let others = elsewhere.asked();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].header("authorization"), None);
    assert!(!format!("{client:?}").contains("hunter2"));
}

#[tokio::test]
async fn all_that_fails_is_reported_and_the_rest_is_kept() {
    let content = archive(1000);
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/good-0.1.zip" => Answer::new(200, content.clone()),
        "/secret-0.1.zip" => Answer::new(401, ""),
        "/forbidden-0.1.zip" => Answer::new(403, "<title>403 - not for you</title>"),
        "/broken-0.1.zip" => Answer::new(500, "out of order"),
        "/page-0.1.zip" => {
            let page = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
            Answer::new(200, page).with("content-type", "text/html")
        }
        _ => Answer::new(404, ""),
    })
    .await;
    let names = ["good", "secret", "forbidden", "missing", "broken", "page"];
    let sources = names.map(|name| url(format!("{}/{name}-0.1.zip", server.base)));
    let folder = tempfile::tempdir().unwrap();
    let error = all(&client(), &sources, folder.path()).await.unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&server.base, "http://HOST"));
    let Error::Several { failures, .. } = error else {
        panic!("there are several")
    };
    let classes: Vec<_> = failures
        .iter()
        .map(|failure| format!("{} {:?}", failure.index, failure.error.class()))
        .collect();
    insta::assert_snapshot!(classes.join("\n"));
    let kept = fs::read_dir(folder.path().join("sha256")).unwrap().count();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn cancellation_ends_a_download_that_stalls() {
    let content = archive(300_000);
    let server = Server::start(move |asked, _| match asked.path.as_str() {
        "/load-0.1.zip" => Answer::new(200, content.clone()).stall(100_000),
        _ => Answer::new(404, ""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let cx = Cx::default();
    let (client, stop) = (client(), cx.clone());
    let download = fetch(&cx, &client, &source, &[], &cache);
    let cancel = async {
        // Once bytes have come, there is a file of them.
        let partial = folder.path().join("partial");
        let has_bytes = || {
            let entries = fs::read_dir(&partial).unwrap();
            let mut sizes = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
            sizes.any(|size| size > 0)
        };
        while !has_bytes() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let (result, ()) = tokio::join!(download, cancel);
    assert!(matches!(result, Err(Error::Cancelled)));
}
