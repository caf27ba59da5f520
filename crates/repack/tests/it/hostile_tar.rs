//! Tars that lie or attack: each is refused by an error that names the entry.

use std::{io::Write as _, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use ocicore::{Class, SizeLimits};
use repack::{Cx, Error};
use tar::EntryType;

use crate::{
    hostile::{self, Cases, Format},
    support::{
        chain, index_tar,
        tar::{build, file, link, member, pax},
        text,
    },
};

/// All of this file, by test.
pub(crate) fn corpus() -> Vec<(&'static str, Cases)> {
    vec![
        (
            "names_and_links_that_lead_outside",
            names_and_links_that_lead_outside_cases(),
        ),
        ("entries_that_collide", entries_that_collide_cases()),
        ("headers_that_lie", headers_that_lie_cases()),
        ("headers_that_conflict", headers_that_conflict_cases()),
        ("archives_cut_anywhere", archives_cut_anywhere_cases()),
        (
            "compressed_archives_that_are_damaged",
            compressed_archives_that_are_damaged_cases(),
        ),
    ]
}

fn refused(cases: &Cases) -> String {
    hostile::refused(Format::Tar, cases)
}

fn one(member: Vec<u8>) -> Vec<u8> {
    build(&[file("first", b"1"), member])
}

/// A long name as GNU writes it.
pub(crate) fn gnu(kind: u8, value: &[u8]) -> Vec<u8> {
    member("././@LongLink", EntryType::new(kind), value, |header| {
        let magic = &mut header.as_mut_bytes()[257..265];
        magic.copy_from_slice(b"ustar  \0");
    })
}

#[test]
fn names_and_links_that_lead_outside() {
    insta::assert_snapshot!(refused(&names_and_links_that_lead_outside_cases()));
}

fn names_and_links_that_lead_outside_cases() -> Cases {
    let hard = |target| one(link("x", EntryType::Link, target));
    let cases = vec![
        ("parent", one(file("../evil", b""))),
        ("absolute", one(file("/etc/passwd", b""))),
        (
            "parent by pax",
            build(&[pax(&[("path", "a/../../evil")]), file("x", b"")]),
        ),
        (
            "parent by gnu",
            build(&[gnu(b'L', b"../evil\0"), file("x", b"")]),
        ),
        (
            "pax without a name",
            build(&[pax(&[("path", "/")]), file("x", b"")]),
        ),
        (
            "10,000 bytes",
            build(&[pax(&[("path", &"x".repeat(10_000))]), file("x", b"")]),
        ),
        ("hard link outside", hard("../../etc/shadow")),
        ("absolute hard link", hard("/etc/shadow")),
        ("hard link to nothing", hard("missing")),
        ("hard link to the root", hard("./")),
        ("hard link to itself", hard("x")),
        (
            "hard link to a directory",
            build(&[
                member("d/", EntryType::Directory, b"", |_| {}),
                link("x", EntryType::Link, "d"),
            ]),
        ),
        (
            "through a link",
            build(&[
                link("d", EntryType::Symlink, "/etc"),
                file("d/passwd", b"evil"),
            ]),
        ),
        ("empty link", one(link("x", EntryType::Symlink, ""))),
    ];
    cases
}

#[test]
fn entries_that_collide() {
    insta::assert_snapshot!(refused(&entries_that_collide_cases()));
}

fn entries_that_collide_cases() -> Cases {
    let cases = vec![
        ("twice", one(file("first", b"2"))),
        ("twice with a dot", one(file("./first", b"2"))),
        (
            "file, then directory",
            one(member("first", EntryType::Directory, b"", |_| {})),
        ),
        ("file, then below it", one(file("first/x", b""))),
    ];
    cases
}

#[test]
fn headers_that_lie() {
    insta::assert_snapshot!(refused(&headers_that_lie_cases()));
}

fn headers_that_lie_cases() -> Cases {
    let field = |change: &dyn Fn(&mut [u8; 512])| {
        one(member("x", EntryType::Regular, b"content", |header| {
            change(header.as_mut_bytes());
        }))
    };
    let cases = vec![
        (
            "checksum",
            one({
                let mut member = file("x", b"");
                member[0] = b'y';
                member
            }),
        ),
        (
            "octal garbage in mode",
            field(&|h| h[100..108].copy_from_slice(b"rwxr-xr-")),
        ),
        (
            "octal garbage in size",
            field(&|h| h[124..136].copy_from_slice(b"-1\0\0\0\0\0\0\0\0\0\0")),
        ),
        (
            "negative size in base 256",
            field(&|h| h[124..136].fill(0xff)),
        ),
        (
            "huge size in base 256",
            field(&|h| {
                h[124..136].copy_from_slice(&[
                    0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                ]);
            }),
        ),
        (
            "10 TB",
            field(&|h| h[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0])),
        ),
        (
            "octal garbage in uid",
            field(&|h| h[108..116].copy_from_slice(b"99999999")),
        ),
        (
            "octal garbage in mtime",
            field(&|h| h[136..148].copy_from_slice(b"yesterday\0\0\0")),
        ),
        (
            "device that no tar can hold",
            one(member("x", EntryType::Char, b"", |header| {
                let number = [0x80, 0, 0, 0, 0, 0x7f, 0xff, 0xff];
                header.as_mut_bytes()[329..337].copy_from_slice(&number);
            })),
        ),
        (
            "size of a directory",
            one(member("d/", EntryType::Directory, b"x", |_| {})),
        ),
        (
            "size of a link",
            one(member("l", EntryType::Symlink, b"x", |h| {
                h.set_link_name_literal("x").unwrap();
            })),
        ),
        (
            "unknown kind",
            one(member("x", EntryType::new(b'M'), b"", |_| {})),
        ),
        (
            "sparse",
            one(member("x", EntryType::GNUSparse, b"", |_| {})),
        ),
        (
            "sparse by pax",
            build(&[pax(&[("GNU.sparse.major", "1")]), file("x", b"")]),
        ),
    ];
    cases
}

