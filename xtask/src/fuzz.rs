//! `cargo xtask fuzz`: the fuzz targets, each for a while.
//!
//! The targets are instrumented by flags that a stable compiler takes, and bring the fuzzer along, so that nothing
//! has to be installed. What the fuzzer learns stays in `fuzz/corpus`; it begins with `fuzz/seeds`, which also
//! keep each input that once failed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::failure::{Context as _, Failure, Result, USAGE};
use crate::process;
use crate::table::Table;
use crate::workspace;

const SECONDS: u64 = 60;

/// What `cargo fuzz` passes to LLVM: a counter for each edge, and operands of comparisons.
const FLAGS: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Bounds of one input: seconds, more than any needs on a busy machine, and MiB.
const LIMITS: &[&str] = &["-timeout=60", "-rss_limit_mb=1024", "-print_final_stats=1"];

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    let known = targets(&workspace::root().join("fuzz/fuzz_targets"))?;
    let targets = match options.target {
        Some(target) if !known.contains(&target) => {
            let message = format!("no fuzz target is called `{target}`: {}", known.join(", "));
            return Err(Failure::with_status(USAGE, message));
        }
        Some(target) => vec![target],
        None => known,
    };
    let programs = build(&targets)?;
    run_all(&programs, options.seconds)
}

/// As a step of CI: a few seconds for each.
pub(crate) fn briefly() -> Result<()> {
    run(&["--seconds".to_owned(), "10".to_owned()])
}

/// Each file is a target.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).context(|| format!("reading `{}`", folder.display()))?;
    let mut targets: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_source = path.extension()? == "rs";
            let name = path.file_stem()?.to_str()?;
            is_source.then(|| name.to_owned())
        })
        .collect();
    targets.sort();
    Ok(targets)
}

