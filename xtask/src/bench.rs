//! `cargo xtask bench`: one benchmark, with the peers at hand.

use std::env;
use std::process::Command;

use crate::failure::{Failure, Result, USAGE};
use crate::peers;
use crate::process;
use crate::workspace;

pub(crate) fn run(args: &[String]) -> Result<()> {
    if args.is_empty() {
        return Err(Failure::with_status(
            USAGE,
            "usage: cargo xtask bench NAME [--quick] [--json]",
        ));
    }
    let mut command = Command::new(workspace::cargo());
    command.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "e2e",
        "--bin",
        "bench",
    ]);
    command
        .arg("--manifest-path")
        .arg(workspace::root().join("Cargo.toml"))
        .arg("--")
        .args(args);
    // What the user says about a peer is stronger than what was found. Info-ZIP, gzip and pigz take
    // variables of their names for options, so that they are found by PATH.
    const OPTIONS: [&str; 4] = ["GZIP", "PIGZ", "UNZIP", "ZIP"];
    for (key, value) in peers::environment()? {
        if env::var_os(&key).is_none() && !OPTIONS.contains(&key.as_str()) {
            command.env(key, value);
        }
    }
    process::passed_on(&mut command).map_err(Failure::told)
}
