//! What tars of all makers become.

use std::{fs, os::unix::fs::FileExt, process::Command};

use ocicore::conformance::peer::peer;
use repack::{
    EntryPath, Error, Kind,
    layer::{Compression, Deflated, Options},
};
use tar::{EntryType, Header};

use crate::support::{
    chain, gunzip, gzip, index_tar, index_zip, path,
    tar::{build, file, link, member, pax},
    write,
    zip::{self, Member},
};

#[test]
fn gnu_and_v7_headers_are_read() {
    let long = "long/".repeat(30) + "name";
    let gnu = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o640);
        header.set_uid(1 << 40);
        header.set_mtime(1 << 40);
        header.set_cksum();
        builder
            .append_data(&mut header.clone(), &long, &b"hello"[..])
            .unwrap();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", &long).unwrap();
        builder.into_inner().unwrap()
    };
    let tree = index_tar(gnu).unwrap();
    let entry = tree.get(&path(&long)).unwrap();
    let metadata = &entry.metadata;
    assert_eq!((metadata.mode, metadata.uid), (0o640, 1 << 40));
    assert_eq!(metadata.mtime.seconds, 1 << 40);
    assert_eq!(tree.read(&path(&long), 10).unwrap(), "hello");
    let target = &tree.get(&path("link")).unwrap().kind;
    assert!(matches!(target, Kind::Symlink(to) if to == long.as_bytes()));

    let v7 = |name: &str| {
        member(name, EntryType::Regular, b"", |header| {
            header.as_mut_bytes()[156] = 0;
            header.as_mut_bytes()[257..265].fill(0);
        })
    };
    let tree = index_tar(build(&[v7("dir/"), v7("dir/file")])).unwrap();
    assert!(tree.get(&path("dir")).unwrap().kind.is_dir());
    assert!(tree.get(&path("dir/file")).unwrap().kind.is_file());
}

#[test]
fn pax_records_count_more_than_fields() {
    let global = {
        let mut global = pax(&[("gid", "77"), ("uid", "88")]);
        global[156] = b'g';
        let header: &mut [u8; 512] = (&mut global[..512]).try_into().unwrap();
        let mut copy = Header::new_ustar();
        copy.as_mut_bytes().copy_from_slice(header);
        copy.set_cksum();
        global[..512].copy_from_slice(copy.as_bytes());
        global
    };
    let records = [
        ("path", "größe/name"),
        ("uid", "4000000000"),
        ("mtime", "-1.5"),
        ("SCHILY.xattr.user.a", "b"),
        ("comment", "whatever"),
    ];
    let tar = build(&[
        global,
        pax(&records),
        file("short", b"x"),
        file("other", b""),
    ]);
    let tree = index_tar(tar).unwrap();
    let entry = &tree.get(&path("größe/name")).unwrap().metadata;
    assert_eq!((entry.uid, entry.gid), (4_000_000_000, 77));
    assert_eq!(
        (entry.mtime.seconds, entry.mtime.nanoseconds),
        (-2, 500_000_000)
    );
    assert_eq!(entry.xattrs[&b"user.a"[..]], "b");
    let other = &tree.get(&path("other")).unwrap().metadata;
    assert_eq!((other.uid, other.gid), (88, 77));
    assert!(other.xattrs.is_empty());
}

#[test]
fn names_of_units_with_backslashes_are_names() {
    let tar = build(&[file("lib/system-systemd\\x2dcryptsetup.slice", b"")]);
    assert_eq!(index_tar(tar).unwrap().len(), 2);
    let raw = EntryPath::parse(b"latin-\xe4").unwrap();
    let tar = {
        let mut tar = file("latin-?", b"");
        tar[6] = 0xe4;
        let mut header = Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&tar[..512]);
        header.set_cksum();
        tar[..512].copy_from_slice(header.as_bytes());
        build(&[tar])
    };
    let tree = index_tar(tar).unwrap();
    assert!(tree.contains(&raw));
    assert_eq!(index_tar(gzip(&tree)).unwrap().len(), 1, "and written");
}

#[test]
fn compressed_tars_are_unpacked_once() {
    let tar = build(&[file("./a/b", b"hello"), link("l", EntryType::Link, "a/b")]);
    let tree = index_tar(tar.clone()).unwrap();
    let layer = gzip(&tree);
    let again = index_tar(layer.clone()).unwrap();
    assert_eq!(again.read(&path("l"), 10).unwrap(), "hello");
    assert_eq!(gunzip(&gzip(&again)), gunzip(&layer));
}

#[test]
fn an_empty_tar_is_an_empty_tree() {
    assert!(index_tar(build(&[])).unwrap().is_empty());
    assert!(
        index_tar(build(&[member("./", EntryType::Directory, b"", |_| {})]))
            .unwrap()
            .is_empty()
    );
}

