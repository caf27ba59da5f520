//! Zips that lie or attack: each is refused by an error that names the entry.

use std::sync::Arc;

use bytes::Bytes;
use ocicore::SizeLimits;
use repack::{Cx, Error};

use crate::{
    hostile::{self, Cases, Format},
    support::{
        chain, crc32, deflate, index_zip, text,
        zip::{Member, build},
    },
};

/// All of this file, by test.
pub(crate) fn corpus() -> Vec<(&'static str, Cases)> {
    vec![
        ("names_that_lead_outside", names_that_lead_outside_cases()),
        ("entries_that_collide", entries_that_collide_cases()),
        ("entries_of_other_kinds", entries_of_other_kinds_cases()),
        ("headers_that_disagree", headers_that_disagree_cases()),
        ("content_that_lies", content_that_lies_cases()),
        ("entries_that_share_bytes", entries_that_share_bytes_cases()),
        ("archives_cut_anywhere", archives_cut_anywhere_cases()),
    ]
}

fn refused(cases: &Cases) -> String {
    hostile::refused(Format::Zip, cases)
}

fn one(member: Member) -> Vec<u8> {
    build(&[Member::stored("first", b"1"), member])
}

#[test]
fn names_that_lead_outside() {
    insta::assert_snapshot!(refused(&names_that_lead_outside_cases()));
}

fn names_that_lead_outside_cases() -> Cases {
    let names: &[(&str, &[u8])] = &[
        ("parent", b"../evil"),
        ("parent inside", b"a/../../evil"),
        ("parent at the end", b"a/.."),
        ("absolute", b"/etc/passwd"),
        ("two slashes", b"//host/share"),
        ("slashes inside", b"a//b"),
        ("drive", b"C:/evil"),
        ("drive, relative", b"c:evil"),
        ("backslashes", b"..\\evil"),
        ("backslash inside", b"a\\b"),
        ("unc", b"\\\\host\\share"),
        ("nul", b"evil\0.txt"),
        ("empty", b""),
        ("only a slash", b"/"),
        ("dot inside", b"a/./b"),
        ("10,000 bytes", &[b'x'; 10_000]),
        ("deep", &b"x/".repeat(3000)),
    ];
    let cases = names
        .iter()
        .map(|(case, name)| (*case, one(Member::stored(name, b"evil"))));
    let not_utf8 = Member::stored(b"a\xff", b"x").with(|member| member.flags |= 1 << 11);
    let unicode = |name: &[u8]| one(Member::stored("good", b"evil").with_unicode_name(name));
    cases
        .chain([
            ("marked as UTF-8", one(not_utf8)),
            ("parent by Unicode path", unicode(b"../evil")),
            ("backslash by Unicode path", unicode(b"a\\b")),
            ("not UTF-8 by Unicode path", unicode(b"a\xff")),
            ("another's by Unicode path", unicode(b"first")),
        ])
        .collect()
}

#[test]
fn entries_that_collide() {
    insta::assert_snapshot!(refused(&entries_that_collide_cases()));
}

fn entries_that_collide_cases() -> Cases {
    let cases = vec![
        ("twice", one(Member::stored("first", b"2"))),
        (
            "twice as decoded",
            build(&[Member::stored("ü", b"1"), Member::stored(b"\x81", b"2")]),
        ),
        ("twice with a dot", one(Member::stored("./first", b"2"))),
        ("file, then directory", one(Member::stored("first/", b""))),
        ("file, then below it", one(Member::stored("first/x", b""))),
        (
            "below it, then file",
            build(&[Member::stored("a/b", b""), Member::stored("a", b"")]),
        ),
        (
            "below a link",
            build(&[
                Member::stored("a", b"/etc").with(|member| member.st_mode = 0o120_777),
                Member::stored("a/passwd", b"evil"),
            ]),
        ),
        ("content of a directory", one(Member::stored("d/", b"x"))),
    ];
    cases
}

#[test]
fn entries_of_other_kinds() {
    insta::assert_snapshot!(refused(&entries_of_other_kinds_cases()));
}

