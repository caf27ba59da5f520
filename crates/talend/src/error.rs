use std::{io::ErrorKind, path::PathBuf};

use ocicore::{Cancelled, Class};

use crate::{launcher::Position, manifest::ManifestFault};

/// What can go wrong with built jobs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no Talend job in the archive.
    #[error("no Talend job: {missing}")]
    NoJob {
        /// What was looked for, and what to do.
        missing: String,
    },
    /// The archive has more than one job, of which none is the one to run.
    #[error("more than one job in one archive: {}", quoted(.jobs))]
    SeveralJobs {
        /// Their names.
        jobs: Vec<String>,
    },
    /// The job has no Unix launcher.
    #[error(
        "job `{job}` has no launcher `{expected}`: build it in the Studio with shell launchers for Unix"
    )]
    NoLauncher {
        /// The job.
        job: String,
        /// Where the launcher should be.
        expected: String,
    },
    /// A job's name or version cannot be part of a path in an image.
    #[error("{what} `{value}` cannot be used: {expected}")]
    Name {
        /// `job name`, `job version`, `parent directory`, `user` and so on.
        what: &'static str,
        /// The name or version.
        value: String,
        /// What it may be made of.
        expected: &'static str,
    },
    /// A text file of the job is not what it should be.
    #[error("{path}:{position}: {fault}")]
    Text {
        /// The file, as in the archive.
        path: String,
        /// Where.
        position: Position,
        /// What is wrong.
        fault: String,
    },
    /// Java cannot replace the shell in these launchers, and the options do not allow that.
    #[error("java would not get the signals of the container: {}", places(.launchers))]
    UnsafeLaunchers {
        /// All of them.
        launchers: Vec<UnsafeLauncher>,
    },
    /// The file that should start the job does not.
    #[error("`{path}` does not start the job: {reason}")]
    NotALauncher {
        /// The file.
        path: String,
        /// What it is or does instead.
        reason: String,
    },
    /// A placeholder of the Studio's template was never filled in.
    #[error("{path}:{position}: `{placeholder}` is still there: this is not a runnable built job")]
    Unresolved {
        /// The launcher.
        path: String,
        /// Where.
        position: Position,
        /// The placeholder.
        placeholder: String,
    },
    /// An image was to start java without a shell, but the launcher needs one.
    #[error("{path}:{position}: the launcher needs a shell: {reason}")]
    NeedsShell {
        /// The launcher.
        path: String,
        /// Where.
        position: Position,
        /// What only a shell can do.
        reason: String,
    },
    /// Context variables were to come from outside, but there is no shell to pass them on.
    #[error("job `{job}` cannot get context variables from outside: its entry point has no shell")]
    ShellForContext {
        /// The job.
        job: String,
    },
    /// The job has no such context.
    #[error("job `{job}` has no context `{context}`, only {}", quoted(.available))]
    NoContext {
        /// The job.
        job: String,
        /// What was asked for.
        context: String,
        /// What is there.
        available: Vec<String>,
    },
    /// Two names would become one name in a registry.
    #[error("jobs `{first}` and `{second}` would both be called `{mapped}`")]
    NameCollision {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What both become.
        mapped: String,
    },
    /// A name has nothing that a registry's name may be made of.
    #[error("`{name}` has neither letters nor digits to make an image name of")]
    NoImageName {
        /// The name.
        name: String,
    },
    /// The archive of class path entries in the job cannot be read.
    #[error("failed to {action} `{path}`")]
    Jar {
        /// A verb.
        action: &'static str,
        /// The jar, as in the archive.
        path: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of several jobs cannot be converted.
    #[error("failed to convert `{archive}`")]
    Job {
        /// File name of its archive.
        archive: String,
        /// Why.
        source: Box<Error>,
    },
    /// A manifest has lines that say nothing.
    #[error("{}", all_faults(.path, .faults))]
    Manifest {
        /// The manifest.
        path: String,
        /// All that is wrong in it, in its order.
        faults: Vec<ManifestFault>,
    },
    /// One job was to be merged twice.
    #[error("job `{job}` is there more than once: version {}", .versions.join(", version "))]
    SameJob {
        /// The job.
        job: String,
        /// Its versions.
        versions: Vec<String>,
    },
    /// Two jobs have one name for their entry points.
    #[error("jobs `{first}` and `{second}` would both be started by `{entrypoint}`")]
    SameEntrypoint {
        /// Name of the entry point.
        entrypoint: String,
        /// The one job.
        first: String,
        /// The other.
        second: String,
    },
    /// The default entry point is that of no job.
    #[error("no job is started by `{entrypoint}`, only by {}", quoted(.available))]
    NoEntrypoint {
        /// What was asked for.
        entrypoint: String,
        /// What is there.
        available: Vec<String>,
    },
    /// A file of the job cannot be read.
    #[error("failed to read `{path}`")]
    Read {
        /// The file, as in the image.
        path: String,
        /// The cause; of what archives declare wrongly, too.
        source: std::io::Error,
    },
    /// A file on disk cannot be read or written.
    #[error("failed to {action} `{}`", .path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What a watch remembers is not what it wrote.
    #[error("`{}` is no state of a watch: {fault}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Another watch remembers there what it does.
    #[error("another watch uses `{}`", .path.display())]
    Busy {
        /// The state file.
        path: PathBuf,
    },
    /// Reading or editing the tree failed.
    #[error(transparent)]
    Tree(#[from] repack::Error),
    /// A name is not what the registries' specification allows.
    #[error(transparent)]
    Image(#[from] ocicore::Error),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where and why a launcher is unsafe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsafeLauncher {
    /// The launcher, as in the archive.
    pub path: String,
    /// Where java is started.
    pub position: Position,
    /// Why it cannot replace the shell.
    pub reason: String,
}

impl Error {
    /// Kind of failure; drives exit codes.
    pub fn class(&self) -> Class {
        match self {
            Self::Tree(error) => error.class(),
            Self::Image(error) => error.class(),
            Self::Job { source, .. } => source.class(),
            Self::Cancelled => Class::Cancelled,
            Self::Busy { .. } => Class::Conflict,
            Self::UnsafeLaunchers { .. } => Class::Unsupported,
            Self::File { source, .. } => match source.kind() {
                ErrorKind::NotFound => Class::NotFound,
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Class::Denied,
                ErrorKind::StorageFull => Class::Exhausted,
                _ => Class::Other,
            },
            Self::NameCollision { .. } | Self::SameEntrypoint { .. } | Self::SameJob { .. } => {
                Class::Conflict
            }
            _ => Class::Invalid,
        }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn places(launchers: &[UnsafeLauncher]) -> String {
    let places: Vec<_> = launchers
        .iter()
        .map(|one| format!("{}:{}: {}", one.path, one.position, one.reason))
        .collect();
    places.join("; ")
}

fn all_faults(path: &str, faults: &[ManifestFault]) -> String {
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| format!("{path}:{fault}"))
        .collect();
    faults.join("\n")
}
