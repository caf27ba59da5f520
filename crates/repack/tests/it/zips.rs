//! What zips of all makers become.

use repack::{Kind, Tree};

use crate::support::{
    index_zip, path, text,
    zip::{DOS, Member, build},
};

fn listing(tree: &Tree) -> Vec<String> {
    let line = |(path, entry): (repack::EntryPath, repack::Entry)| {
        let kind = match &entry.kind {
            Kind::File(content) => format!("{} bytes", content.size()),
            Kind::Dir => "dir".to_owned(),
            Kind::Symlink(target) => format!("-> {}", target.escape_ascii()),
            other => format!("{other:?}"),
        };
        format!("{:04o} {path} {kind}", entry.metadata.mode)
    };
    tree.iter().map(line).collect()
}

#[test]
fn modes_of_unix_are_kept_and_special_bits_are_not() {
    let mode = |mode| move |member: &mut Member| member.st_mode = mode;
    let zip = build(&[
        Member::stored("d/", b"").with(mode(0o40_700)),
        Member::deflated("d/run.sh", b"x").with(mode(0o100_755)),
        Member::deflated("d/suid", b"x").with(mode(0o104_755)),
        Member::stored("link", b"d/run.sh").with(mode(0o120_777)),
        Member::stored("no-type", b"x").with(mode(0o600)),
        Member::stored("nothing", b"x").with(mode(0)),
        Member::stored("secret", b"x").with(mode(0o100_000)),
        Member::stored("slashless", b"").with(mode(0o40_711)),
    ]);
    assert_eq!(
        listing(&index_zip(zip).unwrap()),
        [
            "0700 d dir",
            "0755 d/run.sh 1 bytes",
            "0755 d/suid 1 bytes",
            "0777 link -> d/run.sh",
            "0600 no-type 1 bytes",
            "0644 nothing 1 bytes",
            "0644 secret 1 bytes",
            "0711 slashless dir",
        ]
    );
}

#[test]
fn zips_of_windows_get_the_usual_modes() {
    let dos = |member: Member| {
        member.with(|member| {
            member.made_by = DOS;
            // Python writes Unix modes there, too; what they mean nobody can tell.
            member.st_mode = 0o100_600;
        })
    };
    let zip = build(&[
        dos(Member::stored("d/", b"")),
        dos(Member::stored("d/run.bat", b"x")),
    ]);
    assert_eq!(
        listing(&index_zip(zip).unwrap()),
        ["0755 d dir", "0644 d/run.bat 1 bytes"]
    );
}

#[test]
fn names_are_utf8_or_cp437() {
    let utf8 = |member: &mut Member| member.flags |= 1 << 11;
    let zip = build(&[
        Member::stored("grün", b"").with(utf8),
        Member::stored("größe", b""),
        // CP437: 0x81 is ü, 0x9a is Ü.
        Member::stored(b"f\x81r/\x9aber", b""),
    ]);
    let names: Vec<_> = listing(&index_zip(zip).unwrap());
    assert_eq!(
        names,
        [
            "0755 für dir",
            "0644 für/Über 0 bytes",
            "0644 größe 0 bytes",
            "0644 grün 0 bytes"
        ]
    );
}

#[test]
fn a_unicode_path_counts_if_it_is_that_of_the_name() {
    let name = "grün".as_bytes();
    let zip = build(&[
        Member::stored(b"gr\x81n", b"").with_unicode_name(name),
        // Somebody has renamed it since, who did not know of the field.
        Member::stored("old", b"")
            .with_unicode_name(b"elsewhere")
            .with(|member| {
                member.name = b"new".to_vec();
            }),
    ]);
    let names: Vec<_> = listing(&index_zip(zip).unwrap());
    assert_eq!(names, ["0644 grün 0 bytes", "0644 new 0 bytes"]);
}

#[test]
fn descriptors_zip64_and_prefixes_are_read() {
    let content = text(100_000, 1);
    let wide = |member: &mut Member| member.zip64 = true;
    let members = [
        Member::deflated("a", &content).with_descriptor(),
        Member::deflated("b", &content).with(wide),
        Member::deflated("c", &content).with(wide).with_descriptor(),
        Member::stored("d", &content).with_descriptor(),
        Member::deflated("e", &content).with(|member| {
            *member = member.clone().with_descriptor();
            // The signature is optional.
            member.descriptor.drain(..4);
        }),
    ];
    let zip = build(&members);
    // A self-extracting archive has a program before it.
    let with_stub = [&b"#!/bin/sh\n"[..], &zip].concat();
    for zip in [zip, with_stub] {
        let tree = index_zip(zip).unwrap();
        assert_eq!(tree.len(), members.len());
        for (name, _) in &tree {
            assert_eq!(tree.read(&name, 1 << 20).unwrap(), content, "{name}");
        }
    }
}

#[test]
fn the_zip_crates_own_archives_are_read() {
    use std::io::Write;
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o750);
    for (name, method, large) in [
        ("a", CompressionMethod::Stored, false),
        ("b", CompressionMethod::Deflated, false),
        ("c", CompressionMethod::Deflated, true),
    ] {
        let options = options.compression_method(method).large_file(large);
        writer.start_file(name, options).unwrap();
        writer.write_all(name.as_bytes()).unwrap();
    }
    writer.add_directory("d/e", options).unwrap();
    writer.add_symlink("s", "a", options).unwrap();
    let zip = writer.finish().unwrap().into_inner();
    let tree = index_zip(zip).unwrap();
    assert_eq!(
        listing(&tree),
        [
            "0750 a 1 bytes",
            "0750 b 1 bytes",
            "0750 c 1 bytes",
            "0755 d dir",
            "0750 d/e dir",
            "0777 s -> a"
        ]
    );
    assert_eq!(tree.read(&path("c"), 9).unwrap(), "c");
}

#[test]
fn an_empty_zip_is_an_empty_tree() {
    assert!(index_zip(build(&[])).unwrap().is_empty());
}

#[test]
fn the_root_itself_is_no_entry() {
    let zip = build(&[Member::stored("./", b""), Member::stored("./a", b"x")]);
    assert_eq!(listing(&index_zip(zip).unwrap()), ["0644 a 1 bytes"]);
}
