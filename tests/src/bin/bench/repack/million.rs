//! A million entries, for the memory that they need.

use std::{
    env, fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::{Bench, WORKER, describe, peak, race};
use crate::{Result, measure::Contender, table::Table};

/// Archives with the same entries.
pub(super) struct Inputs {
    zip: PathBuf,
    tar: PathBuf,
}

/// A zip and a tar of so many small files.
pub(super) fn inputs(folder: &Path, count: u32) -> Result<Inputs> {
    let inputs = Inputs {
        zip: folder.join(format!("entries-{count}.zip")),
        tar: folder.join(format!("entries-{count}.tar")),
    };
    let half = folder.join("half");
    if !inputs.zip.exists() {
        eprintln!("making {}", inputs.zip.display());
        let mut zip = ZipWriter::new(BufWriter::new(fs::File::create(&half)?));
        let options = SimpleFileOptions::default();
        for n in 0..count {
            zip.start_file(name(n), options)?;
            write!(zip, "this is file {n}")?;
        }
        zip.finish()?.flush()?;
        fs::rename(&half, &inputs.zip)?;
    }
    if !inputs.tar.exists() {
        eprintln!("making {}", inputs.tar.display());
        let mut tar = tar::Builder::new(BufWriter::new(fs::File::create(&half)?));
        for n in 0..count {
            let content = format!("this is file {n}");
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1_600_000_000 + u64::from(n % 1000));
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name(n), content.as_bytes())?;
        }
        tar.into_inner()?.flush()?;
        fs::rename(&half, &inputs.tar)?;
    }
    Ok(inputs)
}

fn name(n: u32) -> String {
    format!(
        "usr/share/data/{:03}/{:02}/entry-{n:07}.txt",
        n % 997,
        n % 83
    )
}

impl Bench {
    pub(super) fn million(&self, inputs: &Inputs, table: &mut Table) -> Result<()> {
        table.inputs.push(describe("many entries", &inputs.zip)?);
        let out = self.work.join("million.tar.gz");
        let zip = Contender::new(
            "us, from a zip",
            &out,
            [&self.ours, &inputs.zip, &out].map(|word| word.as_os_str()),
        );
        let this = env::current_exe()?;
        let tar = Contender::new(
            "us, from a tar",
            &out,
            [
                this.as_os_str(),
                WORKER.as_ref(),
                "tar2layer".as_ref(),
                inputs.tar.as_os_str(),
                out.as_os_str(),
            ],
        );
        let runs = race("many entries", &[(zip, 1), (tar, 1)])?;
        peak(table, "many entries of a zip, peak memory", &runs[0]);
        peak(table, "many entries of a tar, peak memory", &runs[1]);
        table.samples.push(("many entries", runs));
        fs::remove_file(out)?;
        Ok(())
    }
}
