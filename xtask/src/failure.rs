//! How a task fails: a message for people and an exit status for scripts.

use std::fmt::{self, Display};
use std::io;

/// A check failed or a program ended badly.
pub(crate) const FAILED: u8 = 1;
/// The command line was wrong, or this machine cannot run the task.
pub(crate) const USAGE: u8 = 2;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A task's end, with the whole story in one line.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
    told: bool,
}

impl Failure {
    /// A failure with exit status [`FAILED`].
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with_status(FAILED, message)
    }

    /// A failure with a given exit status.
    pub(crate) fn with_status(status: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            told: false,
        }
    }

    /// The same failure of a program of ours that has already said what is wrong.
    pub(crate) fn told(self) -> Self {
        Self { told: true, ..self }
    }

    /// Whether the user knows.
    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    /// The exit status of the task.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was being done when an error came up.
pub(crate) trait Context<T> {
    /// Puts `what` before the error's own message.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::new(format!("{}: {error}", what())))
    }
}

impl<T> Context<T> for Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Self {
        self.map_err(|error| Failure::with_status(error.status, format!("{}: {error}", what())))
    }
}
