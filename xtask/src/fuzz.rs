//! `cargo xtask fuzz`: the fuzz targets, each for a while.

use std::process::Command;

use crate::failure::{Failure, Result, USAGE};
use crate::process;
use crate::workspace;

const SECONDS: u64 = 60;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    if !workspace::root().join("fuzz/Cargo.toml").exists() {
        return Err(Failure::with_status(
            USAGE,
            "there are no fuzz targets: `fuzz` does not exist",
        ));
    }
    let mut list = cargo_fuzz("list");
    let known = process::output(&mut list).map_err(|failure| {
        let hint = "`cargo install cargo-fuzz` installs what runs the fuzz targets";
        Failure::with_status(USAGE, format!("{failure}; {hint}"))
    })?;
    let known: Vec<&str> = known.split_whitespace().collect();
    let targets = match &options.target {
        Some(target) if !known.contains(&target.as_str()) => {
            let message = format!("no fuzz target is called `{target}`: {}", known.join(", "));
            return Err(Failure::with_status(USAGE, message));
        }
        Some(target) => vec![target.as_str()],
        None => known,
    };
    for target in targets {
        println!("fuzzing {target} for {} s", options.seconds);
        let mut command = cargo_fuzz("run");
        if !nightly()? {
            // The sanitizers are for nightly compilers only, the fuzzer itself is not.
            command.args(["--sanitizer", "none"]);
        }
        command
            .arg(target)
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds));
        process::passed_on(&mut command)?;
    }
    Ok(())
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

fn cargo_fuzz(subcommand: &str) -> Command {
    let mut command = Command::new(workspace::cargo());
    command
        .current_dir(workspace::root())
        .args(["fuzz", subcommand]);
    command
}

fn nightly() -> Result<bool> {
    Ok(process::output(Command::new("rustc").arg("--version"))?.contains("nightly"))
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
}
