//! Layers read by Go's libraries, which are in most programs that will read them; and eStargz by
//! that of containerd's snapshotter.

use std::{path::PathBuf, process::Command};

use ocicore::conformance::peer::peer;
use repack::{Kind, Tree};

use crate::sinks::{Form, OF_ESTARGZ, kinds, output, tree, write_all};

/// Builds the reader, offline, of Debian's sources; none if these are not there.
fn reader(dir: &tempfile::TempDir) -> Option<PathBuf> {
    let (go, gopath) = (peer("GO")?, peer("GOPATH_ESTARGZ")?);
    let program = dir.path().join("read");
    let mut command = Command::new(go);
    command
        .args(["build", "-o"])
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/read.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", gopath)
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-build"))
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0");
    output(&mut command);
    Some(program)
}

/// The lines that `read.go` prints for the tree.
fn lines(tree: &Tree) -> Vec<String> {
    let line = |(path, entry): (repack::EntryPath, repack::Entry)| {
        let sum = |tree: &Tree| {
            let content = tree.read(&path, 64 << 20).unwrap();
            let digest = ocicore::Digest::of(&content).to_string();
            (content.len(), digest["sha256:".len()..].to_owned())
        };
        let nothing = (
            0,
            ocicore::Digest::of(b"").to_string()["sha256:".len()..].to_owned(),
        );
        let mode = entry.metadata.mode;
        let (kind, name, mode, (size, sum), target) = match &entry.kind {
            Kind::Dir => ('5', format!("{path}/"), mode, nothing, String::new()),
            Kind::Symlink(target) => {
                let target = String::from_utf8(target.to_vec()).unwrap();
                ('2', path.to_string(), mode, nothing, target)
            }
            // The first of two names has the content: `hard`, a link to `run.sh`, comes before it.
            Kind::Hardlink(target) => {
                let mode = tree.get(target).unwrap().metadata.mode;
                ('0', path.to_string(), mode, sum(tree), String::new())
            }
            _ if path == "run.sh".parse().unwrap() => {
                ('1', path.to_string(), mode, nothing, "hard".to_owned())
            }
            Kind::CharDevice(_) => ('3', path.to_string(), mode, nothing, String::new()),
            Kind::BlockDevice(_) => ('4', path.to_string(), mode, nothing, String::new()),
            Kind::Fifo => ('6', path.to_string(), mode, nothing, String::new()),
            _ => ('0', path.to_string(), mode, sum(tree), String::new()),
        };
        format!("{kind} \"{name}\" {mode:o} {size} {sum} \"{target}\"")
    };
    tree.iter().map(line).collect()
}

fn archive_tar_reads(tree: &Tree) {
    let dir = tempfile::tempdir().unwrap();
    let Some(reader) = reader(&dir) else { return };
    for (name, layer, _) in write_all(tree, dir.path(), &[Form::Tar, Form::Gzip]) {
        let said = output(Command::new(&reader).arg("tar").arg(layer));
        let said = String::from_utf8(said).unwrap();
        let of_estargz = |line: &&str| OF_ESTARGZ.iter().any(|name| line.contains(name));
        let found: Vec<_> = said.lines().filter(|line| !of_estargz(line)).collect();
        assert_eq!(found, lines(tree), "{name}");
    }
}

#[test]
fn archive_tar_and_compress_gzip_read_it() {
    archive_tar_reads(&tree());
}

#[test]
fn archive_tar_reads_all_kinds_of_entries() {
    archive_tar_reads(&kinds());
}

#[test]
fn the_library_of_containerd_verifies_estargz() {
    let dir = tempfile::tempdir().unwrap();
    let Some(reader) = reader(&dir) else { return };
    let tree = tree();
    let all = write_all(&tree, dir.path(), &[Form::Gzip]);
    let (_, layer, written) = all
        .iter()
        .find(|(name, _, _)| name.starts_with("estargz"))
        .unwrap();
    let toc = &written.annotations["containerd.io/snapshot/stargz/toc.digest"];
    let said = output(Command::new(&reader).arg("estargz").arg(layer).arg(toc));
    let said = String::from_utf8(said).unwrap();
    let mut found: Vec<_> = said
        .lines()
        .map(|line| line.rsplit_once(" in ").unwrap().0.to_owned())
        .collect();
    found.sort();
    let mut expected = vec!["\".no.prefetch.landmark\" 1".to_owned()];
    for (path, entry) in &tree {
        if let Kind::File(content) = &entry.kind
            && content.size() > 0
        {
            // `run.sh` is a link to `hard` there, which then is the file.
            let path = path.to_string();
            let path = if path == "run.sh" { "hard" } else { &path };
            expected.push(format!("\"{path}\" {}", content.size()));
        }
    }
    expected.sort();
    found.dedup();
    assert_eq!(found, expected);
    // Another digest is another index.
    let wrong = ocicore::Digest::of(b"").to_string();
    let mut command = Command::new(&reader);
    let refused = command.arg("estargz").arg(layer).arg(wrong).output();
    assert!(!refused.unwrap().status.success());
}
