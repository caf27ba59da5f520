//! `cargo xtask demo`: the main job on the sample job.

use std::process::Command;

use crate::failure::{Failure, Result};
use crate::process;
use crate::workspace;

const SAMPLE: &str = "tests/jobs/sample/sample_job_0.1.zip";

pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut command = Command::new(workspace::cargo());
    command.args(["run", "--quiet", "--package", "examples", "--bin", "demo"]);
    command
        .arg("--manifest-path")
        .arg(workspace::root().join("Cargo.toml"))
        .arg("--");
    if !names_a_job(args) {
        command.arg("--job").arg(workspace::root().join(SAMPLE));
    }
    process::passed_on(command.args(args)).map_err(Failure::told)
}

fn names_a_job(args: &[String]) -> bool {
    args.iter()
        .any(|arg| arg == "--job" || arg.starts_with("--job="))
}