fn entries_of_other_kinds_cases() -> Cases {
    let mode = |st_mode| move |member: &mut Member| member.st_mode = st_mode;
    let link = |target: &[u8]| one(Member::stored("link", target).with(mode(0o120_777)));
    let cases = vec![
        (
            "encrypted",
            one(Member::stored("x", b"x").with(|m| m.flags |= 1)),
        ),
        (
            "deflate64",
            one(Member::stored("x", b"x").with(|m| m.method = 9)),
        ),
        (
            "bzip2",
            one(Member::stored("x", b"x").with(|m| m.method = 12)),
        ),
        (
            "zstd",
            one(Member::stored("x", b"x").with(|m| m.method = 93)),
        ),
        ("fifo", one(Member::stored("x", b"").with(mode(0o010_644)))),
        (
            "socket",
            one(Member::stored("x", b"").with(mode(0o140_644))),
        ),
        (
            "device",
            one(Member::stored("x", b"").with(mode(0o020_644))),
        ),
        ("link to nothing", link(b"")),
        ("link with nul", link(b"a\0b")),
        ("link too long", link(&[b'x'; 5000])),
    ];
    cases
}

#[test]
fn headers_that_disagree() {
    insta::assert_snapshot!(refused(&headers_that_disagree_cases()));
}

fn headers_that_disagree_cases() -> Cases {
    let member = || Member::deflated("x", &text(100, 1));
    let cases = vec![
        (
            "name",
            one(member().with(|m| m.local_name = Some(b"y".to_vec()))),
        ),
        (
            "longer name",
            one(member().with(|m| m.local_name = Some(b"xy".to_vec()))),
        ),
        ("method", one(member().with(|m| m.local_method = Some(0)))),
        ("flags", one(member().with(|m| m.local_flags = Some(1)))),
        (
            "descriptor flag",
            one(member().with(|m| m.local_flags = Some(8))),
        ),
        ("crc", one(member().with(|m| m.local_crc = Some(1)))),
        ("size", one(member().with(|m| m.local_size = Some(1)))),
        (
            "zip64 size",
            one(member().with(|m| (m.zip64, m.local_size) = (true, Some(1)))),
        ),
        (
            "descriptor",
            one(member().with_descriptor().with(|m| m.descriptor[4] ^= 1)),
        ),
        (
            "no descriptor",
            one(member().with_descriptor().with(|m| m.descriptor.clear())),
        ),
        (
            "sizes with a descriptor",
            one(member().with_descriptor().with(|m| m.local_size = Some(7))),
        ),
        (
            "no header there",
            one(member().with(|m| m.offset = Some(1))),
        ),
        (
            "beyond the end",
            one(member().with(|m| m.offset = Some(1 << 30))),
        ),
    ];
    cases
}

#[test]
fn content_that_lies() {
    insta::assert_snapshot!(refused(&content_that_lies_cases()));
}

fn content_that_lies_cases() -> Cases {
    let content = text(100_000, 1);
    let member = || Member::deflated("x", &content);
    let resized = |by: i64| member().with(|m| m.size = m.size.checked_add_signed(by).unwrap());
    let junk = |junk: Vec<u8>| {
        member().with(|m| {
            m.data.extend(&junk);
            m.compressed += junk.len() as u64;
        })
    };
    let small = text(100, 1);
    let mut trailer = crc32(&content).to_le_bytes().to_vec();
    trailer.extend(100_000_u32.to_le_bytes());
    let cases = vec![
        ("crc", one(member().with(|m| m.crc ^= 1))),
        (
            "crc of a small one",
            one(Member::deflated("x", &small).with(|m| m.crc ^= 1)),
        ),
        (
            "crc of a stored one",
            one(Member::stored("x", &small).with(|m| m.crc ^= 1)),
        ),
        (
            "crc of a large stored one",
            one(Member::stored("x", &text(3 << 20, 1)).with(|m| m.crc ^= 1)),
        ),
        (
            "crc of an empty one",
            one(Member::stored("x", b"").with(|m| m.crc ^= 1)),
        ),
        ("more than declared", one(resized(-1))),
        ("less than declared", one(resized(1))),
        (
            "a bomb",
            one(Member::deflated("x", &vec![0; 10 << 20]).with(|m| m.size = 20_000)),
        ),
        (
            "stored sizes differ",
            one(Member::stored("x", &small).with(|m| m.size = 50)),
        ),
        ("a byte after the stream", one(junk(vec![0]))),
        ("bytes after the stream", one(junk(vec![7; 1000]))),
        ("a trailer after the stream", one(junk(trailer.clone()))),
        (
            "a trailer and more",
            one(junk([&trailer[..], b"more"].concat())),
        ),
        ("a second stream", one(junk(deflate(b"more")))),
        (
            "cut stream",
            one(member().with(|m| {
                m.data.truncate(1000);
                m.compressed = 1000;
            })),
        ),
        (
            "no stream at all",
            one(member().with(|m| {
                m.data = vec![0xff; 100];
                m.compressed = 100;
            })),
        ),
        (
            "nothing",
            one(Member::deflated("x", b"").with(|m| {
                m.data.clear();
                m.compressed = 0;
            })),
        ),
        (
            "beyond the archive",
            one(member().with(|m| m.compressed = 1 << 30)),
        ),
        (
            "into the directory",
            one(member().with(|m| m.compressed += 10)),
        ),
        (
            "large, with junk",
            one(Member::deflated("x", &text(32 << 20, 1)).with(|m| {
                m.data.push(0);
                m.compressed += 1;
            })),
        ),
        (
            "large, wrong crc",
            one(Member::deflated("x", &text(32 << 20, 1)).with(|m| m.crc ^= 1)),
        ),
    ];
    cases
}

