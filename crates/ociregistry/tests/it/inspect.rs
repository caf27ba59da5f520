//! The example program, as a user runs it.

use std::{env, path::Path, process::Output};

use ocicore::{Cx, Repositories, Repository, conformance::Fixture};
use ociregistry::Registry;
use registryd::{Server, storage::MemoryStorage};
use tokio::process::Command;

use crate::support::{fresh, plain};

async fn inspect(args: &[&str]) -> Output {
    let test = env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/inspect");
    assert!(
        program.exists(),
        "run `cargo build -p ociregistry --examples`"
    );
    let nobody = Path::new("/nonexistent");
    Command::new(program)
        .args(args)
        .env("REGISTRY_AUTH_FILE", nobody)
        .output()
        .await
        .unwrap()
}

async fn filled(registry: &Registry, name: &Repository) {
    let store = registry.repository(name).unwrap();
    Fixture::index()
        .fill(&Cx::default(), &*store)
        .await
        .unwrap();
}

fn text(bytes: &[u8], name: &Repository) -> String {
    let text = String::from_utf8_lossy(bytes).replace(&name.to_string(), "NAME");
    text.replace(name.host(), "HOST")
}

#[tokio::test]
async fn a_tree_is_shown() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let name = fresh(&server.addr().to_string());
    filled(&Registry::builder().build(), &name).await;
    let reference = format!("{name}:v1");
    let shown = inspect(&[&reference]).await;
    assert!(shown.status.success(), "{shown:?}");
    insta::assert_snapshot!("tree", text(&shown.stdout, &name));
    let json = inspect(&["--json", &reference]).await;
    insta::assert_snapshot!("json", text(&json.stdout, &name));

    // The same from docker-registry.
    let Some((host, builder)) = plain() else {
        return;
    };
    let name = fresh(&host);
    filled(&builder.build(), &name).await;
    let shown = inspect(&["--plain-http", &format!("{name}:v1")]).await;
    insta::assert_snapshot!("tree", text(&shown.stdout, &name));
}

#[tokio::test]
async fn errors_go_to_the_other_stream() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let name = fresh(&server.addr().to_string());
    let missing = inspect(&[&format!("{name}:v1")]).await;
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
    let error = text(&missing.stderr, &name).replace(name.path().as_str(), "PATH");
    insta::assert_snapshot!(error);
    for (args, code) in [
        (vec![], 2),
        (vec!["a", "b"], 2),
        (vec!["--yaml", "a"], 2),
        (vec!["UPPER"], 2),
        (vec!["--help"], 0),
    ] {
        let output = inspect(&args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}
