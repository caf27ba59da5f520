//! Time, processor time and memory of commands.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde::{Deserialize, Serialize};

use crate::Result;

/// First argument of the process that measures its one child.
pub(crate) const WRAPPER: &str = "__measure";

/// A file system in memory.
pub(crate) const TMPFS: &str = "/dev/shm";
/// Files that are too many to be deleted between two runs.
const MANY: usize = 100;

/// One run of one contender.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, of all threads and children, user and system.
    pub(crate) cpu: f64,
    /// Largest resident set of any of its processes, in bytes.
    pub(crate) peak: u64,
}

/// Something that does the work in its own way.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    command: Vec<OsString>,
    /// What it makes, which is [cleared](clear) before each run.
    output: Vec<OsString>,
}

/// A contender with its samples.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

impl Contender {
    /// A program with arguments.
    pub(crate) fn new<T: AsRef<OsStr>>(
        name: &'static str,
        output: &Path,
        command: impl IntoIterator<Item = T>,
    ) -> Self {
        let command = command
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        Self {
            name,
            command,
            output: vec![output.into()],
        }
    }

    /// A line of shell, with `$1`, `$2`, … as given.
    pub(crate) fn shell(name: &'static str, output: &Path, line: &str, args: &[&Path]) -> Self {
        let words = ["sh", "-euc", line, "sh"].map(OsStr::new);
        let args = args.iter().map(|arg| arg.as_os_str());
        Self::new(name, output, words.into_iter().chain(args))
    }

    /// Makes this, too.
    pub(crate) fn and(mut self, output: &Path) -> Self {
        self.output.push(output.into());
        self
    }

    /// Runs it once.
    pub(crate) fn run(&self) -> Result<Sample> {
        for output in &self.output {
            clear(Path::new(output))?;
        }
        let answer = tempfile::NamedTempFile::new()?;
        // What others wrote is not for this one to wait for.
        nix::unistd::sync();
        let status = Command::new(env::current_exe()?)
            .arg(WRAPPER)
            .arg(answer.path())
            .args(&self.command)
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("{} failed: {status}", self.name).into());
        }
        Ok(serde_json::from_slice(&fs::read(answer.path())?)?)
    }
}

/// Removes what is there. Many files on a disk are put aside instead: for minutes after many were
/// deleted, ext4 looks long for the inode of each new one.
fn clear(path: &Path) -> Result<()> {
    if path.is_dir() && !path.starts_with(TMPFS) && count(path)? > MANY {
        let mut aside = (1_u32..).map(|n| path.with_extension(format!("{n}.aside")));
        let free = aside.find(|aside| !aside.exists());
        fs::rename(path, free.ok_or("too many runs")?)?;
    } else if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Files below a directory, or [`MANY`] and some.
fn count(path: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        files += 1;
        if entry.file_type()?.is_dir() {
            files += count(&entry.path())?;
        }
        if files > MANY {
            break;
        }
    }
    Ok(files)
}

/// Runs all contenders once to warm up, then in turns.
pub(crate) fn race(contenders: &[Contender], rounds: usize) -> Result<Vec<Measured>> {
    run_rounds(contenders, 0, rounds)
}

/// Runs all contenders in turns; all of them have just done the same.
pub(crate) fn race_warm(contenders: &[Contender], rounds: usize) -> Result<Vec<Measured>> {
    run_rounds(contenders, 1, rounds)
}

fn run_rounds(contenders: &[Contender], first: usize, rounds: usize) -> Result<Vec<Measured>> {
    let mut measured: Vec<_> = contenders
        .iter()
        .map(|contender| Measured {
            name: contender.name,
            samples: Vec::new(),
        })
        .collect();
    for round in first..=rounds {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            eprintln!("round {round} of {rounds}: {}", contender.name);
            let sample = contender.run()?;
            if round > 0 {
                measured.samples.push(sample);
            }
        }
    }
    Ok(measured)
}

impl Measured {
    pub(crate) fn wall(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.wall))
    }

    pub(crate) fn cpu(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.cpu))
    }

    /// The largest of all runs.
    pub(crate) fn peak(&self) -> u64 {
        self.samples
            .iter()
            .map(|sample| sample.peak)
            .max()
            .unwrap_or(0)
    }
}

/// The process that has no other child than the command: its children's usage is the command's.
pub(crate) fn wrapper(args: &[OsString]) -> Result<()> {
    let [answer, program, args @ ..] = args else {
        return Err("expected ANSWER PROGRAM [ARGS]".into());
    };
    let start = Instant::now();
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status()?;
    let wall = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{}: {status}", program.to_string_lossy()).into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let sample = Sample {
        wall,
        cpu: std::time::Duration::from_micros(u64::try_from(micros)?).as_secs_f64(),
        // Linux counts in KiB.
        peak: u64::try_from(usage.max_rss())? * 1024,
    };
    Ok(fs::write(answer, serde_json::to_vec(&sample)?)?)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
