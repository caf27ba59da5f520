use std::{fs, time::Duration};

use ocicore::Class;
use talend::{
    manifest::Source,
    nexus::{Checksums, Client, ClientOptions, Error},
};

use super::{
    archive, client, coordinates, one, options,
    server::{Answer, Server},
    url,
};

/// The error of one download, with its class, without the server's port.
async fn failure(server: &Server, options: ClientOptions, path: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}{path}", server.base));
    let error = one(&Client::new(options), source, &[], folder.path()).await;
    let error = error.unwrap_err();
    for directory in ["sha256", "partial"] {
        let left = fs::read_dir(folder.path().join(directory)).unwrap().count();
        let is_kept = matches!(error, Error::Truncated { .. } | Error::Stalled { .. });
        assert!(
            left == 0 || is_kept,
            "{error}: `{directory}` has {left} files"
        );
    }
    let text = format!("{:?}: {error}", error.class());
    text.replace(&server.base, "http://HOST")
}

#[tokio::test]
async fn each_fault_of_a_server_is_told_apart() {
    let server = Server::start(|asked, before| {
        let whole = || Answer::new(200, archive(2000));
        let loops = format!("/loop{before}-0.1.zip");
        match asked.path.as_str() {
            "/differs-0.1.zip" | "/page-0.1.zip" | "/big-0.1.zip" | "/none-0.1.zip" => whole(),
            "/differs-0.1.zip.sha1" => Answer::new(200, "0".repeat(40)),
            "/page-0.1.zip.sha512" => Answer::new(200, "<html><title>Sign in</title></html>"),
            "/cut-0.1.zip" => whole().cut(if asked.from() == 0 { 500 } else { 0 }),
            "/slow-0.1.zip" => whole().stall(500),
            "/loop-0.1.zip" => Answer::new(302, "").with("location", "/loop-0.1.zip"),
            "/ftp-0.1.zip" => Answer::new(302, "").with("location", "ftp://h.io/a.zip"),
            "/where-0.1.zip" => Answer::new(302, ""),
            "/teapot-0.1.zip" => Answer::new(418, "{\"error\":\"short and stout\"}"),
            "/empty-0.1.zip" => Answer::new(200, "   ").with("content-type", "text/html"),
            _ => Answer::new(404, loops),
        }
    })
    .await;
    let mut shown = String::new();
    for name in [
        "differs", "page", "cut", "loop", "ftp", "where", "teapot", "empty",
    ] {
        shown += &failure(&server, options(), &format!("/{name}-0.1.zip")).await;
        shown.push('\n');
    }
    let small = options().with_max_size(1000);
    shown += &failure(&server, small, "/big-0.1.zip").await;
    let required = options().with_checksums(Checksums::Required);
    shown += &format!("\n{}", failure(&server, required, "/none-0.1.zip").await);
    let hasty = options()
        .with_stall(Duration::from_millis(200))
        .with_attempts(1, Duration::ZERO);
    shown += &format!("\n{}", failure(&server, hasty, "/slow-0.1.zip").await);
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn content_that_changes_between_two_attempts_is_not_mixed() {
    let (old, new) = (
        archive(3000),
        [b"PK\x03\x04".to_vec(), vec![7; 2996]].concat(),
    );
    let after = new.clone();
    let server = Server::start(move |asked, before| match asked.path.as_str() {
        "/load-0.1.zip" if before == 0 => Answer::new(200, old.clone())
            .with("etag", "\"old\"")
            .cut(1000),
        // `If-Range` does not fit: all of the new content comes.
        "/load-0.1.zip" => Answer::new(200, after.clone()).with("etag", "\"new\""),
        _ => Answer::new(404, ""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("{}/load-0.1.zip", server.base));
    let fetched = one(&client(), source, &[], folder.path()).await.unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), new);
}

#[tokio::test]
async fn nothing_answers_where_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let source = url(format!("http://{address}/load-0.1.zip"));
    let error = one(&client(), source, &[], folder.path())
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Transport { .. }), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn what_names_nothing_to_fetch_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut shown = String::new();
    for source in [
        Source::File("a.zip".to_owned()),
        coordinates("org.example:load:1"),
        url("http://me:hunter2@h.io/a.zip".to_owned()),
    ] {
        let error = one(&client(), source, &[], folder.path())
            .await
            .unwrap_err();
        shown += &format!("{error}\n");
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let source = url("http://127.0.0.1:1/a.zip".to_owned());
    let error = one(&client(), source, &[], &file).await.unwrap_err();
    let shown = error
        .to_string()
        .replace(&folder.path().display().to_string(), "DIR");
    assert_eq!(shown, "failed to create `DIR/file/partial`");
}
