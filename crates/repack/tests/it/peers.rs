//! Layers read by the tools that people have, and archives that these tools made.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use ocicore::{SizeLimits, conformance::peer::peer};
use repack::{Cx, Entry, Mtime, Pattern, Tree, into_layer, layer::Options};

use crate::support::{
    disk::{expected, on_disk},
    gunzip, path, text,
    zip::{Member, build},
};

/// A tree with everything that is spliced, grouped, or needs a PAX header.
fn tree() -> Tree {
    let zip = build(&[
        Member::deflated("lib/a.jar", &text(200_000, 1)),
        Member::deflated("run.sh", b"#!/bin/sh\n").with(|member| member.st_mode = 0o100_755),
        Member::stored("stored.bin", &text(2 << 20, 2)),
        Member::deflated("big", &text(18 << 20, 3)),
        Member::stored("link", b"run.sh").with(|member| member.st_mode = 0o120_777),
        Member::stored("empty/", b"").with(|member| member.st_mode = 0o40_755),
        Member::stored("grüße", b"x"),
    ]);
    let mut tree = crate::support::index_zip(zip).unwrap();
    let long = "long-name/".repeat(20) + &"n".repeat(200);
    tree.insert(path(&long), Entry::file("long")).unwrap();
    tree.insert(path("hard"), Entry::hardlink(path("run.sh")))
        .unwrap();
    tree.set_mtime(&Pattern::all(), Mtime::from_seconds(1_600_000_000));
    tree
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    assert!(stderr.is_empty(), "{command:?} complains: {stderr}");
    output.stdout
}

/// Writes the layer and has it extracted by `extract(layer, into)`.
fn check(extract: &dyn Fn(&Path, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let layer = dir.path().join("layer.tar.gz");
    let tree = tree();
    into_layer(&Cx::default(), &tree, &Options::default(), &layer).unwrap();
    let into = dir.path().join("out");
    fs::create_dir(&into).unwrap();
    extract(&layer, &into);
    assert_eq!(on_disk(&into), expected(&tree));
}

#[test]
fn gnu_tar_and_gzip_read_it() {
    let (Some(tar), Some(gzip)) = (peer("GNU_TAR"), peer("GZIP")) else {
        return;
    };
    check(&|layer, into| {
        output(Command::new(&gzip).arg("-t").arg(layer));
        output(
            Command::new(&tar)
                .arg("-xpzf")
                .arg(layer)
                .arg("-C")
                .arg(into),
        );
    });
}

#[test]
fn bsdtar_reads_it() {
    let Some(bsdtar) = peer("BSDTAR") else { return };
    check(&|layer, into| {
        let mut command = Command::new(&bsdtar);
        // Names are UTF-8 there only in a locale that says so.
        command.env("LC_ALL", "C.UTF-8");
        output(command.arg("-xpzf").arg(layer).arg("-C").arg(into));
    });
}

#[test]
fn busybox_reads_it() {
    let Some(busybox) = peer("BUSYBOX_STATIC") else {
        return;
    };
    check(&|layer, into| {
        let mut command = Command::new(&busybox);
        output(
            command
                .args(["tar", "-xpzf"])
                .arg(layer)
                .arg("-C")
                .arg(into),
        );
    });
}

#[test]
fn python_reads_it() {
    let Some(python) = peer("PYTHON3") else {
        return;
    };
    check(&|layer, into| {
        let script = "import sys, tarfile\n\
            tarfile.open(sys.argv[1]).extractall(sys.argv[2])\n";
        let mut command = Command::new(&python);
        output(
            command
                .args(["-W", "ignore", "-c", script])
                .arg(layer)
                .arg(into),
        );
    });
}

#[test]
fn zips_of_info_zip_and_python_become_the_same_tar() {
    let (Some(zip), Some(python)) = (peer("ZIP"), peer("PYTHON3")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir_all(files.join("sub")).unwrap();
    fs::write(files.join("a.txt"), text(50_000, 1)).unwrap();
    fs::write(files.join("sub/b.txt"), text(10, 2)).unwrap();
    let by_zip = dir.path().join("zip.zip");
    output(
        Command::new(zip)
            .current_dir(&files)
            .arg("-qr")
            .arg(&by_zip)
            .arg("."),
    );
    let by_python = dir.path().join("python.zip");
    let script = "import sys, shutil\n\
        shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2])\n";
    output(
        Command::new(python)
            .args(["-c", script])
            .arg(&by_python)
            .arg(&files),
    );
    let raw = [by_zip, by_python].map(|zip| {
        let cx = Cx::default();
        let tree = repack::zip::open(&cx, &zip, &SizeLimits::default()).unwrap();
        gunzip(&crate::support::gzip(&tree))
    });
    assert_eq!(raw[0], raw[1]);
}

#[test]
fn tars_of_gnu_tar_are_read_in_all_formats() {
    let Some(tar) = peer("GNU_TAR") else { return };
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    let long = "d".repeat(80) + "/" + &"n".repeat(90);
    fs::create_dir_all(files.join("d".repeat(80))).unwrap();
    fs::write(files.join(&long), text(50_000, 1)).unwrap();
    fs::hard_link(files.join(&long), files.join("hard")).unwrap();
    std::os::unix::fs::symlink("x".repeat(99), files.join("link")).unwrap();
    for format in ["ustar", "pax", "gnu"] {
        let archive = dir.path().join(format!("{format}.tar"));
        let format = format!("--format={format}");
        let mut command = Command::new(&tar);
        command
            .arg(format)
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&files);
        output(command.arg("."));
        let tree = repack::tar::open(&Cx::default(), &archive, &SizeLimits::default()).unwrap();
        assert_eq!(expected(&tree), on_disk(&files));
    }
}
