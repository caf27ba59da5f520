//! Zips to layers.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

use crate::{
    Options, Result, input,
    measure::{Contender, Measured, race},
    table::{Bar, Table},
};

/// First argument of the process that does it as a program on zip, tar and flate2 would.
pub(crate) const BASELINE: &str = "__zip-tar-flate2";

pub(crate) fn bench(options: Options) -> Result<Table> {
    let folder = input::folder()?;
    let scale = if options.quick { 16 } else { 1 };
    let talend = input::talend_like(&folder, (331 << 20) / scale)?;
    let texts = input::texts(&folder, 20_000 / u32::try_from(scale)?)?;
    let large = input::large(&folder, 4, (256 << 20) / scale)?;
    let ours = zip2layer()?;
    let rounds = if options.quick { 1 } else { 3 };
    let mut table = Table::new("repack");

    let work = tempfile::tempdir_in(&folder)?;
    let race = |name, zip: &Path| -> Result<Vec<Measured>> {
        eprintln!("{name}");
        race(&contenders(zip, work.path(), &ours)?, rounds)
    };
    let size = |name: &str| -> Result<u64> { Ok(fs::metadata(work.path().join(name))?.len()) };

    let runs = race("Talend-like", &talend)?;
    let us = &runs[0];
    table
        .inputs
        .push(describe("Talend-like zip of Debian's jars", &talend)?);
    for (peer, bar) in [(1, 14.0), (2, 8.0), (3, 11.0)] {
        let theirs = (runs[peer].name, runs[peer].wall());
        table.faster("Talend-like, wall", us.wall(), theirs, Bar::AtLeast(bar));
    }
    table.faster(
        "Talend-like, wall",
        us.wall(),
        (runs[4].name, runs[4].wall()),
        Bar::None,
    );
    let out = work.path().join("us.tar.gz");
    let check = Contender::new(
        "libdeflate-gzip -t",
        Path::new(""),
        ["libdeflate-gzip".as_ref(), "-t".as_ref(), out.as_os_str()],
    );
    let inflate = crate::measure::race(&[check], rounds)?;
    let floor = ("libdeflate-gzip -t of the output", inflate[0].wall());
    table.faster("Talend-like, wall", us.wall(), floor, Bar::AtMost(1.25));
    let limit = ("limit", 96 << 20);
    table.bytes(
        "Talend-like, peak memory",
        us.peak(),
        limit,
        Bar::AtMost(1.0),
    );
    table.samples.push(("talend-like", runs));

    let runs = race("texts", &texts)?;
    let us = &runs[0];
    table.inputs.push(describe("small files of text", &texts)?);
    let cpu = (runs[1].name, runs[1].cpu());
    table.faster("texts, CPU", us.cpu(), cpu, Bar::AtLeast(7.0));
    let recompressed = ("recompressed", size("unzip.tar.gz")?);
    table.bytes(
        "texts, output",
        size("us.tar.gz")?,
        recompressed,
        Bar::AtMost(1.06),
    );
    table.bytes("texts, peak memory", us.peak(), limit, Bar::AtMost(1.0));
    table.samples.push(("texts", runs));

    let runs = race("large files", &large)?;
    let us = &runs[0];
    table.inputs.push(describe("four large files", &large)?);
    let cpu = (runs[1].name, runs[1].cpu());
    table.faster("large files, CPU", us.cpu(), cpu, Bar::AtLeast(12.0));
    table.bytes(
        "large files, peak memory",
        us.peak(),
        limit,
        Bar::AtMost(1.0),
    );
    table.samples.push(("large", runs));
    Ok(table)
}

/// Us first, then the peers; each writes its own file into `work`.
fn contenders(zip: &Path, work: &Path, ours: &Path) -> Result<Vec<Contender>> {
    let out = |name: &str| work.join(name);
    let (us, unzip, pigz) = (out("us.tar.gz"), out("unzip.tar.gz"), out("pigz.tar.gz"));
    let (bsd, baseline) = (out("bsdtar.tar.gz"), out("baseline.tar.gz"));
    let tree = out("tree");
    let unpack = "rm -rf \"$3\" && mkdir \"$3\" && unzip -q \"$1\" -d \"$3\" && \
         find \"$3\" -name '*_run.sh' -exec chmod +x {} +";
    let this = env::current_exe()?;
    Ok(vec![
        Contender::new(
            "us",
            &us,
            [ours.as_os_str(), zip.as_os_str(), us.as_os_str()],
        ),
        Contender::shell(
            "unzip + chmod + tar czf",
            &unzip,
            &format!("{unpack} && tar -czf \"$2\" -C \"$3\" ."),
            &[zip, &unzip, &tree],
        ),
        Contender::shell(
            "unzip + tar + pigz",
            &pigz,
            &format!("{unpack} && tar -cf - -C \"$3\" . | pigz > \"$2\""),
            &[zip, &pigz, &tree],
        ),
        Contender::shell(
            "bsdtar -czf @zip",
            &bsd,
            "bsdtar -czf \"$2\" \"@$1\"",
            &[zip, &bsd],
        ),
        Contender::new(
            "zip + tar + flate2",
            &baseline,
            [
                this.as_os_str(),
                BASELINE.as_ref(),
                zip.as_os_str(),
                baseline.as_os_str(),
            ],
        ),
    ])
}

/// What a Rust program without `repack` would do: inflate, write a tar, deflate, hash both.
pub(crate) fn baseline(args: &[OsString]) -> Result<()> {
    let [zip, out] = args else {
        return Err("expected IN.zip OUT.tar.gz".into());
    };
    let mut archive = zip::ZipArchive::new(fs::File::open(zip)?)?;
    let file = Hashed {
        to: BufWriter::new(fs::File::create(out)?),
        hash: Sha256::new(),
    };
    let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut tar = tar::Builder::new(Hashed {
        to: gzip,
        hash: Sha256::new(),
    });
    for n in 0..archive.len() {
        let mut entry = archive.by_index(n)?;
        let name = entry.enclosed_name().ok_or("a bad name")?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.unix_mode().unwrap_or(0o644) & 0o777);
        header.set_mtime(1);
        if entry.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, name, io::empty())?;
        } else {
            header.set_size(entry.size());
            tar.append_data(&mut header, name, entry.by_ref())?;
        }
    }
    let Hashed {
        to: gzip,
        hash: diff_id,
    } = tar.into_inner()?;
    let Hashed {
        to: mut file,
        hash: digest,
    } = gzip.finish()?;
    file.flush()?;
    println!("{:x?} {:x?}", digest.finalize(), diff_id.finalize());
    Ok(())
}

struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Builds the crate's example, which is what we measure.
fn zip2layer() -> Result<PathBuf> {
    let root = e2e::root();
    let status = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "repack",
            "--example",
            "zip2layer",
        ])
        .current_dir(&root)
        .status()?;
    if !status.success() {
        return Err(format!("zip2layer does not build: {status}").into());
    }
    let this = env::current_exe()?;
    let release = this.parent().ok_or("a program lies in a folder")?;
    Ok(release.join("examples/zip2layer"))
}

fn describe(name: &str, zip: &Path) -> Result<String> {
    let archive = zip::ZipArchive::new(fs::File::open(zip)?)?;
    let size = fs::metadata(zip)?.len() >> 20;
    let unpacked = archive.decompressed_size().unwrap_or(0) >> 20;
    Ok(format!(
        "{name}: {} entries, {unpacked} MiB in a zip of {size} MiB",
        archive.len()
    ))
}
