//! The same tree gives the same bytes, whoever writes it where, and whatever else changes.

use repack::{
    Entry, Mtime, Pattern,
    layer::{Deflated, Options},
};

use crate::{
    sinks::{Form, sinks},
    support::{
        index_zip, path, text, write,
        zip::{Member, build},
    },
};

/// What is compressed by others is here as one stored block, so that these digests depend on nothing but this crate and
/// the compressors that it uses.
#[test]
fn the_bytes_are_the_same_on_all_machines() {
    let content = text(40_000, 9);
    let len = u16::try_from(content.len()).unwrap();
    // RFC 1951 §3.2.4.
    let block = [
        &[1][..],
        &len.to_le_bytes(),
        &(!len).to_le_bytes(),
        &content,
    ]
    .concat();
    let packed = Member::stored("lib/packed.txt", &content).with(|member| {
        (member.method, member.compressed) = (8, block.len() as u64);
        member.data = block;
    });
    let mut tree = index_zip(build(&[
        packed,
        Member::stored("lib/a.jar", &text(30_000, 10)),
        Member::stored("large", &text(3 << 20, 11)),
        Member::stored("run.sh", b"#!/bin/sh\n").with(|member| member.st_mode = 0o100_755),
    ]))
    .unwrap();
    tree.insert(path("link"), Entry::symlink("run.sh")).unwrap();
    tree.insert(path("hard"), Entry::hardlink(path("run.sh")))
        .unwrap();
    let half = Mtime {
        seconds: 1_600_000_000,
        nanoseconds: 500_000_000,
    };
    tree.set_mtime(&"large".parse().unwrap(), half);
    let lines: Vec<_> = sinks()
        .into_iter()
        .filter(|(_, form, _)| *form != Form::Zstd)
        .map(|(name, _, options)| {
            let (_, written) = write(&tree, &options).unwrap();
            format!("{name}\n  {}\n  {}", written.digest, written.diff_id)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    #[cfg(feature = "zstd")]
    {
        let zstd = Options::default().with_compression(repack::layer::Compression::Zstd);
        insta::assert_snapshot!(write(&tree, &zstd).unwrap().1.digest, @"sha256:95af77631dccd982f4d5a47f7fb723c4a400182f33fabe13fc7f0056a92816e2");
    }
}

#[test]
fn a_change_in_one_part_leaves_the_layers_of_the_others() {
    let layers = |script: &'static str| {
        let mut tree = index_zip(build(&[
            Member::deflated("lib/a.jar", &text(50_000, 1)),
            Member::deflated("lib/b.txt", &text(500, 2)),
            Member::deflated("job/x.jar", &text(5_000, 3)),
        ]))
        .unwrap();
        tree.insert(path("job/run.sh"), Entry::file(script))
            .unwrap();
        let lib: Pattern = "lib/**".parse().unwrap();
        let parts = tree.split(|path, _| usize::from(!lib.matches(path)));
        let written = parts.unwrap().into_iter().map(|part| {
            let (_, written) = write(&part, &Options::default()).unwrap();
            written.digest
        });
        written.collect::<Vec<_>>()
    };
    let (before, after) = (layers("java Job\n"), layers("exec java Job\n"));
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    assert_eq!((before.len(), after.len()), (2, 2));
}

#[test]
fn recompressed_layers_do_not_depend_on_who_made_the_zip() {
    let content = text(50_000, 4);
    let options = Options::default().with_deflated(Deflated::Recompress);
    let layers = [
        Member::deflated("a", &content),
        Member::stored("a", &content),
        Member::deflated("a", &content).with_descriptor(),
    ]
    .map(|member| {
        write(&index_zip(build(&[member])).unwrap(), &options)
            .unwrap()
            .0
    });
    assert_eq!(layers[0], layers[1]);
    assert_eq!(layers[0], layers[2]);
}
