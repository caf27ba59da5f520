use std::{error::Error as StdError, io, time::Duration};

use ocicore::{Cancelled, Class};

use super::checksum::{Checksum, ChecksumAlgorithm};

/// What can go wrong between this client and a repository. `place` is always an address without
/// user information and query.
///
/// An enum of its own beside [`crate::Error`]: nothing that converts a job can fail so, and nothing
/// here fails as a conversion does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// 401: there are no credentials for this host, or they are wrong. Not retried.
    #[error("`{place}` {}", unauthorized(.user.as_deref()))]
    Unauthorized {
        /// What was asked for.
        place: String,
        /// The user whose credentials were sent, if there were any.
        user: Option<String>,
    },
    /// 403: the user may not do this. Not retried.
    #[error("`{place}` is forbidden to {}: {message}", who(.user.as_deref()))]
    Forbidden {
        /// What was asked for.
        place: String,
        /// The user whose credentials were sent, if there were any.
        user: Option<String>,
        /// What the server said.
        message: String,
    },
    /// 404 or 410: it is not there. Not retried.
    #[error("`{place}` is not there")]
    NotFound {
        /// What was asked for.
        place: String,
    },
    /// 5xx, 408 or 429: the server cannot do it now. Retried.
    #[error("`{place}` answers with status {status}: {message}")]
    Server {
        /// What was asked for.
        place: String,
        /// The status.
        status: u16,
        /// What the server said.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Any other status. Not retried.
    #[error("`{place}` refuses {method} with status {status}: {message}")]
    Refused {
        /// What was asked for.
        place: String,
        /// Method of the request.
        method: String,
        /// The status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// The repository has this file already, with other content, and does not let it be replaced.
    #[error("`{place}` is published already, with other content, and is not replaced: {message}")]
    Redeploy {
        /// The file.
        place: String,
        /// What the server said.
        message: String,
    },
    /// There is no answer: the server cannot be reached, or the connection broke. Retried, but for
    /// certificates that cannot be trusted.
    #[error("no answer from `{place}` to {method}")]
    Transport {
        /// What was asked for.
        place: String,
        /// Method of the request.
        method: String,
        /// Kind of failure.
        class: Class,
        /// What the connection said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The connection ended before all content was there. Retried from where it ended.
    #[error("`{place}` stopped after {at} of {size} bytes")]
    Truncated {
        /// What was asked for.
        place: String,
        /// Bytes that came.
        at: u64,
        /// Bytes that were announced.
        size: u64,
    },
    /// No byte moved for too long, see [`ClientOptions::stall`](super::ClientOptions::stall).
    /// Retried.
    #[error("`{place}` made no progress for {} s", after.as_secs_f32())]
    Stalled {
        /// What was asked for.
        place: String,
        /// The limit.
        after: Duration,
    },
    /// Content changed between two attempts to get all of it. Retried.
    #[error("`{place}` changed while it was downloaded")]
    Changed {
        /// What was asked for.
        place: String,
    },
    /// Content is not what its checksum says. Not retried.
    #[error("`{place}` has the {} `{actual}`, the repository says `{expected}`", .expected.algorithm())]
    Checksum {
        /// What was asked for.
        place: String,
        /// What the repository says.
        expected: Box<Checksum>,
        /// What came.
        actual: Box<Checksum>,
    },
    /// The repository has no checksum of this file, and the options ask for one.
    #[error(
        "`{place}` has no checksum: expected a file {} beside it",
        algorithms()
    )]
    NoChecksum {
        /// What was asked for.
        place: String,
    },
    /// What came with status 200 is no archive: the page of a login or a proxy, say.
    #[error("`{place}` is no archive, but {found}")]
    NotAnArchive {
        /// What was asked for.
        place: String,
        /// What it is instead.
        found: String,
    },
    /// The server did something that HTTP, the layout of Maven repositories or the API of Nexus
    /// does not allow.
    #[error("`{place}` breaks the protocol: {fault}")]
    Protocol {
        /// What was asked for.
        place: String,
        /// What it did, and what was expected.
        fault: String,
    },
    /// A redirect that is not followed.
    #[error("`{place}` redirects to `{target}`, which is not followed: {reason}")]
    Redirect {
        /// What was asked for.
        place: String,
        /// Where to.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// Content is larger than the limit.
    #[error("`{place}` is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// There is no repository to look coordinates up in.
    #[error("`{coordinates}` cannot be looked up: no repository is given")]
    NoRepository {
        /// The coordinates.
        coordinates: String,
    },
    /// No repository has it.
    #[error("`{coordinates}` is in no repository: looked in {}", quoted(.places))]
    NowhereFound {
        /// The coordinates.
        coordinates: String,
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// Something that should be an address, a name or a version is none.
    #[error("{what} `{value}` cannot be used: {expected}")]
    Name {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A netrc file cannot be understood. The text is not shown, for it may be a password.
    #[error("{path}:{line}: {fault}")]
    Netrc {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        fault: &'static str,
    },
    /// A file cannot be read or written: the cache, an archive to be published.
    #[error("failed to {action} `{path}`")]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// Certificates that cannot be used.
    #[error("failed to set up TLS")]
    Tls {
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Some of several things cannot be had.
    #[error("failed to get {} of {total}:{}", .failures.len(), all_failures(.failures))]
    Several {
        /// How many there were.
        total: usize,
        /// All that failed, in the order in which they were asked for.
        failures: Vec<Failure>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One of several things that cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Its number among those asked for, from 0.
    pub index: usize,
    /// What was asked for.
    pub source: String,
    /// Why it cannot be had.
    pub error: Error,
}

impl Failure {
    pub(super) fn new(index: usize, source: String, error: Error) -> Self {
        Self {
            index,
            source,
            error,
        }
    }
}

impl Error {
    /// Kind of failure; [`Class::Transient`] is what is retried.
    pub fn class(&self) -> Class {
        match self {
            Self::Unauthorized { .. } | Self::Forbidden { .. } | Self::Redirect { .. } => {
                Class::Denied
            }
            Self::NotFound { .. } | Self::NowhereFound { .. } | Self::NoRepository { .. } => {
                Class::NotFound
            }
            Self::Server { .. }
            | Self::Truncated { .. }
            | Self::Stalled { .. }
            | Self::Changed { .. } => Class::Transient,
            Self::Refused { status, .. } => match status {
                409 | 412 => Class::Conflict,
                405 | 501 => Class::Unsupported,
                413 | 507 => Class::Exhausted,
                _ => Class::Invalid,
            },
            Self::Redeploy { .. } => Class::Conflict,
            Self::Transport { class, .. } => *class,
            Self::TooLarge { .. } => Class::Exhausted,
            Self::Checksum { .. }
            | Self::NoChecksum { .. }
            | Self::NotAnArchive { .. }
            | Self::Protocol { .. }
            | Self::Name { .. }
            | Self::Netrc { .. } => Class::Invalid,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::PermissionDenied => Class::Denied,
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => Class::Exhausted,
                _ => Class::Other,
            },
            Self::Tls { .. } => Class::Other,
            Self::Several { failures, .. } => failures
                .first()
                .map_or(Class::Other, |failure| failure.error.class()),
            Self::Cancelled => Class::Cancelled,
        }
    }

    /// How long the server asks to wait before the next attempt.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(super) fn protocol(place: &str, fault: impl Into<String>) -> Self {
        Self::Protocol {
            place: place.to_owned(),
            fault: fault.into(),
        }
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

fn unauthorized(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("does not accept the password of `{user}`"),
        None => "wants a user name and a password".to_owned(),
    }
}

fn who(user: Option<&str>) -> String {
    user.map_or_else(
        || "whoever is not logged in".to_owned(),
        |user| format!("`{user}`"),
    )
}

fn algorithms() -> String {
    let names = ChecksumAlgorithm::ALL.map(|algorithm| format!("`.{}`", algorithm.extension()));
    names.join(" or ")
}

fn quoted(places: &[String]) -> String {
    let quoted: Vec<_> = places.iter().map(|place| format!("`{place}`")).collect();
    quoted.join(", ")
}

/// Each failure on a line of its own, with its causes, which no chain of several could show.
fn all_failures(failures: &[Failure]) -> String {
    let lines = failures.iter().map(|failure| {
        let error = ocicore::in_one_line(&failure.error);
        format!("\n{}: {error}", failure.source)
    });
    lines.collect()
}
