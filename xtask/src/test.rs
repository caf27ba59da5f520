//! `cargo xtask test`: all tests, and at the end what was skipped and why.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

mod count;
mod skipped;

use crate::failure::{Context as _, Failure, Result};
use crate::peers;
use crate::process;
use crate::workspace;

use self::count::Count;
use self::skipped::Skipped;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let filter = args.strip_prefix(&["--".to_owned()]).unwrap_or(args);
    let skips = fresh_file()?;
    let vars = variables(&skips)?;

    let mut count = Some(Count::default());
    let mut failed = Vec::new();
    for suite in suites(filter) {
        let mut command = suite.command;
        command.envs(vars.iter().map(|(key, value)| (*key, value)));
        let (status, output) = run_and_read(&mut command)?;
        let counted = (suite.count)(&output);
        count = count.zip(counted).map(|(sum, more)| sum + more);
        if !status.success() {
            failed.push(format!("`{}` ended with {status}", process::show(&command)));
            if counted.is_none() {
                // What does not compile for one suite does not for the next.
                break;
            }
        }
    }

    let text = fs::read_to_string(&skips).context(|| format!("reading `{}`", skips.display()))?;
    let skipped = Skipped::parse(&text);
    if skipped.tests() > 0 {
        print!(
            "\nSkipped for want of a peer (`cargo xtask peers` installs and starts them):\n{skipped}"
        );
    }
    if let Some(count) = count {
        println!("\n{}", count.without(skipped.tests()));
    }
    if workspace::flag("REQUIRE_PEERS") && skipped.tests() > 0 {
        failed.push(format!(
            "{} tests were skipped, while REQUIRE_PEERS is set",
            skipped.tests()
        ));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(failed.join("; ")))
    }
}

/// A run of tests and how its output says what happened.
struct Suite {
    command: Command,
    count: fn(&str) -> Option<Count>,
}

/// The test programs by nextest or, where it is not installed, by cargo itself; then the examples in
/// the documentation, unless a filter says which tests are wanted.
fn suites(filter: &[String]) -> Vec<Suite> {
    let some_crates = filter
        .iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let cargo = |args: &[&str]| {
        let mut command = Command::new(workspace::cargo());
        command.current_dir(workspace::root()).args(args);
        command.args(["--all-features", "--no-fail-fast"]);
        if !some_crates {
            command.arg("--workspace");
        }
        command
    };
    let nextest = Command::new(workspace::cargo())
        .args(["nextest", "--version"])
        .output();
    let mut programs = if nextest.is_ok_and(|done| done.status.success()) {
        Suite {
            command: cargo(&["nextest", "run"]),
            count: count::nextest,
        }
    } else {
        Suite {
            command: cargo(&["test", "--lib", "--bins", "--tests"]),
            count: count::cargo,
        }
    };
    programs.command.args(filter);
    if !filter.is_empty() {
        return vec![programs];
    }
    vec![
        programs,
        Suite {
            command: cargo(&["test", "--doc"]),
            count: count::cargo,
        },
    ]
}

/// What the tests learn from us.
fn variables(skips: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut vars = vec![("GANTRY_SKIPPED", skips.to_owned())];
    if env::var_os("GANTRY_PEERS").is_none() {
        // A file that does not exist names no peers.
        vars.push((
            "GANTRY_PEERS",
            peers::running()?.unwrap_or_else(|| PathBuf::from("none")),
        ));
    }
    if let Some(data) = env::var_os("REAL_DATA").filter(|data| !data.is_empty()) {
        // Tests run in the folders of their crates.
        let data = fs::canonicalize(&data)
            .context(|| format!("looking for REAL_DATA `{}`", Path::new(&data).display()))?;
        vars.push(("REAL_DATA", data));
    }
    if io::stderr().is_terminal() && env::var_os("CARGO_TERM_COLOR").is_none() {
        vars.push(("CARGO_TERM_COLOR", PathBuf::from("always")));
    }
    Ok(vars)
}

fn fresh_file() -> Result<PathBuf> {
    let dir = workspace::target().join("xtask");
    fs::create_dir_all(&dir).context(|| format!("creating `{}`", dir.display()))?;
    // Two runs at a time must not share it.
    let file = dir.join(format!("skipped-{}", std::process::id()));
    fs::write(&file, "").context(|| format!("writing `{}`", file.display()))?;
    Ok(file)
}

/// Runs a program whose output both goes on to ours and comes back.
fn run_and_read(command: &mut Command) -> Result<(ExitStatus, String)> {
    let shown = process::show(command);
    let starting = || format!("starting `{shown}`");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(starting)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read: io::Result<String> = thread::scope(|scope| {
        let errors = scope.spawn(|| stderr.map_or(Ok(String::new()), |it| tee(it, io::stderr())));
        let output = stdout.map_or(Ok(String::new()), |it| tee(it, io::stdout()));
        let errors = errors
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a reader panicked")));
        Ok(output? + &errors?)
    });
    let status = child.wait().context(|| format!("waiting for `{shown}`"))?;
    Ok((
        status,
        read.context(|| format!("reading the output of `{shown}`"))?,
    ))
}

fn tee(from: impl Read, mut to: impl Write) -> io::Result<String> {
    let mut from = BufReader::new(from);
    let mut all = Vec::new();
    loop {
        let begin = all.len();
        if from.read_until(b'\n', &mut all)? == 0 {
            return Ok(String::from_utf8_lossy(&all).into_owned());
        }
        to.write_all(&all[begin..])?;
        to.flush()?;
    }
}
