//! What was, or would be, done to the launchers of a job, as data.

use crate::{launcher::Position, signed::Signed};

/// What was, or would be, done to the launchers of a job. Printed by `inspect` and `--dry-run`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Report {
    /// One per launcher, the Unix launcher first.
    pub launchers: Vec<LauncherReport>,
    /// What vouches for the build as a whole, and what it does not fit any more; none if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// Everything else that a person should know, in the order found.
    pub warnings: Vec<String>,
}

impl Report {
    /// The launchers that could not be made safe.
    pub fn unsafe_launchers(&self) -> impl Iterator<Item = &LauncherReport> {
        self.launchers
            .iter()
            .filter(|launcher| matches!(launcher.outcome, Outcome::Unsafe { .. }))
    }
}

/// What was, or would be, done to one launcher.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LauncherReport {
    /// Path within the built job.
    pub path: String,
    /// The verdict.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Each change, in the order of the text.
    pub edits: Vec<Edit>,
    /// What does not stop the conversion but may surprise.
    pub warnings: Vec<Warning>,
    /// The changes as a unified diff without context; empty if there are none. Line ends and byte
    /// order mark aside.
    pub diff: String,
}

/// The verdict on a launcher.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// `exec` was put before the launch: java replaces the shell and gets its signals.
    Rewritten {
        /// Where java is started.
        #[serde(flatten)]
        position: Position,
    },
    /// Java replaces the shell already.
    AlreadyExec {
        /// Where java is started.
        #[serde(flatten)]
        position: Position,
    },
    /// The launch cannot replace the shell without changing what the script does.
    Unsafe {
        /// Where java is started, or where the script is not understood.
        #[serde(flatten)]
        position: Position,
        /// Why.
        reason: String,
    },
    /// A placeholder of the Studio's template was never filled in: no runnable built job.
    Unresolved {
        /// Where it is.
        #[serde(flatten)]
        position: Position,
        /// The placeholder, for example `${talend.job.sh.classpath}`.
        placeholder: String,
    },
    /// The file starts no java, or is not for Unix.
    NotALauncher {
        /// What it is instead.
        reason: String,
    },
}

/// One change of a launcher.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Edit {
    /// Why it is made.
    pub kind: EditKind,
    /// Where, in the launcher as it was.
    #[serde(flatten)]
    pub position: Position,
    /// The text as it was.
    pub old: String,
    /// The text as it is now.
    pub new: String,
}

/// Why a launcher is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EditKind {
    /// A UTF-8 byte order mark, which hides the `#!` from the kernel, is removed.
    ByteOrderMark,
    /// CRLF becomes LF: a shell takes the CR for a part of the last word.
    LineEndings,
    /// A script without `#!` gets one.
    Shebang,
    /// A script for bash that names another shell names bash.
    Interpreter,
    /// `exec` is put before the launch.
    Exec,
    /// `$*` becomes `"$@"`, so that arguments with blanks stay whole.
    Arguments,
    /// Quotes around paths that may hold blanks.
    Quoting,
    /// A file was renamed.
    Rename,
}

/// Something that may surprise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// Where, in the launcher as it was.
    #[serde(flatten)]
    pub position: Position,
    /// What.
    pub message: String,
}
