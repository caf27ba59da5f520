//! Helpers for journeys across the crates: the example programs, real parts, outcomes.
//!
//! Journeys are integration tests of this package, one file each in `tests/tests`. A real part is
//! asked for by [`peer`]; if it is missing, the test ends early and the list of skipped tests says
//! so.

pub mod images;
pub mod nginx;

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

pub use ocicore::conformance::peer::{peer, real_data};

/// An example program, ready to run. `cargo test --workspace` builds them all; for this package
/// alone, `cargo build -p examples --bins` does.
///
/// # Panics
/// If it is not built.
pub fn program(name: &str) -> Command {
    let test = env::current_exe().expect("a test is a program");
    let path = test
        .ancestors()
        .nth(2)
        .expect("tests lie in `deps`")
        .join(name);
    assert!(
        path.exists(),
        "{name} is not built: run `cargo build -p examples --bins`"
    );
    Command::new(path)
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it lies in the workspace")
        .to_owned()
}

/// The sample job, a zip as Talend Studio builds it.
pub fn sample_job() -> PathBuf {
    root().join("tests/jobs/sample/sample_job_0.1.zip")
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; 128 and the signal's number if one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output, if the program succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output as JSON, if the program succeeded.
    ///
    /// # Panics
    /// If it did not, or printed something else.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.success()).expect("the program prints JSON")
    }

    /// What a user sees of a failure, for a snapshot: exit code and standard error, with
    /// directories of the test replaced.
    pub fn failure(&self, directories: &[(&Path, &str)]) -> String {
        let mut text = format!("exit code {}\n{}", self.code, self.stderr);
        for (path, name) in directories {
            text = text.replace(&path.display().to_string(), name);
        }
        text
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    use std::os::unix::process::ExitStatusExt;

    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    Outcome {
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs a tool with arguments, which must succeed, and returns its standard output.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn tool<T: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = T>) -> String {
    run(Command::new(name).args(args)).success()
}