/// Builds the targets; returns where each is.
fn build(targets: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let version = process::output(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or_else(|| Failure::new("`rustc -vV` names no host"))?;
    let to = workspace::target().join("fuzz");
    let mut command = Command::new(workspace::cargo());
    command
        .current_dir(workspace::root())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // Not `--locked`: the lock file is apart from that of the workspace, and follows its manifests.
        .args(["build", "--release", "--quiet"])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        // With a target, build scripts and macros are not instrumented.
        .args(["--target", host])
        .arg("--target-dir")
        .arg(&to);
    for target in targets {
        command.args(["--bin", target]);
    }
    println!("building {} fuzz targets", targets.len());
    process::passed_on(&mut command)?;
    let programs = to.join(host).join("release");
    let named = |target: &String| (target.clone(), programs.join(target));
    Ok(targets.iter().map(named).collect())
}

/// Runs as many at once as the machine has processors; all of them, also when one fails.
fn run_all(programs: &BTreeMap<String, PathBuf>, seconds: u64) -> Result<()> {
    let waiting = Mutex::new(programs.iter());
    let done = Mutex::new(BTreeMap::new());
    let at_once = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..at_once.min(programs.len()) {
            scope.spawn(|| {
                let next = || {
                    waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .next()
                };
                while let Some((target, program)) = next() {
                    println!("fuzzing {target} for {seconds} s");
                    let outcome = run_one(target, program, seconds);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(target.clone(), outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut table = Table::new(&["target", "runs", "outcome"]);
    let mut failures = Vec::new();
    for (target, outcome) in done {
        match outcome {
            Ok(runs) => table.row([target, runs, "nothing found".to_owned()]),
            Err(failure) => {
                table.row([target, String::new(), "failed".to_owned()]);
                failures.push(failure.to_string());
            }
        }
    }
    print!("\n{}", table.render());
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(failures.join("\n")))
}

/// Runs one target; returns how many inputs it had.
fn run_one(target: &str, program: &Path, seconds: u64) -> Result<String> {
    let fuzz = workspace::root().join("fuzz");
    let folder = |name: &str| {
        let path = fuzz.join(name).join(target);
        fs::create_dir_all(&path).context(|| format!("creating `{}`", path.display()))?;
        Ok::<_, Failure>(path)
    };
    let (corpus, artifacts) = (folder("corpus")?, folder("artifacts")?);
    let log = workspace::target()
        .join("fuzz")
        .join(format!("{target}.log"));
    fs::write(&log, "").context(|| format!("writing `{}`", log.display()))?;
    let mut command = Command::new(program);
    command
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(corpus);
    let seeds = fuzz.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let outcome = process::logged(&mut command, &log);
    let said = fs::read(&log).context(|| format!("reading `{}`", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    match outcome {
        Ok(()) => Ok(after(&said, "stat::number_of_executed_units:").unwrap_or_default()),
        Err(failure) => {
            let input = after(&said, "Test unit written to").map_or_else(
                || format!("see `{}`", log.display()),
                |input| format!("the input is `{input}`, the log `{}`", log.display()),
            );
            let why = after(&said, "panicked at").map_or_else(
                || failure.to_string(),
                |place| format!("a panic at {place}"),
            );
            Err(Failure::new(format!(
                "fuzz target `{target}`: {why}; {input}"
            )))
        }
    }
}

/// What stands behind a text, to the end of its line.
fn after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.lines().next()?.trim().to_owned())
}

#[derive(Debug, PartialEq)]
struct Options {
    target: Option<String>,
    seconds: u64,
}

fn parse(args: &[String]) -> Result<Options> {
    let usage = |why: &str| {
        let message = format!("{why}; usage: cargo xtask fuzz [TARGET] [--seconds N]");
        Failure::with_status(USAGE, message)
    };
    let mut options = Options {
        target: None,
        seconds: SECONDS,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--seconds" => {
                let value = rest.next().and_then(|value| value.parse().ok());
                options.seconds = value.ok_or_else(|| usage("`--seconds` needs a number"))?;
            }
            option if option.starts_with('-') => {
                return Err(usage(&format!("`{option}` is no option")));
            }
            target if options.target.is_none() => options.target = Some(target.to_owned()),
            another => return Err(usage(&format!("`{another}` is one target too many"))),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(Option<&str>, u64), &str>) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match (parse(&args), expected) {
            (Ok(options), Ok((target, seconds))) => {
                assert_eq!(
                    options,
                    Options {
                        target: target.map(str::to_owned),
                        seconds
                    }
                );
            }
            (Err(failure), Err(start)) => {
                assert!(failure.to_string().starts_with(start), "{failure}");
                assert_eq!(failure.status(), USAGE);
            }
            (parsed, expected) => panic!("`{line}`: {parsed:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_command_line() {
        check("", Ok((None, SECONDS)));
        check("zip --seconds 5", Ok((Some("zip"), 5)));
        check("--seconds five", Err("`--seconds` needs a number"));
        check("--seconds", Err("`--seconds` needs a number"));
        check("zip tar", Err("`tar` is one target too many"));
        check("--jobs", Err("`--jobs` is no option"));
    }

    #[test]
    fn each_file_is_a_target_of_the_manifest() {
        let fuzz = workspace::root().join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("it is there");
        let targets = targets(&fuzz.join("fuzz_targets")).expect("they are there");
        assert!(targets.is_sorted() && !targets.is_empty());
        for target in &targets {
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
        }
        let seeds = fs::read_dir(fuzz.join("seeds")).expect("they are there");
        for seed in seeds {
            let name = seed.expect("it is readable").file_name();
            assert!(
                targets.contains(&name.to_string_lossy().into_owned()),
                "{name:?}"
            );
        }
    }

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let said = "#2 INITED\nthread panicked at src/a.rs:1:2:\n\
            artifact_prefix='x/'; Test unit written to x/crash-1\n\
            stat::number_of_executed_units: 17\n";
        let after = |before| after(said, before).unwrap_or_default();
        assert_eq!(after("Test unit written to"), "x/crash-1");
        assert_eq!(after("stat::number_of_executed_units:"), "17");
        assert_eq!(after("panicked at"), "src/a.rs:1:2:");
        assert_eq!(after("nothing of it"), "");
    }
}
