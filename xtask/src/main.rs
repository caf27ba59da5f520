//! Tasks of this workspace: `cargo xtask <task>`.
//!
//! Each task is one module. A task starts programs and looks at files; it knows none of our crates.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

use std::env;
use std::process::ExitCode;

mod bench;
mod ci;
mod demo;
mod depcheck;
mod failure;
mod fuzz;
mod peers;
mod process;
mod table;
mod test;
mod tidy;
mod workspace;

use crate::failure::{Failure, Result, USAGE};

const HELP: &str = "\
Tasks of this workspace

Usage: cargo xtask <TASK>

  demo [ARGS]                     Turn the sample job into an image, push it, pull it back and check it
  test [-- ARGS]                  Run all tests; at the end, list what was skipped and why
  ci                              Everything that a change must pass, step by step
  peers [--stop | --status]       Install and start the real parts that tests run against (Debian, root)
  depcheck [--list]               Check the edges between our crates against the design
  tidy                            Check what neither rustfmt nor clippy looks at
  bench NAME [--quick] [--json]   Run one benchmark beside its peers
  fuzz [TARGET] [--seconds N]     Run the fuzz targets, each for a while (default: 60 seconds)

Environment:
  REQUIRE_PEERS=1     a missing peer, or a test skipped for want of one, is a failure
  REAL_DATA=DIR       public real input for tests
  GANTRY_PEERS_DIR    where the peers live (default: `peers` in the target directory)
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((task, rest)) = args.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match task.as_str() {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "ci" => ci::run(rest),
        "peers" => peers::run(rest),
        "depcheck" => depcheck::run(rest),
        "tidy" => tidy::run(rest),
        "bench" => bench::run(rest),
        "fuzz" => fuzz::run(rest),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::with_status(
            USAGE,
            format!("no task is called `{other}`; `cargo xtask` lists them"),
        )),
    }
}
