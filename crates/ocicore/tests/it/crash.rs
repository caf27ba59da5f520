//! A writer of an OCI layout is killed at many moments; the layout stays readable, and what was
//! acknowledged stays.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::TryStreamExt;
use ocicore::{
    BytesBlob, Cx, ImageSink, ImageSource, Layout, MediaType, Name, Place, RawManifest, Tag,
    validate,
};

/// Tells the test binary to be the writer, and where to write.
const WRITER: &str = "OCICORE_TEST_WRITER";

#[tokio::test]
async fn a_killed_writer_leaves_a_readable_layout() {
    if let Some(path) = env::var_os(WRITER) {
        return write(Path::new(&path)).await;
    }
    let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
    let layout = directory.path().join("layout");
    let mut acknowledged = 0;
    for round in 0..40 {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::a_killed_writer_leaves_a_readable_layout",
                "--nocapture",
            ])
            .env(WRITER, &layout)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // The moment moves through a write of several milliseconds.
        let first = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.starts_with("wrote "));
        assert!(first.is_some(), "the writer writes");
        std::thread::sleep(Duration::from_micros(round * 300));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let rest = lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("wrote "));
        let last = rest.last().or(first).unwrap();
        acknowledged = acknowledged.max(last["wrote ".len()..].parse::<u64>().unwrap());

        let opened = Layout::open(&layout).unwrap();
        let tags: Vec<Tag> = opened.tags(&cx).try_collect().await.unwrap();
        assert!(
            tags.len() as u64 >= acknowledged,
            "round {round}: an acknowledged image is lost"
        );
        let newest = Name::Tag(format!("t{acknowledged}").parse().unwrap());
        let report = validate::check(&cx, &opened, &newest).await.unwrap();
        assert_eq!(report.faults, [], "round {round}");
        for name in ["index.json", "oci-layout"] {
            let bytes = fs::read(layout.join(name)).unwrap();
            assert!(
                serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(),
                "{name}"
            );
        }
    }
    // The next writer clears away what the dead have left.
    Layout::open_or_create(&layout).unwrap();
    let left = fs::read_dir(&layout).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".tmp-")
    });
    assert_eq!(left.count(), 0);
}

/// Writes images `t1`, `t2`, … until killed, going on where the last writer was.
async fn write(path: &Path) {
    let (cx, layout) = (Cx::default(), Layout::open_or_create(path).unwrap());
    let start = layout
        .tags(&cx)
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .len();
    for n in start + 1.. {
        let config = BytesBlob::new(
            MediaType::OCI_CONFIG,
            format!(r#"{{"n":{n},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#),
        );
        layout.put_blob(&cx, &config).await.unwrap();
        let json = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "config": ocicore::Blob::descriptor(&config), "layers": [],
        });
        let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
        let tag = format!("t{n}").parse().unwrap();
        layout
            .put_manifest(&cx, &manifest, Place::Root(&[tag]))
            .await
            .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "wrote {n}")
            .and_then(|()| out.flush())
            .unwrap();
    }
}
