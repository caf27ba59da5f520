//! Every form that a layer is written in, for foreign readers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ocicore::Digest;
use repack::{
    Cx, Device, Entry, Kind, Mtime, Pattern, Tree, into_layer,
    layer::{Compression, Deflated, Options, Written},
};

use crate::support::{
    path, text,
    zip::{Member, build},
};

/// Which readers take it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Tar,
    Gzip,
    Zstd,
}

/// File name, form, and how it is written.
pub(crate) fn sinks() -> Vec<(&'static str, Form, Options)> {
    let compressed = |compression| Options::default().with_compression(compression);
    let recompress = Options::default().with_deflated(Deflated::Recompress);
    let sinks = vec![
        ("plain.tar", Form::Tar, compressed(Compression::None)),
        ("spliced.tar.gz", Form::Gzip, Options::default()),
        ("recompressed.tar.gz", Form::Gzip, recompress),
        (
            "estargz.tar.gz",
            Form::Gzip,
            compressed(Compression::Estargz),
        ),
    ];
    #[cfg(feature = "zstd")]
    let sinks = {
        let zstd = ("zstd.tar.zst", Form::Zstd, compressed(Compression::Zstd));
        [sinks, vec![zstd]].concat()
    };
    sinks
}

/// A tree with everything that is spliced, grouped, or needs a PAX header.
pub(crate) fn tree() -> Tree {
    let zip = build(&[
        Member::deflated("lib/a.jar", &text(200_000, 1)),
        Member::deflated("run.sh", b"#!/bin/sh\n").with(|member| member.st_mode = 0o100_755),
        Member::stored("stored.bin", &text(2 << 20, 2)),
        Member::deflated("big", &text(18 << 20, 3)),
        Member::stored("link", b"run.sh").with(|member| member.st_mode = 0o120_777),
        Member::stored("empty/", b"").with(|member| member.st_mode = 0o40_755),
        Member::stored("nothing", b""),
        Member::stored("grüße", b"x"),
    ]);
    let mut tree = crate::support::index_zip(zip).unwrap();
    let long = "long-name/".repeat(20) + &"n".repeat(200);
    tree.insert(path(&long), Entry::file("long")).unwrap();
    tree.insert(path("hard"), Entry::hardlink(path("run.sh")))
        .unwrap();
    tree.set_mtime(&Pattern::all(), Mtime::from_seconds(1_600_000_000));
    // What only a PAX header can hold.
    let metadata = tree.metadata_mut(&path("stored.bin")).unwrap();
    metadata.mtime.nanoseconds = 500_000_000;
    let value = "of no matter".into();
    metadata.xattrs.insert((*b"user.origin").into(), value);
    tree
}

/// A tree with every kind of entry, and what no field of ustar can hold.
pub(crate) fn kinds() -> Tree {
    let mut tree = tree();
    let device = Device { major: 8, minor: 1 };
    for (name, kind) in [
        ("dev/null", Kind::CharDevice(Device { major: 1, minor: 3 })),
        ("dev/sda1", Kind::BlockDevice(device)),
        ("dev/pipe", Kind::Fifo),
    ] {
        tree.insert(path(name), Entry::new(kind)).unwrap();
    }
    tree.metadata_mut(&path("run.sh")).unwrap().mode = 0o6755;
    let metadata = tree.metadata_mut(&path("empty")).unwrap();
    metadata.mode = 0o1777;
    (metadata.uid, metadata.gid) = (1 << 31, (1 << 32) - 2);
    metadata.mtime = Mtime {
        seconds: -2,
        nanoseconds: 250_000_000,
    };
    let target = "../".repeat(60) + "anywhere";
    tree.insert(path("long-target"), Entry::symlink(target))
        .unwrap();
    tree
}

/// Writes the tree in all forms that `takes` wants.
pub(crate) fn write_all(
    tree: &Tree,
    into: &Path,
    takes: &[Form],
) -> Vec<(&'static str, PathBuf, Written)> {
    sinks()
        .into_iter()
        .filter(|(_, form, _)| takes.contains(form))
        .map(|(name, _, options)| {
            let layer = into.join(name);
            let written = into_layer(&Cx::default(), tree, &options, &layer).unwrap();
            (name, layer, written)
        })
        .collect()
}

/// What eStargz adds; these are files as any other to whoever knows nothing of it.
pub(crate) const OF_ESTARGZ: [&str; 2] = [".no.prefetch.landmark", "stargz.index.json"];

pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    assert!(stderr.is_empty(), "{command:?} complains: {stderr}");
    output.stdout
}

/// As [`output`], of programs that tell on standard error what they do.
pub(crate) fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An image layout (image-spec image-layout.md) of one image with these layers, tagged `latest`.
pub(crate) fn layout(dir: &Path, layers: &[(&Path, &Written)]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
        digest
    };
    let (mut diff_ids, mut descriptors) = (Vec::new(), Vec::new());
    for (layer, written) in layers {
        let layer = put(&fs::read(layer).unwrap());
        assert_eq!(layer, written.digest.to_string());
        let annotations = serde_json::to_string(&written.annotations).unwrap();
        diff_ids.push(format!(r#""{}""#, written.diff_id));
        descriptors.push(format!(
            r#"{{"mediaType":"{}","digest":"{layer}","size":{},"annotations":{annotations}}}"#,
            written.media_type, written.size
        ));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/run.sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config_digest = put(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{}]}}"#,
        config.len(),
        descriptors.join(",")
    );
    let manifest_digest = put(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest_digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}]}}"#,
        manifest.len()
    );
    fs::write(dir.join("index.json"), index).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
