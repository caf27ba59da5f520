//! What a server does before it says that it has something, as the kernel sees it.

use std::{fs, path::Path, process::Command};

use ocicore::{Digest, MediaType, conformance::peer::peer};
use reqwest::Client;
use serde_json::json;

use crate::{client::descriptor, process::Process};

/// Calls of the kernel, in their order: `fdatasync(9</path>) = 0`, `rename("a", "b") = 0`.
fn calls(trace: &Path) -> Vec<String> {
    let text = fs::read_to_string(trace).unwrap();
    let mut begun: std::collections::HashMap<&str, String> = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.trim().split_once(char::is_whitespace) else {
            continue;
        };
        let call = call.trim();
        // What another thread's call interrupts is shown in two parts; its end counts.
        if let Some(call) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, call.to_owned());
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            let call = begun.remove(thread).unwrap_or_default();
            calls.push(format!("{call}{end}"));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// Whether the file that was moved to `to` was synced before that, and the directory after.
fn is_durable(calls: &[String], to: &str) -> bool {
    let moved = calls.iter().rposition(|call| {
        call.starts_with("rename") && call.contains(&format!("{to}\"")) && call.ends_with("= 0")
    });
    let Some(moved) = moved else { return false };
    let from = calls[moved].split('"').nth(1).unwrap();
    let directory = Path::new(to).parent().unwrap().display();
    let is_synced = |calls: &[String], path: &str| {
        calls
            .iter()
            .any(|call| call.contains("sync(") && call.contains(&format!("{path}>")))
    };
    is_synced(&calls[..moved], from) && is_synced(&calls[moved..], &directory.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_the_disk() {
    let Some(strace) = peer("STRACE") else { return };
    let outer = tempfile::tempdir().unwrap();
    let (store, trace) = (outer.path().join("store"), outer.path().join("trace"));
    let mut tool = Command::new(strace);
    tool.args(["--follow-forks", "--decode-fds=path", "--string-limit=400"])
        .args([
            "--quiet=all",
            "--trace=fsync,fdatasync,rename,renameat,renameat2",
        ])
        // The server is our child, and the tracer ends with it.
        .args(["--daemonize", "--output"])
        .arg(&trace);
    let server = Process::durable(tool, &store);
    let http = Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}/v2/a", server.address);
    let (config, layer) = (b"{}".to_vec(), vec![7; 300_000]);
    for (content, parts) in [(&config, 1), (&layer, 3)] {
        let digest = Digest::of(content);
        let begun = http.post(format!("{base}/blobs/uploads/")).send().await;
        let location = begun.unwrap().headers()["location"]
            .to_str()
            .unwrap()
            .to_owned();
        let location = format!("http://{}{location}", server.address);
        for part in content.chunks(content.len() / parts) {
            let patch = http.patch(&location).body(part.to_vec()).send().await;
            assert_eq!(patch.unwrap().status(), 202);
        }
        let put = http.put(format!("{location}?digest={digest}")).send().await;
        assert_eq!(put.unwrap().status(), 201);
        let link = format!("repositories/a/_blobs/sha256-{}", digest.hex());
        let hex = digest.hex();
        let calls = calls(&trace);
        for key in [format!("blobs/sha256/{}/{hex}", &hex[..2]), link] {
            let path = store.join(&key).display().to_string();
            assert!(is_durable(&calls, &path), "{key}: {calls:#?}");
        }
    }
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor(MediaType::OCI_CONFIG, &config),
        "layers": [descriptor(MediaType::OCI_LAYER, &layer)],
    });
    let put = http
        .put(format!("{base}/manifests/v1"))
        .header("content-type", MediaType::OCI_MANIFEST.as_str())
        .body(manifest.to_string());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let digest = Digest::of(manifest.to_string().as_bytes());
    let (calls, hex) = (calls(&trace), digest.hex());
    for key in [
        format!("blobs/sha256/{}/{hex}", &hex[..2]),
        format!("repositories/a/_manifests/sha256-{hex}"),
        "repositories/a/_tags/v1".to_owned(),
    ] {
        let path = store.join(&key).display().to_string();
        assert!(is_durable(&calls, &path), "{key}: {calls:#?}");
    }
}
