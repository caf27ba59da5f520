//! Zips to layers, and layers to files.

mod extraction;
mod layers;
mod million;
mod worker;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) use self::worker::{WORKER, work};
use crate::{
    Options, Result, input,
    measure::{Contender, Measured},
    table::{Bar, Table},
};

/// What a layer may take in memory, whatever goes into it.
const MEMORY: (&str, u64) = ("limit", 96 << 20);

pub(crate) fn bench(options: Options) -> Result<Table> {
    let folder = input::folder()?;
    let scale = if options.quick { 16 } else { 1 };
    let talend = input::talend_like(&folder, (331 << 20) / scale)?;
    let files = 20_000 / usize::try_from(scale)?;
    let texts = input::texts(&folder, files)?;
    let large = input::large(&folder, 4, (256 << 20) / scale)?;
    let million = million::inputs(&folder, 1_000_000 / u32::try_from(scale)?)?;
    let rounds = if options.quick { 1 } else { 3 };
    let work = tempfile::tempdir_in(&folder)?;
    let bench = Bench {
        rounds,
        ours: zip2layer()?,
        work: work.path().to_owned(),
    };
    let mut table = Table::new("repack");
    bench.talend_like(&talend, &mut table)?;
    bench.texts(&texts, &mut table)?;
    bench.large(&large, &mut table)?;
    bench.million(&million, &mut table)?;
    bench.extraction(&texts, files, &mut table)?;
    Ok(table)
}

/// What all parts share.
struct Bench {
    /// How often everything that is judged runs.
    rounds: usize,
    /// The crate's example, `zip2layer`.
    ours: PathBuf,
    /// For what is written.
    work: PathBuf,
}

/// Runs contenders in turns, each so many times. The first one, which is us, warms up what all of
/// them read.
fn race(name: &str, contenders: &[(Contender, usize)]) -> Result<Vec<Measured>> {
    let mut runs: Vec<_> = contenders
        .iter()
        .map(|(contender, _)| Measured {
            name: contender.name,
            samples: Vec::new(),
        })
        .collect();
    if let Some((us, _)) = contenders.first() {
        us.run()?;
    }
    let most = contenders.iter().map(|(_, rounds)| *rounds).max();
    for round in 1..=most.unwrap_or(0) {
        for ((contender, rounds), run) in contenders.iter().zip(&mut runs) {
            if round <= *rounds {
                eprintln!("{name}, round {round} of {rounds}: {}", contender.name);
                run.samples.push(contender.run()?);
            }
        }
    }
    Ok(runs)
}

/// The time of one contender, for a row.
fn wall(run: &Measured) -> (&str, f64) {
    (run.name, run.wall())
}

fn cpu(run: &Measured) -> (&str, f64) {
    (run.name, run.cpu())
}

fn peak(table: &mut Table, figure: &str, us: &Measured) {
    table.bytes(figure, us.peak(), MEMORY, Bar::AtMost(1.0));
}

/// Builds the crate's example, which is what we measure.
fn zip2layer() -> Result<PathBuf> {
    let status = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--quiet", "--release"])
        .args(["--package", "repack", "--example", "zip2layer"])
        .current_dir(e2e::root())
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