#[test]
fn entries_that_share_bytes() {
    insta::assert_snapshot!(refused(&entries_that_share_bytes_cases()));
}

fn entries_that_share_bytes_cases() -> Cases {
    // The quoted bomb: each stream begins with the header of the next in a stored block.
    let shared = build(&[
        Member::stored("a", b"x"),
        Member::stored("b", b"x").with(|m| m.offset = Some(0)),
    ]);
    let inner = Member::stored("inner", &text(100, 1));
    let archive = build(std::slice::from_ref(&inner));
    let quoted = build(&[
        Member::stored("outer", &archive),
        inner.with(|m| m.offset = Some(30 + 5)),
    ]);
    let cases = vec![("the same header", shared), ("quoted", quoted)];
    cases
}

#[test]
fn archives_cut_anywhere() {
    insta::assert_snapshot!(refused(&archives_cut_anywhere_cases()));
}

fn archives_cut_anywhere_cases() -> Cases {
    let zip = build(&[
        Member::deflated("a", &text(200, 1)).with_descriptor(),
        Member::stored("b", b"x"),
    ]);
    for len in 0..zip.len() {
        match index_zip(zip[..len].to_vec()) {
            Err(error @ Error::Archive { format: "zip", .. }) => {
                assert!(error.offset().is_some_and(|at| at <= len as u64), "{len}");
            }
            other => panic!("{len}: {other:?}"),
        }
    }
    // Two structures are missing together, so that each boundary is there once.
    let cases = vec![
        ("nothing", vec![]),
        ("no directory", zip[..zip.len() - 22].to_vec()),
        ("no end", zip[..zip.len() - 1].to_vec()),
        ("end only", zip[zip.len() - 22..].to_vec()),
    ];
    cases
}

#[test]
fn more_than_the_limits() {
    let huge = Member::deflated("x", b"x").with(|m| {
        m.zip64 = true;
        m.size = 10 << 40;
    });
    let check = |limits: SizeLimits, zip: Vec<u8>| {
        let source = Arc::new(Bytes::from(zip));
        let error = repack::zip::index(&Cx::default(), source, &limits).unwrap_err();
        assert_eq!(error.class(), ocicore::Class::Exhausted, "{error:?}");
        chain(&error)
    };
    let many: Vec<_> = (0..20)
        .map(|n| Member::stored(format!("f{n}"), b"0123456789"))
        .collect();
    let links: Vec<_> = (0..400)
        .map(|n| {
            // Many times smaller in the archive than in memory.
            Member::deflated(format!("l{n}"), &[b'x'; 4000])
                .with(|member| member.st_mode = 0o120_777)
        })
        .collect();
    let deep: Vec<_> = (0..20)
        .map(|n| Member::stored(format!("{n:02}/{}x", "d/".repeat(30)), b""))
        .collect();
    let limits = SizeLimits::default;
    let messages = [
        check(limits(), one(huge)),
        check(limits().with_entries(1000), build(&links)),
        check(limits().with_entries(100), build(&deep)),
        check(limits().with_entries(10), build(&many)),
        check(limits().with_unpacked(100), build(&many)),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}
