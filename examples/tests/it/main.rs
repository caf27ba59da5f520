//! What users see of the programs: help, and errors with their exit codes. That this package has
//! integration tests also makes cargo build the programs for the journeys in `tests`.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod buildset_registry;
mod help;
mod job2docker;
mod watch;

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Exit code, standard output and error of a program, as a snapshot wants them.
fn shown(program: &str, args: &[&str], directory: &Path) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("RUST_LOG")
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let text = format!(
        "$ {name} {}\n{}{}exit code {}\n",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap(),
    );
    text.replace(&directory.display().to_string(), "DIR")
}
