//! The library with nginx as a real server.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use e2e::{
    nginx::{Nginx, PASSWORD, USER},
    peer,
};
use ocicore::Cx;
use talend::{
    manifest::Source,
    nexus::{
        Cache, ChecksumAlgorithm, Client, ClientOptions, Credentials, Error, Fetched, Logins,
        Origin, PublishLayout, PublishSpec, Result, fetch, publish,
    },
};

fn options() -> ClientOptions {
    ClientOptions::default().with_attempts(3, Duration::from_millis(1))
}

/// A file that passes for an archive, of some size.
fn archive(size: usize) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(
        (0u32..)
            .map(|n| (n % 251) as u8)
            .take(size.saturating_sub(4)),
    );
    bytes
}

async fn one(client: &Client, url: String, cache: &Path) -> Result<Fetched> {
    let cache = Cache::open(cache)?;
    fetch(&Cx::default(), client, &Source::Url(url), &[], &cache).await
}

fn client(password: &str) -> Client {
    let logins = Logins::default().with("127.0.0.1", Credentials::new(USER, password));
    Client::new(options().with_logins(logins))
}

fn written(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("orders.tgz");
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn nginx_keeps_what_is_published_and_gives_it_back() {
    let Some(program) = peer("NGINX") else { return };
    let nginx = Nginx::start(&program);
    let folder = tempfile::tempdir().unwrap();
    let content = archive(3 << 20);
    let path = written(folder.path(), &content);
    let (cx, client) = (Cx::default(), client(PASSWORD));
    let repository = format!("{}/repository/releases", nginx.base());
    for layout in [PublishLayout::Original, PublishLayout::Maven] {
        let spec = PublishSpec::new("org.example:orders:1.2".parse().unwrap()).with_layout(layout);
        let published = publish(&cx, &client, &repository, &spec, &path)
            .await
            .unwrap();
        let below = published
            .place
            .strip_prefix(&nginx.base())
            .unwrap()
            .to_owned();
        assert_eq!(fs::read(nginx.root().join(&below[1..])).unwrap(), content);
        let cache = folder.path().join(format!("{layout:?}"));
        let fetched = one(&client, published.place.clone(), &cache).await.unwrap();
        assert_eq!(fetched.verified, Some(ChecksumAlgorithm::Sha256));
        assert_eq!(fs::read(&fetched.path).unwrap(), content);
    }
    assert!(
        nginx
            .log()
            .contains("PUT /repository/releases/org/example/1.2/orders-1.2.tgz ")
    );
}

#[tokio::test]
async fn nginx_resumes_and_refuses() {
    let Some(program) = peer("NGINX") else { return };
    let nginx = Nginx::start(&program);
    let content = archive(1 << 20);
    fs::write(nginx.root().join("load-0.1.zip"), &content).unwrap();
    let sum = ocicore::Digest::of(&content).hex();
    fs::write(
        nginx.root().join("load-0.1.zip.sha256"),
        format!("{sum}  load-0.1.zip\n"),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    // What a killed run left behind.
    let partial = folder.path().join("partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join(format!("{sum}.sha256")), &content[..700_000]).unwrap();
    let source = format!("{}/load-0.1.zip", nginx.base());
    let fetched = one(&client(PASSWORD), source.clone(), folder.path())
        .await
        .unwrap();
    assert_eq!(fetched.origin, Origin::Downloaded { from: 700_000 });
    assert_eq!(fs::read(&fetched.path).unwrap(), content);
    assert!(
        nginx
            .log()
            .contains("\"GET /load-0.1.zip HTTP/1.1\" 206 348576"),
        "{}",
        nginx.log()
    );

    // All of it is there, or what is there is of something else.
    for left in [content.clone(), vec![1; 700_000], vec![1; 2 << 20]] {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join("partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join(format!("{sum}.sha256")), &left).unwrap();
        let fetched = one(&client(PASSWORD), source.clone(), folder.path())
            .await
            .unwrap();
        assert_eq!(fs::read(&fetched.path).unwrap(), content);
    }

    let mut shown = String::new();
    for client in [client("wrong"), Client::new(options())] {
        let folder = tempfile::tempdir().unwrap();
        let error = one(&client, source.clone(), folder.path())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        shown += &format!("{error}\n");
    }
    insta::assert_snapshot!(shown.replace(&nginx.base(), "http://HOST"));
}
