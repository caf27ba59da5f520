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

mod failure;
mod peers;
mod process;
mod table;
mod workspace;

use crate::failure::{Failure, Result, USAGE};

const HELP: &str = "\
Tasks of this workspace

Usage: cargo xtask <TASK>

  peers [--stop | --status]       Install and start the real parts that tests run against (Debian, root)

Environment:
  REQUIRE_PEERS=1     a missing peer, or a test skipped for want of one, is a failure
  GANTRY_PEERS_DIR    where the peers live (default: `peers` in the target directory)
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
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
        "peers" => peers::run(rest),
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