#[test]
fn headers_that_conflict() {
    insta::assert_snapshot!(refused(&headers_that_conflict_cases()));
}

fn headers_that_conflict_cases() -> Cases {
    let sized = |size: &str| {
        build(&[
            pax(&[("size", size)]),
            file("x", b"content"),
            file("y", b""),
        ])
    };
    let cases = vec![
        ("size in pax against ustar", sized("512")),
        ("size in pax is nothing", sized("-1")),
        ("size in pax is huge", sized("18446744073709551616")),
        (
            "names in gnu and pax",
            build(&[gnu(b'L', b"a\0"), pax(&[("path", "b")]), file("x", b"")]),
        ),
        (
            "links in gnu and pax",
            build(&[
                gnu(b'K', b"a\0"),
                pax(&[("linkpath", "b")]),
                link("x", EntryType::Symlink, "c"),
            ]),
        ),
        (
            "two pax headers",
            build(&[pax(&[("uid", "1")]), pax(&[("uid", "2")]), file("x", b"")]),
        ),
        (
            "two long names",
            build(&[gnu(b'L', b"a\0"), gnu(b'L', b"b\0"), file("x", b"")]),
        ),
        (
            "broken pax",
            one(member("pax", EntryType::XHeader, b"99 path=x\n", |_| {})),
        ),
        (
            "pax with nul",
            build(&[pax(&[("path", "a\0b")]), file("x", b"")]),
        ),
        (
            "large pax",
            one(member(
                "pax",
                EntryType::XHeader,
                &vec![b'x'; 2 << 20],
                |_| {},
            )),
        ),
        (
            "uid in pax",
            build(&[pax(&[("uid", "root")]), file("x", b"")]),
        ),
        (
            "mtime in pax",
            build(&[pax(&[("mtime", "now")]), file("x", b"")]),
        ),
        ("pax and then nothing", build(&[pax(&[("path", "x")])])),
    ];
    cases
}

#[test]
fn archives_cut_anywhere() {
    insta::assert_snapshot!(refused(&archives_cut_anywhere_cases()));
}

