//! Layers read by the tools that people have, and archives that these tools made.

use std::{fs, path::Path, process::Command};

use ocicore::{SizeLimits, conformance::peer::peer};
use repack::Cx;

use crate::{
    sinks::{Form, OF_ESTARGZ, kinds, output, tree, write_all},
    support::{
        disk::{expected, on_disk},
        gunzip, text,
    },
};

/// For Python: an archive into a directory.
const EXTRACT: &str = "import sys, tarfile\n\
    tarfile.open(sys.argv[1]).extractall(sys.argv[2])\n";

/// Writes a layer in each form and has it extracted by `extract(layer, into)`.
fn check(takes: &[Form], extract: &dyn Fn(&Path, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree();
    for (name, layer, _) in write_all(&tree, dir.path(), takes) {
        let into = dir.path().join(format!("{name}.out"));
        fs::create_dir(&into).unwrap();
        extract(&layer, &into);
        for added in OF_ESTARGZ {
            let _ = fs::remove_file(into.join(added));
        }
        assert_eq!(on_disk(&into), expected(&tree), "{name}");
    }
}

#[test]
fn gnu_tar_and_gzip_read_it() {
    let (Some(tar), Some(gzip)) = (peer("GNU_TAR"), peer("GZIP")) else {
        return;
    };
    check(&[Form::Tar, Form::Gzip], &|layer, into| {
        if layer.extension().is_some_and(|extension| extension == "gz") {
            output(Command::new(&gzip).arg("-t").arg(layer));
        }
        let mut command = Command::new(&tar);
        output(command.arg("-xpf").arg(layer).arg("-C").arg(into));
    });
}

/// Devices and so on, which only root could extract.
#[test]
fn all_kinds_of_entries_are_listed() {
    let (Some(tar), Some(bsdtar), Some(busybox), Some(python)) = (
        peer("GNU_TAR"),
        peer("BSDTAR"),
        peer("BUSYBOX_STATIC"),
        peer("PYTHON3"),
    ) else {
        return;
    };
    let script = "import sys, tarfile\n\
        for member in tarfile.open(sys.argv[1]): print(member.name)\n";
    let dir = tempfile::tempdir().unwrap();
    let tree = kinds();
    for (name, layer, _) in write_all(&tree, dir.path(), &[Form::Tar, Form::Gzip]) {
        let is_gzip = layer.extension().is_some_and(|extension| extension == "gz");
        let flags = if is_gzip { "-tzf" } else { "-tf" };
        for (program, arguments) in [
            (&tar, &["-tf"][..]),
            (&bsdtar, &["-tf"]),
            (&busybox, &["tar", flags]),
            (&python, &["-c", script]),
        ] {
            let mut command = Command::new(program);
            command.env("LC_ALL", "C.UTF-8").args(arguments);
            let said = String::from_utf8(output(command.arg(&layer))).unwrap();
            let names = said.lines().map(|name| name.trim_end_matches('/'));
            let names: Vec<_> = names.filter(|name| !OF_ESTARGZ.contains(name)).collect();
            // GNU tar writes what is not ASCII as octal numbers.
            let escaped = |name: &str| {
                let octal = |byte: u8| format!("\\{byte:03o}");
                let bytes = name.bytes().map(|byte| match byte {
                    0..128 => char::from(byte).to_string(),
                    _ => octal(byte),
                });
                bytes.collect::<String>()
            };
            let expected: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
            let same = names == expected
                || names
                    == expected
                        .iter()
                        .map(|name| escaped(name))
                        .collect::<Vec<_>>();
            assert!(same, "{program} {name}: {names:?}");
        }
    }
}

/// What has no decompressor for Zstandard reads what the real one makes of it.
#[test]
fn readers_of_tars_read_it_behind_zstd() {
    let (Some(zstd), Some(tar), Some(busybox), Some(python)) = (
        peer("ZSTD"),
        peer("GNU_TAR"),
        peer("BUSYBOX_STATIC"),
        peer("PYTHON3"),
    ) else {
        return;
    };
    check(&[Form::Zstd], &|layer, into| {
        let mut command = Command::new(&tar);
        command.arg(format!("--use-compress-program={zstd}"));
        output(command.arg("-xpf").arg(layer).arg("-C").arg(into));
    });
    let unpacked = |layer: &Path| {
        let tar = layer.with_extension("unpacked.tar");
        let mut command = Command::new(&zstd);
        output(command.args(["-d", "-q", "-f", "-o"]).arg(&tar).arg(layer));
        tar
    };
    check(&[Form::Zstd], &|layer, into| {
        let mut command = Command::new(&busybox);
        command.args(["tar", "-xpf"]).arg(unpacked(layer));
        output(command.arg("-C").arg(into));
    });
    check(&[Form::Zstd], &|layer, into| {
        let mut command = Command::new(&python);
        command.args(["-W", "ignore", "-c", EXTRACT]);
        output(command.arg(unpacked(layer)).arg(into));
    });
}

#[test]
fn bsdtar_reads_it() {
    let Some(bsdtar) = peer("BSDTAR") else { return };
    let forms = [Form::Tar, Form::Gzip, Form::Zstd];
    check(&forms, &|layer, into| {
        let mut command = Command::new(&bsdtar);
        // Names are UTF-8 there only in a locale that says so.
        command.env("LC_ALL", "C.UTF-8");
        output(command.arg("-xpf").arg(layer).arg("-C").arg(into));
    });
}

#[test]
fn busybox_reads_it() {
    let Some(busybox) = peer("BUSYBOX_STATIC") else {
        return;
    };
    check(&[Form::Tar, Form::Gzip], &|layer, into| {
        let is_gzip = layer.extension().is_some_and(|extension| extension == "gz");
        let flags = if is_gzip { "-xpzf" } else { "-xpf" };
        let mut command = Command::new(&busybox);
        output(command.args(["tar", flags]).arg(layer).arg("-C").arg(into));
    });
}

#[test]
fn python_reads_it() {
    let Some(python) = peer("PYTHON3") else {
        return;
    };
    check(&[Form::Tar, Form::Gzip], &|layer, into| {
        let mut command = Command::new(&python);
        command.args(["-W", "ignore", "-c", EXTRACT]);
        output(command.arg(layer).arg(into));
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
