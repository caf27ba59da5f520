//! The example program, as a user runs it.

use std::{env, path::Path, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ocicore::{
    Blob, BytesBlob, Cx, MediaType, Place, RawManifest, Repositories, Repository,
    conformance::{Fixture, peer::peer},
};
use ociregistry::Registry;
use registryd::{Server, storage::MemoryStorage};
use serde_json::json;
use tokio::process::Command;

use crate::support::{fresh, plain, secured};

async fn inspect(args: &[&str]) -> Output {
    program(Path::new("/nonexistent"))
        .args(args)
        .output()
        .await
        .unwrap()
}

/// The program, with logins of this file.
fn program(auth: &Path) -> Command {
    let test = env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/inspect");
    assert!(
        program.exists(),
        "run `cargo build -p ociregistry --examples`"
    );
    let mut command = Command::new(program);
    command.env("REGISTRY_AUTH_FILE", auth);
    command
}

#[tokio::test]
async fn sizes_that_are_made_up_are_shown() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let name = fresh(&server.addr().to_string());
    let store = Registry::builder().build().repository(&name).unwrap();
    let blob = BytesBlob::new(MediaType::OCI_CONFIG, "{}");
    let (cx, config) = (Cx::default(), blob.descriptor());
    store.put_blob(&cx, &blob).await.unwrap();
    // Nobody has these layers.
    let layer = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": config.digest(), "size": i64::MAX, "urls": ["http://127.0.0.1/x"],
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer, layer, layer],
    });
    let manifest = RawManifest::new(MediaType::OCI_MANIFEST, manifest.to_string());
    let tags = ["v1".parse().unwrap()];
    store
        .put_manifest(&cx, &manifest, Place::Root(&tags))
        .await
        .unwrap();
    let shown = inspect(&[&format!("{name}:v1")]).await;
    assert!(shown.status.success(), "{shown:?}");
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
async fn a_registry_with_tls_and_password_is_read() {
    let (Some((host, builder)), Some(ca)) = (secured(), peer("REGISTRY_TLS_CA")) else {
        return;
    };
    let (Some(user), Some(password)) = (peer("REGISTRY_TLS_USER"), peer("REGISTRY_TLS_PASSWORD"))
    else {
        return;
    };
    let name = fresh(&host);
    filled(&builder.build(), &name).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let json = serde_json::json!({"auths": {&host: {"auth": pair}}});
    std::fs::write(file.path(), json.to_string()).unwrap();
    let reference = format!("{name}:v1");
    let shown = program(file.path())
        .args(["--ca", &ca, &reference])
        .output()
        .await
        .unwrap();
    assert!(shown.status.success(), "{shown:?}");
    insta::assert_snapshot!("tree", text(&shown.stdout, &name));
}

/// Thousands of indexes in one another, and one that fans out, of a few bytes each.
#[tokio::test]
async fn a_tree_without_an_end_is_refused() {
    let server = Server::builder(MemoryStorage::new())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let (registry, cx) = (Registry::builder().build(), Cx::default());
    for (entries, levels, expected) in [
        (1, 500, "is in more than 16 indexes"),
        (30, 4, "it has more than 10000 manifests"),
    ] {
        let name = fresh(&server.addr().to_string());
        let store = registry.repository(&name).unwrap();
        let mut below = Vec::new();
        for _ in 0..levels {
            let json = serde_json::json!({"schemaVersion": 2, "manifests": below});
            let raw = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            let place = Place::Root(&["v1".parse().unwrap()]);
            store.put_manifest(&cx, &raw, place).await.unwrap();
            below = vec![raw.descriptor().clone(); entries];
        }
        let shown = inspect(&[&format!("{name}:v1")]).await;
        assert_eq!(shown.status.code(), Some(1));
        let error = String::from_utf8(shown.stderr).unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn who_stops_reading_has_seen_enough() {
    let mut child = program(Path::new("/nonexistent"))
        .arg("--help")
        .stdout({
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        })
        .spawn()
        .unwrap();
    assert!(child.wait().await.unwrap().success());
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
        (vec!["--ca"], 2),
        (vec!["--ca", "/nonexistent", "a"], 2),
        (vec!["--help"], 0),
    ] {
        let output = inspect(&args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}
