//! `cargo xtask ci`: everything that a change must pass.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Failure, Result, USAGE};
use crate::process;
use crate::table::Table;
use crate::workspace;
use crate::{demo, depcheck, fuzz, test, tidy};

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// The cheap ones first.
const STEPS: &[Step] = &[
    ("fmt", || cargo(&["fmt", "--all", "--", "--check"])),
    ("depcheck", || depcheck::run(&[])),
    ("tidy", || tidy::run(&[])),
    ("clippy", || {
        let scope = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
        ];
        cargo(&[&scope[..], &["--", "-D", "warnings"]].concat())
    }),
    ("doc", doc),
    ("test", || test::run(&[])),
    ("demo", || demo::run(&[])),
    ("fuzz", fuzz::briefly),
];

pub(crate) fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        return Err(Failure::with_status(
            USAGE,
            "`cargo xtask ci` takes no arguments",
        ));
    }
    let mut table = Table::new(&["step", "seconds", "outcome"]);
    let mut outcome = Ok(());
    for (name, step) in STEPS {
        if outcome.is_err() {
            table.row([(*name).to_owned(), String::new(), "not run".to_owned()]);
            continue;
        }
        println!("\n== {name}");
        let begin = Instant::now();
        outcome = step().context(|| format!("step `{name}`"));
        let state = if outcome.is_ok() { "passed" } else { "failed" };
        table.row([
            (*name).to_owned(),
            seconds(begin.elapsed()),
            state.to_owned(),
        ]);
    }
    print!("\n{}", table.render());
    outcome
}

fn doc() -> Result<()> {
    let mut command = Command::new(workspace::cargo());
    command
        .current_dir(workspace::root())
        .env("RUSTDOCFLAGS", "-D warnings");
    command.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--locked",
    ]);
    process::passed_on(&mut command)
}

fn cargo(args: &[&str]) -> Result<()> {
    process::passed_on(
        Command::new(workspace::cargo())
            .current_dir(workspace::root())
            .args(args),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