/// What GNU tar stores of a file with holes, in all of its four ways, is the file.
#[test]
fn sparse_files_of_gnu_tar() {
    let Some(gnu_tar) = peer("GNU_TAR") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
    // More parts than a header has room for, and than one block that follows it.
    let many = file("many");
    for n in 0..60_u64 {
        let text = format!("part {n}");
        many.write_all_at(text.as_bytes(), n * 64 * 1024).unwrap();
    }
    let few = file("few");
    few.write_all_at(b"end", (5 << 20) - 3).unwrap();
    file("hole").set_len(3 << 20).unwrap();
    file("plain").write_all_at(b"plain", 0).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let tar = Command::new(&gnu_tar)
            .args(format)
            .args(["--sparse", "--hole-detection=raw", "-cf", "-", "-C"])
            .arg(dir.path())
            .args(["many", "few", "hole", "plain"])
            .output()
            .unwrap();
        assert!(tar.status.success(), "{format:?}");
        assert!(tar.stdout.len() < 2 << 20, "{format:?}: it is sparse");
        let tree = index_tar(tar.stdout.clone()).unwrap();
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(names, ["few", "hole", "many", "plain"], "{format:?}");
        for (name, entry) in &tree {
            let expected = fs::read(dir.path().join(name.to_string())).unwrap();
            let content = entry.content().unwrap().read(64 << 20).unwrap();
            assert!(content == expected, "{format:?} {name}");
        }
        let layer = index_tar(gzip(&tree)).unwrap();
        let many = fs::read(dir.path().join("many")).unwrap();
        assert!(layer.read(&path("many"), 64 << 20).unwrap() == many);
        // Cut anywhere, it is an error and nothing else.
        let last = tar.stdout.iter().rposition(|&byte| byte != 0).unwrap();
        for len in (0..last).step_by(512) {
            let cut = tar.stdout[..len].to_vec();
            assert!(index_tar(cut).is_err(), "{format:?} {len}");
        }
    }
}

/// What is compressed in a layer is compressed there as it was in the zip, and so it stays.
#[test]
fn members_of_a_layer_are_used_again() {
    let text = "a line of some text, of which each is another: ".repeat(3000);
    let zip = zip::build(&[
        Member::deflated("lib/large.txt", text.as_bytes()),
        Member::deflated("lib/small.txt", b"small"),
        Member::stored("lib/stored.txt", text.as_bytes()),
    ]);
    let tree = index_zip(zip).unwrap();
    let estargz = Options::default().with_compression(Compression::Estargz);
    for options in [Options::default(), estargz] {
        let (layer, written) = write(&tree, &options).unwrap();
        let again = index_tar(layer.clone()).unwrap();
        let (other, second) = write(&again, &options).unwrap();
        assert_eq!(written, second);
        assert!(layer == other);
        let recompress = options.with_deflated(Deflated::Recompress);
        let (other, recompressed) = write(&again, &recompress).unwrap();
        assert!(layer != other, "another compressor");
        assert_eq!(
            recompressed.diff_id == written.diff_id,
            written.annotations.is_empty()
        );
    }
    // A member that lies is found out when the archive is opened.
    let (mut layer, _) = write(&tree, &Options::default()).unwrap();
    let last = layer.len() - 6;
    layer[last] ^= 1;
    assert!(matches!(index_tar(layer), Err(Error::Archive { .. })));
}

#[test]
fn bytes_before_a_zip_move_all_of_it() {
    let plain = zip::build(&[Member::deflated("a", b"content"), Member::stored("b", b"")]);
    let program = [b"#!/bin/sh\nexit\n", &*plain].concat();
    let tree = index_zip(program).unwrap();
    assert_eq!(tree.read(&path("a"), 10).unwrap(), "content");
    for bad in [
        [&*plain, b"x"].concat(),
        plain[1..].to_vec(),
        [&*plain, &*plain].concat()[..plain.len() * 2 - 1].to_vec(),
    ] {
        assert!(index_zip(bad).is_err());
    }
}

#[test]
fn what_cannot_be_stacked_has_its_place() {
    let link = link("lib", EntryType::Symlink, "/usr/lib");
    let below = index_tar(build(&[link])).unwrap();
    let mut messages = Vec::new();
    for name in ["lib/x", "lib/d/x", ".wh...", "a/.wh.."] {
        let members = [file("a/1", b"x"), file(name, b"x"), file("lib-x", b"x")];
        let layer = index_tar(build(&members)).unwrap();
        let error = below.clone().apply_layer(layer).unwrap_err();
        // Content comes after a header; the first member takes two blocks.
        assert_eq!(error.offset(), Some(3 * 512), "{error}");
        messages.push(chain(&error));
    }
    insta::assert_snapshot!(messages.join("\n"));
}
