//! What tars of all makers become.

use repack::{EntryPath, Kind};
use tar::{EntryType, Header};

use crate::support::{
    gunzip, gzip, index_tar, path,
    tar::{build, file, link, member, pax},
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
    assert!(tree.get(&raw).is_some());
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
