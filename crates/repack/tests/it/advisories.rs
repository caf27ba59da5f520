//! Known advisories of libraries for zip and tar, each as the archive that it is about; and what abuses
//! the ends of a zip, and bombs.

use std::{fmt::Write as _, io};

use flate2::{Compression, write::GzEncoder};
use tar::EntryType;

use crate::{
    hostile::{Cases, Format, outcome, refused},
    hostile_tar::gnu,
    support::{
        chain,
        tar::{build, file, link, member, pax},
        text,
        zip::{Member, build as zip},
    },
};

/// Identifier, what it was, and the archive.
type Advisory = (&'static str, Format, Vec<u8>);

fn dir(name: &str) -> Vec<u8> {
    member(name, EntryType::Directory, b"", |header| {
        header.set_mode(0o777);
    })
}

/// A member whose field says another size than its content has.
fn sized(name: &str, declared: u64, content: &[u8]) -> Vec<u8> {
    member(name, EntryType::Regular, content, |header| {
        header.set_size(declared);
    })
}

fn of_tar() -> Vec<Advisory> {
    let symlink = |name, target| link(name, EntryType::Symlink, target);
    let hard = |name, target| link(name, EntryType::Link, target);
    let inner = build(&[file("smuggled", b"evil")]);
    let inner_size = inner.len().to_string();
    let cases = [
        (
            "RUSTSEC-2018-0002 tar: a file is overwritten through a hard link",
            build(&[hard("x", "/etc/passwd"), file("x", b"evil")]),
        ),
        (
            "RUSTSEC-2021-0080 tar: directories are made through a link",
            build(&[symlink("x", "/tmp"), dir("x/evil/")]),
        ),
        (
            "RUSTSEC-2026-0067 CVE-2026-33056 tar: a mode is set through a link",
            build(&[symlink("x", "/tmp"), dir("x")]),
        ),
        (
            "RUSTSEC-2026-0068 CVE-2026-33055 tar: size in PAX against the field",
            build(&[pax(&[("size", "0")]), sized("x", 512, &inner[..512])]),
        ),
        (
            "RUSTSEC-2025-0111 CVE-2025-62518 tokio-tar: an archive in an archive",
            // The field says nothing, so that a reader that believes it finds another archive.
            build(&[pax(&[("size", &inner_size)]), sized("x", 0, &inner)]),
        ),
        (
            "GHSA-3cv2-h65g-fgmm RUSTSEC-2026-0112 tar: PAX before a long name of GNU",
            build(&[
                pax(&[("size", "1024")]),
                gnu(b'L', b"name\0"),
                file("x", b"content"),
                file("y", b""),
            ]),
        ),
        (
            "CVE-2016-6321 GNU tar: `..` behind a prefix that is cut off",
            build(&[file("etc/motd/../etc/shadow", b"evil")]),
        ),
        (
            "CVE-2019-20907 Python: a PAX record of length 0",
            build(&[
                member("pax", EntryType::XHeader, b"0 path=x\n", |_| {}),
                file("x", b""),
            ]),
        ),
        (
            "CVE-2025-8194 Python: a negative size",
            build(&[member("x", EntryType::Regular, b"", |header| {
                header.as_mut_bytes()[124..136].fill(0xff);
            })]),
        ),
        (
            "CVE-2025-4517 CVE-2025-4330 Python: links in links, and then out",
            build(&[
                dir("d/"),
                symlink("a", "d"),
                symlink("b", "a/../a/../../outside"),
            ]),
        ),
        (
            "CVE-2025-4138 Python: the target of a link as another",
            build(&[symlink("d/e", "../.."), hard("x", "d/e/passwd")]),
        ),
        (
            "CVE-2021-37712 node-tar: a directory and a link that differ in case",
            build(&[
                dir("CACHE/"),
                symlink("cache", "/tmp"),
                file("CACHE/x", b""),
            ]),
        ),
        (
            "CVE-2021-32804 node-tar: absolute with more than one slash",
            build(&[file("////etc/passwd", b"evil")]),
        ),
        (
            "CVE-2021-29136 umoci: the root itself is a link",
            build(&[symlink("./", "/tmp"), file("x", b"evil")]),
        ),
        (
            "CVE-2022-36113 CVE-2026-5223 Cargo: a link in the place of a file that is written later",
            build(&[symlink("ok", "/etc/passwd"), file("ok", b"evil")]),
        ),
    ];
    cases.map(|(id, tar)| (id, Format::Tar, tar)).into()
}

fn of_zip() -> Vec<Advisory> {
    let small = Member::stored("x", b"x");
    let symlink = |name: &str, target: &[u8]| {
        Member::stored(name, target).with(|member| member.st_mode = 0o120_777)
    };
    let cases = [
        (
            "CVE-2018-1002201 and others: zip slip",
            zip(&[
                Member::stored("good", b""),
                Member::stored("../../tmp/evil", b""),
            ]),
        ),
        (
            "RUSTSEC-2025-0016 CVE-2025-29787 zip: a file through a link",
            zip(&[symlink("d", b"/tmp"), Member::stored("d/evil", b"x")]),
        ),
        (
            "CVE-2024-0450 Python: entries that are quoted by others",
            zip(&[
                Member::stored("a", &zip(std::slice::from_ref(&small))),
                small.with(|member| member.offset = Some(30 + 1)),
            ]),
        ),
        (
            "CVE-2024-8088 Python: a name of slashes",
            zip(&[Member::stored("//", b"")]),
        ),
        (
            "CVE-2021-41772 CVE-2021-27919 Go: no name, or `../` alone",
            zip(&[Member::stored("../", b"")]),
        ),
        (
            "CVE-2021-33196 CVE-2021-39293 Go: more entries than the archive has bytes",
            with_count(zip(&[Member::stored("x", b"")]), u16::MAX - 1),
        ),
        (
            "CVE-2025-8291 Python: the locator points elsewhere than to what is before it",
            zip64(1, 1, |record, locator| {
                locator[8..16].copy_from_slice(&0_u64.to_le_bytes());
                record
            }),
        ),
    ];
    cases.map(|(id, zip)| (id, Format::Zip, zip)).into()
}

#[test]
fn each_is_refused_or_read_as_others_read_it() {
    let mut out = String::new();
    for (id, format, archive) in of_tar().into_iter().chain(of_zip()) {
        let text = match outcome(format, id, &archive) {
            Ok(tree) => format!("read as\n{}", tree.listing()),
            Err(error) => chain(&error),
        };
        writeln!(out, "{id}:\n  {}", text.trim_end().replace('\n', "\n  ")).unwrap();
    }
    insta::assert_snapshot!(out);
}

/// The end says so many entries.
fn with_count(mut zip: Vec<u8>, count: u16) -> Vec<u8> {
    let end = zip.len() - 22;
    for at in [8, 10] {
        zip[end + at..end + at + 2].copy_from_slice(&count.to_le_bytes());
    }
    zip
}

/// A zip of one entry that has a zip64 end with `count` of `total` entries (APPNOTE.TXT §4.3.14), and
/// its locator, as `change` leaves them.
fn zip64(count: u64, total: u64, change: impl FnOnce(Vec<u8>, &mut Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut zip = zip(&[Member::stored("x", b"x")]);
    let mut end = zip.split_off(zip.len() - 22);
    let field =
        |end: &[u8], at: usize| u64::from(u32::from_le_bytes(end[at..at + 4].try_into().unwrap()));
    let (size, start) = (field(&end, 12), field(&end, 16));
    let mut record = b"PK\x06\x06".to_vec();
    record.extend(44_u64.to_le_bytes());
    record.extend([45, 3, 45, 0]);
    record.extend([0; 8]);
    for value in [count, total, size, start] {
        record.extend(value.to_le_bytes());
    }
    let mut locator = b"PK\x06\x07".to_vec();
    locator.extend([0; 4]);
    locator.extend((zip.len() as u64).to_le_bytes());
    locator.extend(1_u32.to_le_bytes());
    let record = change(record, &mut locator);
    end[8..20].fill(0xff);
    zip.extend(record);
    zip.extend(locator);
    zip.extend(end);
    zip
}

/// What the ends of a zip64 can say.
pub(crate) fn zip64_cases() -> Cases {
    let same = |record: Vec<u8>, _: &mut Vec<u8>| record;
    let huge = 10_u64 << 40;
    vec![
        (
            "zip64 end elsewhere",
            zip64(1, 1, |record, locator| {
                locator[8..16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
                record
            }),
        ),
        (
            "zip64 end cut",
            zip64(1, 1, |record, _| record[..20].to_vec()),
        ),
        ("zip64 end with other counts", zip64(7, 7, same)),
        ("zip64 with 2^60 entries", zip64(1 << 60, 1 << 60, same)),
        (
            "zip64 directory of 2^60 bytes",
            zip64(1, 1, |mut record, _| {
                record[40..48].copy_from_slice(&(1_u64 << 60).to_le_bytes());
                record
            }),
        ),
        (
            "zip64 directory beyond the end",
            zip64(1, 1, |mut record, _| {
                record[48..56].copy_from_slice(&(1_u64 << 60).to_le_bytes());
                record
            }),
        ),
        (
            "zip64 directory at the last place",
            zip64(1, 1, |mut record, _| {
                record[48..56].fill(0xff);
                record
            }),
        ),
        (
            "10 TB in a zip",
            zip(&[Member::deflated("x", &text(1000, 1)).with(|member| {
                (member.zip64, member.size) = (true, huge);
            })]),
        ),
        (
            "10 TB in a zip, stored",
            zip(&[Member::stored("x", b"x").with(|member| {
                (member.zip64, member.size, member.compressed) = (true, huge, huge);
            })]),
        ),
    ]
}

#[test]
fn zip64_that_is_abused() {
    insta::assert_snapshot!(refused(Format::Zip, &zip64_cases()));
}

#[test]
fn zip64_that_is_right_is_read() {
    let archive = zip64(1, 1, |record, _| record);
    let tree = outcome(Format::Zip, "right", &archive).unwrap();
    assert_eq!(tree.listing().to_string(), "-0644 0:0          1 x\n");
}

/// Bombs: they unpack to more than may be in memory.
pub(crate) fn bomb_cases() -> Cases {
    let gzip = |bytes: &mut dyn io::Read| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(bytes, &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let zeros = gzip(&mut io::Read::take(io::repeat(0), 1 << 29));
    let mut header = member("x", EntryType::Regular, b"", |header| {
        header.set_size(1 << 40);
    });
    header.truncate(512);
    // Zeros behind the header of a file that is said to be larger still.
    let declared = [gzip(&mut &header[..]), zeros.clone()].concat();
    vec![
        (
            "gzip bomb of zeros",
            [gzip(&mut &b"x"[..]), zeros.clone()].concat(),
        ),
        ("gzip bomb as a file that it cuts", declared),
        ("gzip in gzip", gzip(&mut &zeros[..])),
    ]
}

#[test]
fn bombs() {
    insta::assert_snapshot!(refused(Format::Tar, &bomb_cases()));
}

#[test]
fn archives_in_archives_are_files() {
    let bomb = zip(&[Member::deflated("zeros", &vec![0; 1 << 20])]);
    let nested = zip(&[
        Member::stored("a.zip", &bomb),
        Member::deflated("b.zip", &bomb),
    ]);
    let tree = outcome(Format::Zip, "nested", &nested).unwrap();
    assert_eq!(tree.len(), 2);
    for (path, _) in &tree {
        assert_eq!(tree.read(&path, 1 << 20).unwrap(), bomb);
    }
}
