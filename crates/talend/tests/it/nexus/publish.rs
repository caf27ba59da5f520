use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ocicore::{Class, Cx};
use talend::nexus::{Error, PublishLayout, PublishSpec, publish};

use super::{
    archive, client,
    server::{Answer, Server},
};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A repository whose released files cannot be replaced, as Nexus 3 has it: 400, and the reason in
/// the page's title.
async fn releases(files: &Files) -> Server {
    let files = Arc::clone(files);
    Server::start(move |asked, _| {
        let mut files = files.lock().unwrap();
        let there = files.get(&asked.path).cloned();
        match (asked.method.as_str(), there) {
            ("PUT", Some(_)) if !asked.path.contains("maven-metadata.xml") => Answer::new(
                400,
                "<html><title>400 - Repository does not allow updating assets: releases</title>",
            ),
            ("PUT", _) => {
                files.insert(asked.path.clone(), asked.body.clone());
                Answer::new(201, "")
            }
            (_, Some(content)) => Answer::new(200, content),
            (_, None) => Answer::new(404, ""),
        }
    })
    .await
}

fn spec() -> PublishSpec {
    PublishSpec::new("org.example:orders:1.2".parse().unwrap())
}

#[tokio::test]
async fn a_release_is_published_once() {
    let files = Files::default();
    let server = releases(&files).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.tgz");
    std::fs::write(&path, archive(300_000)).unwrap();
    let (cx, client) = (Cx::default(), client());
    let first = publish(&cx, &client, &server.base, &spec(), &path)
        .await
        .unwrap();
    assert_eq!(first.written.len(), 11);
    let stored = files.lock().unwrap().clone();
    assert_eq!(
        stored["/org/example/orders/1.2/orders-1.2.tgz"],
        archive(300_000)
    );
    let puts: Vec<_> = server
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("PUT"))
        .collect();
    assert!(
        puts[0].ends_with(".tgz") && puts[8].ends_with("maven-metadata.xml"),
        "{puts:?}"
    );

    // A run that was cut short is run again.
    files
        .lock()
        .unwrap()
        .remove("/org/example/orders/1.2/orders-1.2.pom.sha1");
    let second = publish(&cx, &client, &server.base, &spec(), &path)
        .await
        .unwrap();
    assert_eq!(second.present.len(), 7);
    assert!(
        second
            .written
            .iter()
            .any(|place| place.ends_with(".pom.sha1"))
    );

    std::fs::write(&path, archive(300_001)).unwrap();
    let error = publish(&cx, &client, &server.base, &spec(), &path)
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    insta::assert_snapshot!(error.to_string().replace(&server.base, "http://HOST"));
    let after = files.lock().unwrap().clone();
    assert_eq!(
        after["/org/example/orders/1.2/orders-1.2.tgz"],
        archive(300_000),
        "it stays"
    );
}

#[tokio::test]
async fn what_a_repository_refuses_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.tgz");
    std::fs::write(&path, archive(2000)).unwrap();
    let mut shown = String::new();
    for status in [
        200, 201, 204, 301, 400, 401, 403, 404, 405, 409, 413, 500, 507,
    ] {
        let server = Server::start(move |asked, _| match asked.method.as_str() {
            "PUT" => Answer::new(status, ""),
            _ => Answer::new(404, ""),
        })
        .await;
        let spec = spec().with_layout(PublishLayout::Original);
        let done = publish(&Cx::default(), &client(), &server.base, &spec, &path).await;
        let done = match done {
            Ok(published) => format!("{} files", published.written.len()),
            Err(error) => format!("{:?}: {error}", error.class()),
        };
        shown += &format!("{status}: {}\n", done.replace(&server.base, "http://HOST"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn an_archive_that_is_not_there_is_named() {
    let missing = std::path::Path::new("/nowhere/orders.tgz");
    let done = publish(
        &Cx::default(),
        &client(),
        "http://127.0.0.1:1",
        &spec(),
        missing,
    )
    .await;
    let error = done.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(error.class(), Class::NotFound);
}