fn archives_cut_anywhere_cases() -> Cases {
    let tar = build(&[
        pax(&[("path", "long")]),
        file("a", &text(700, 1)),
        file("b", b""),
    ]);
    for len in 0..=tar.len() - 1024 {
        let error = index_tar(tar[..len].to_vec()).unwrap_err();
        let known = matches!(
            error,
            Error::Archive { format: "tar", .. } | Error::Entry { .. }
        );
        assert!(known, "{len}: {error:?}");
        assert!(error.offset().is_some_and(|at| at <= len as u64), "{len}");
    }
    let at = |len: usize| tar[..len].to_vec();
    let cases = vec![
        ("nothing", vec![]),
        ("a header cut", at(100)),
        ("after a pax header", at(512)),
        ("within pax records", at(520)),
        ("after pax records", at(1024)),
        ("within content", at(1600)),
        ("within padding", at(1536 + 800)),
        ("no end", at(tar.len() - 1024)),
    ];
    cases
}

#[test]
fn compressed_archives_that_are_damaged() {
    insta::assert_snapshot!(refused(&compressed_archives_that_are_damaged_cases()));
}

fn compressed_archives_that_are_damaged_cases() -> Cases {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let good = gzip(&build(&[file("a", &text(5000, 1))]));
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let cases = vec![
        ("wrong crc", changed(good.len() - 8)),
        ("wrong size", changed(good.len() - 1)),
        ("damaged stream", changed(good.len() / 2)),
        ("cut", good[..good.len() / 2].to_vec()),
        ("cut trailer", good[..good.len() - 3].to_vec()),
        (
            "wrong second member",
            [&good[..], &changed(good.len() - 8)].concat(),
        ),
        ("nested", gzip(&good)),
    ];
    cases
}

/// What would stay in memory, many times larger than the archive if that is compressed.
#[test]
fn more_than_the_limits() {
    let check = |limits: SizeLimits, tar: Vec<u8>| {
        let source = Arc::new(Bytes::from(tar));
        let error = repack::tar::index(&Cx::default(), source, &limits).unwrap_err();
        assert_eq!(error.class(), Class::Exhausted, "{error:?}");
        chain(&error)
    };
    let few = || SizeLimits::default().with_entries(1000);
    let many = |n: usize, member: &dyn Fn(usize) -> Vec<u8>| {
        build(&(0..n).map(member).collect::<Vec<_>>())
    };
    let long = "d/".repeat(2000);
    let attribute = "x".repeat(500_000);
    let map = |n: usize| {
        let pairs: Vec<_> = (0..60_000).map(|at| format!("{},1", at * 2)).collect();
        let map = pairs.join(",");
        let records = [
            ("GNU.sparse.size", "1000000"),
            ("GNU.sparse.map", &map),
            ("path", &n.to_string()),
        ];
        [pax(&records), file("x", &[b'x'; 60_000])].concat()
    };
    let global = |n: usize| {
        let content = pax(&[(&format!("key.{n}"), &attribute)])[512..].to_vec();
        let len = content.iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        member("g", EntryType::XGlobalHeader, &content[..len], |_| {})
    };
    let messages = [
        check(
            few(),
            many(900, &|n| {
                [pax(&[("path", &format!("{n:03}/{long}x"))]), file("x", b"")].concat()
            }),
        ),
        check(
            few(),
            many(900, &|n| {
                let target = pax(&[("linkpath", &long)]);
                [target, link(&n.to_string(), EntryType::Symlink, "x")].concat()
            }),
        ),
        check(
            few(),
            many(5, &|n| {
                let records = [("SCHILY.xattr.user.a", &*attribute)];
                [pax(&records), file(&n.to_string(), b"")].concat()
            }),
        ),
        // Many small ones take more than their bytes.
        check(
            few(),
            many(1, &|n| {
                let keys: Vec<_> = (0..20_000)
                    .map(|key| format!("SCHILY.xattr.{key:x}"))
                    .collect();
                let records: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
                [pax(&records), file(&n.to_string(), b"")].concat()
            }),
        ),
        check(few(), many(5, &map)),
        check(few(), many(5, &global)),
        check(
            few().with_entries(10),
            many(20, &|n| file(&n.to_string(), b"")),
        ),
        // Each name is in thirty directories that no entry is for.
        check(
            few().with_entries(100),
            many(20, &|n| file(&format!("{n:02}/{}x", "d/".repeat(30)), b"")),
        ),
        check(
            few().with_unpacked(100),
            many(20, &|n| file(&n.to_string(), b"0123456789")),
        ),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}
