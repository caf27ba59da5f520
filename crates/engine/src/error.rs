use std::{error::Error as StdError, io, time::Duration};

use ocicore::{Cancelled, Class};

use crate::log::Tail;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// What an engine could not do. [`Error::class`] tells the kind, [`Error::hint`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No engine was named, and none of the usual sockets is there.
    #[error("found no container engine, looked at {tried}")]
    NoEngine {
        /// Where it was looked for, comma separated.
        tried: String,
    },
    /// The socket of the named engine does not exist.
    #[error("no container engine at `{endpoint}`: the socket does not exist")]
    NoSocket {
        /// Address of the engine.
        endpoint: String,
    },
    /// The engine's socket may not be opened.
    #[error("no permission to use the container engine at `{endpoint}`")]
    SocketDenied {
        /// Address of the engine.
        endpoint: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing answers at the engine's address. Transient.
    #[error("cannot reach the container engine at `{endpoint}`")]
    Unreachable {
        /// Address of the engine.
        endpoint: String,
        /// What the system said.
        #[source]
        source: Source,
    },
    /// The address or the settings by which the engine was to be found are wrong.
    #[error("{place}: {fault}")]
    Settings {
        /// A file or a variable.
        place: String,
        /// What is wrong, and what was expected.
        fault: String,
    },
    /// The engine speaks only older versions of its API than this crate needs.
    #[error("engine at `{endpoint}` speaks API {version}, at least {needed} is needed")]
    ApiTooOld {
        /// Address of the engine.
        endpoint: String,
        /// Newest version that it speaks.
        version: String,
        /// Oldest version that does.
        needed: &'static str,
    },
    /// The connection broke before the answer was complete: the engine was restarted, killed or
    /// crashed. Nothing can be said about what it did. Transient.
    #[error("engine went away before its answer to {action} `{subject}` was complete")]
    Vanished {
        /// A verb.
        action: &'static str,
        /// What it was to act on.
        subject: String,
        /// Last lines of the log.
        tail: Tail,
        /// What broke the connection; none if it ended as if all were well.
        source: Option<Source>,
    },
    /// The engine's answer cannot be understood.
    #[error("engine's answer to {action} `{subject}` cannot be understood: {fault}")]
    Protocol {
        /// A verb.
        action: &'static str,
        /// What it was to act on.
        subject: String,
        /// What is wrong with it.
        fault: String,
    },
    /// There is no such image, container or volume.
    #[error("no such {kind}: `{name}`")]
    NotFound {
        /// `image`, `container`, `volume`, or `file`.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// A name is in use.
    #[error("name `{name}` is already in use")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// The state of things forbids it: a container that runs, an image that is in use.
    #[error("cannot {action} `{subject}`: {message}")]
    Conflict {
        /// A verb.
        action: &'static str,
        /// What it was to act on.
        subject: String,
        /// What the engine said.
        message: String,
    },
    /// The Dockerfile has a syntax error.
    #[error("{file}{}: {message}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
    Dockerfile {
        /// Path within the context.
        file: String,
        /// Line, counted from 1, where the engine or we could tell.
        line: Option<u32>,
        /// What is wrong.
        message: String,
    },
    /// A step of a build failed.
    #[error("build failed{}: {message}", .step.as_ref().map(|step| format!(" at `{step}`")).unwrap_or_default())]
    Build {
        /// The instruction that failed, as far as the engine told it.
        step: Option<String>,
        /// Exit code of its command, if it is one.
        code: Option<i64>,
        /// What the engine said.
        message: String,
        /// Last lines of the log.
        tail: Tail,
    },
    /// A build context is larger than the limit of its spec.
    #[error("build context has {size} bytes, the limit is {limit}")]
    ContextTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The program is not in the container (exit code 127).
    #[error("command `{command}` not found in the container")]
    CommandNotFound {
        /// The program.
        command: String,
        /// Last lines of the log.
        tail: Tail,
    },
    /// The program cannot be executed (exit code 126).
    #[error("command `{command}` cannot be executed in the container")]
    NotExecutable {
        /// The program.
        command: String,
        /// Last lines of the log.
        tail: Tail,
    },
    /// The kernel killed the container for its use of memory (exit code 137).
    #[error("`{command}` was killed, out of memory")]
    OutOfMemory {
        /// The program.
        command: String,
        /// Last lines of the log.
        tail: Tail,
    },
    /// A command ended with another exit code than 0.
    #[error("`{command}` ended with exit code {code}")]
    Exit {
        /// The program.
        command: String,
        /// Its exit code.
        code: i64,
        /// Last lines of the log.
        tail: Tail,
    },
    /// A command ran longer than it may.
    #[error("`{command}` did not end within {limit:?} and was killed")]
    TimeLimit {
        /// The program.
        command: String,
        /// How long it had.
        limit: Duration,
        /// Last lines of the log.
        tail: Tail,
    },
    /// A registry wants other credentials, or none help.
    #[error("registry denies to {action} `{subject}`: {message}")]
    Denied {
        /// `pull` or `push`.
        action: &'static str,
        /// The reference.
        subject: String,
        /// What the engine said.
        message: String,
    },
    /// The engine cannot reach the registry. Transient.
    #[error("engine cannot reach the registry to {action} `{subject}`: {message}")]
    RegistryUnreachable {
        /// `pull` or `push`.
        action: &'static str,
        /// The reference.
        subject: String,
        /// What the engine said.
        message: String,
    },
    /// The engine has no space left.
    #[error("engine has no space left to {action} `{subject}`: {message}")]
    DiskFull {
        /// A verb.
        action: &'static str,
        /// What it was to act on.
        subject: String,
        /// What the engine said.
        message: String,
    },
    /// This engine cannot do it.
    #[error("{engine} cannot {what}")]
    Unsupported {
        /// The engine and its version.
        engine: String,
        /// What it cannot do, with what can be done instead.
        what: String,
    },
    /// Any other refusal.
    #[error("engine failed to {action} `{subject}`: {message}")]
    Engine {
        /// A verb.
        action: &'static str,
        /// What it was to act on.
        subject: String,
        /// HTTP status; none if it failed in the middle of its answer.
        status: Option<u16>,
        /// What the engine said.
        message: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Content that was read or written failed: a blob, an archive, a store.
    #[error(transparent)]
    Content(#[from] ocicore::Error),
}

impl Error {
    /// Kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::NoEngine { .. }
            | Self::NoSocket { .. }
            | Self::NotFound { .. }
            | Self::CommandNotFound { .. } => Class::NotFound,
            Self::SocketDenied { .. } | Self::Denied { .. } => Class::Denied,
            Self::Unreachable { .. } | Self::Vanished { .. } | Self::RegistryUnreachable { .. } => {
                Class::Transient
            }
            Self::ApiTooOld { .. } | Self::Unsupported { .. } => Class::Unsupported,
            Self::NameInUse { .. } | Self::Conflict { .. } => Class::Conflict,
            Self::Settings { .. }
            | Self::Protocol { .. }
            | Self::Dockerfile { .. }
            | Self::NotExecutable { .. } => Class::Invalid,
            Self::ContextTooLarge { .. }
            | Self::OutOfMemory { .. }
            | Self::TimeLimit { .. }
            | Self::DiskFull { .. } => Class::Exhausted,
            Self::Build { .. } | Self::Exit { .. } => Class::Other,
            Self::Engine { status, .. } => match status {
                Some(400 | 413 | 422) => Class::Invalid,
                Some(401 | 403) => Class::Denied,
                Some(404) => Class::NotFound,
                Some(409) => Class::Conflict,
                Some(429 | 502 | 503 | 504) => Class::Transient,
                Some(501) => Class::Unsupported,
                _ => Class::Other,
            },
            Self::Cancelled => Class::Cancelled,
            Self::Content(error) => error.class(),
        }
    }

    /// What to do about it, where that can be said: a full sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoEngine { .. } => {
                "Install Docker or Podman, or name an engine by DOCKER_HOST or by a context of the docker CLI."
            }
            Self::NoSocket { .. } => {
                "Start the engine (`systemctl start docker`, `systemctl --user start podman.socket`), or correct DOCKER_HOST."
            }
            Self::SocketDenied { .. } => {
                "Add the user to the socket's group (usually `docker`), or use a rootless engine."
            }
            Self::Unreachable { .. } => "Check that the engine runs and listens at this address.",
            Self::Settings { .. } => {
                "Correct it there; DOCKER_HOST takes precedence over contexts."
            }
            Self::ApiTooOld { .. } => "Upgrade the engine.",
            Self::Vanished { .. } => {
                "Look at the engine's own log for a restart or a crash, then try again."
            }
            Self::NotFound { kind: "image", .. } => {
                "Check the name and the tag; pull, load or build the image first."
            }
            Self::NameInUse { .. } => "Remove the container that has it, or take another name.",
            Self::Dockerfile { .. } => "Correct the Dockerfile at this line.",
            Self::Build { .. } => {
                "Look at the last lines of the log for the command's own message."
            }
            Self::ContextTooLarge { .. } => {
                "Exclude files by .dockerignore, build from a smaller directory, or raise the limit."
            }
            Self::CommandNotFound { .. } => {
                "Check the spelling and PATH in the image, and for scripts their `#!` line."
            }
            Self::NotExecutable { .. } => {
                "Check the file's mode and that it is built for the image's platform."
            }
            Self::OutOfMemory { .. } => {
                "Give the container more memory, or the program less to do."
            }
            Self::TimeLimit { .. } => {
                "Raise the time limit, or look at the log for where it hangs."
            }
            Self::Denied { .. } => {
                "Log in to the registry, and check that the account may use this repository."
            }
            Self::RegistryUnreachable { .. } => {
                "Check the registry's address, and that the engine's machine can reach it; it is the engine that pulls and pushes."
            }
            Self::DiskFull { .. } => {
                "Free space at the engine, for example by `docker system prune`."
            }
            _ => return None,
        })
    }

    /// Last lines of the log, oldest first; empty if there is none.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Vanished { tail, .. }
            | Self::Build { tail, .. }
            | Self::CommandNotFound { tail, .. }
            | Self::NotExecutable { tail, .. }
            | Self::OutOfMemory { tail, .. }
            | Self::Exit { tail, .. }
            | Self::TimeLimit { tail, .. } => tail.lines(),
            _ => &[],
        }
    }

    /// Exit code of the command that failed, as a shell would give it.
    pub fn exit_code(&self) -> Option<i64> {
        match self {
            Self::CommandNotFound { .. } => Some(127),
            Self::NotExecutable { .. } => Some(126),
            Self::OutOfMemory { .. } => Some(137),
            Self::Exit { code, .. } => Some(*code),
            Self::Build { code, .. } => *code,
            _ => None,
        }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// For streams of the ports: the error is kept as the source.
impl From<Error> for ocicore::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled => Self::Cancelled,
            Error::Content(error) => error,
            error => Self::store(
                "read",
                "content",
                "the container engine",
                error.class(),
                error,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use ocicore::conformance::errors;

    use super::*;

    /// One of each, as users see them.
    fn all() -> Vec<Error> {
        let endpoint = || "unix:///run/docker.sock".to_owned();
        let text = |text: &str| text.to_owned();
        let tail = Tail::default;
        vec![
            Error::NoEngine {
                tried: text("/run/docker.sock, /run/podman/podman.sock"),
            },
            Error::NoSocket {
                endpoint: endpoint(),
            },
            Error::SocketDenied {
                endpoint: endpoint(),
                source: io::ErrorKind::PermissionDenied.into(),
            },
            Error::Unreachable {
                endpoint: endpoint(),
                source: io::Error::from(io::ErrorKind::ConnectionRefused).into(),
            },
            Error::Settings {
                place: text("DOCKER_HOST"),
                fault: text("`ftp://x` is no address of an engine"),
            },
            Error::ApiTooOld {
                endpoint: endpoint(),
                version: text("1.24"),
                needed: "1.41",
            },
            Error::Vanished {
                action: "build",
                subject: text("app:1"),
                tail: tail(),
                source: None,
            },
            Error::Protocol {
                action: "load",
                subject: text("app:1"),
                fault: text("it names no image"),
            },
            Error::NotFound {
                kind: "image",
                name: text("app:1"),
            },
            Error::NotFound {
                kind: "container",
                name: text("abc"),
            },
            Error::NameInUse { name: text("web") },
            Error::Conflict {
                action: "remove",
                subject: text("app:1"),
                message: text("image is being used by stopped container abc"),
            },
            Error::Dockerfile {
                file: text("Dockerfile"),
                line: Some(3),
                message: text("unknown instruction: RUNN"),
            },
            Error::Dockerfile {
                file: text("Dockerfile"),
                line: None,
                message: text("it is not in the context"),
            },
            Error::Build {
                step: Some(text("RUN false")),
                code: Some(1),
                message: text("exit code: 1"),
                tail: tail(),
            },
            Error::Build {
                step: None,
                code: None,
                message: text("no such stage"),
                tail: tail(),
            },
            Error::ContextTooLarge {
                size: 2000,
                limit: 1000,
            },
            Error::CommandNotFound {
                command: text("job"),
                tail: tail(),
            },
            Error::NotExecutable {
                command: text("job"),
                tail: tail(),
            },
            Error::OutOfMemory {
                command: text("job"),
                tail: tail(),
            },
            Error::Exit {
                command: text("job"),
                code: 7,
                tail: tail(),
            },
            Error::TimeLimit {
                command: text("job"),
                limit: Duration::from_secs(90),
                tail: tail(),
            },
            Error::Denied {
                action: "push",
                subject: text("h.example/app:1"),
                message: text("unauthorized"),
            },
            Error::RegistryUnreachable {
                action: "pull",
                subject: text("h.example/app:1"),
                message: text("no route to host"),
            },
            Error::DiskFull {
                action: "build",
                subject: text("app:1"),
                message: text("no space left on device"),
            },
            Error::Unsupported {
                engine: text("Podman 4.3.1"),
                what: text("forward SSH agents"),
            },
            Error::Engine {
                action: "commit",
                subject: text("abc"),
                status: Some(500),
                message: text("internal error"),
            },
            Error::Cancelled,
            Error::Content(ocicore::Error::Cancelled),
        ]
    }

    #[test]
    fn each_error_says_what_is_wrong_and_what_to_do() {
        let all = all();
        let shown = errors::shown(&all, include_str!("error.rs"), |error| {
            (error.class(), error.hint())
        });
        insta::assert_snapshot!(shown);
    }
}
