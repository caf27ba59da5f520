use std::{error::Error as StdError, fmt, io};

use crate::{Cancelled, Digest, Repository};

/// What kind of failure an [`Error`] is. Drives retry (inside implementations) and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// The thing that was asked for is not there.
    NotFound,
    /// Credentials are missing, wrong, or not enough.
    Denied,
    /// The state of the other side forbids it: a tag that moved, an upload out of order.
    Conflict,
    /// The input or the content is wrong; trying again cannot help.
    Invalid,
    /// The other side, or this crate, cannot do it at all.
    Unsupported,
    /// May work when tried again: connection reset, 429, 5xx.
    Transient,
    /// A limit was reached: disk, quota, [`SizeLimits`](crate::SizeLimits).
    Exhausted,
    /// The caller cancelled, see [`Cx::cancel`](crate::Cx::cancel).
    Cancelled,
    /// None of the above.
    Other,
}

/// What every port returns. An implementation keeps its own error as the source, so that nothing
/// is flattened into text; [`Error::find`] gets it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not what it was parsed as.
    #[error("`{input}` is not a valid {noun}: {expected}")]
    Parse {
        /// What it should have been, for example `digest`.
        noun: &'static str,
        /// The text, shortened to 256 characters.
        input: String,
        /// What the grammar wants.
        expected: &'static str,
    },
    /// Content does not have the digest under which it was asked for.
    #[error("content of `{expected}` hashes to `{actual}`")]
    Digest {
        /// Digest by which the content was named.
        expected: Box<Digest>,
        /// Digest of the bytes that came.
        actual: Box<Digest>,
    },
    /// Content is longer or shorter than its descriptor says.
    #[error("content of `{digest}` has {actual} bytes, its descriptor says {expected}")]
    Size {
        /// Digest by which the content was named.
        digest: Box<Digest>,
        /// Bytes that the descriptor declares.
        expected: u64,
        /// Bytes that came; at least this many when the content is too long.
        actual: u64,
    },
    /// A manifest, index or config cannot be read.
    #[error("cannot read the {what} `{digest}`")]
    Document {
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Box<Digest>,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No manifest of an index fits the platform that was asked for.
    #[error("index `{digest}` has no manifest for `{platform}`, only for {available}")]
    Platform {
        /// Digest of the index.
        digest: Box<Digest>,
        /// What was asked for.
        platform: String,
        /// What is there, comma separated.
        available: String,
    },
    /// Foreign data is larger than the reader's limit.
    #[error("{what} is larger than the limit of {limit} bytes")]
    Limit {
        /// The thing that is too large.
        what: String,
        /// The limit in bytes, see [`SizeLimits`](crate::SizeLimits).
        limit: u64,
    },
    /// An archive or layout on disk is not what its format says.
    #[error("{path}: {fault}")]
    Format {
        /// The file or directory.
        path: String,
        /// What is wrong, and what was expected.
        fault: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A store could not do what it was asked for. `store` and `subject` are redacted by the
    /// implementation, and never carry credentials.
    #[error("failed to {action} `{subject}` in {store}")]
    Store {
        /// A verb: `resolve`, `read`, `write`, `delete`, `list`.
        action: &'static str,
        /// A tag, a digest, a repository.
        subject: String,
        /// The store as a person would name it: a registry's repository, a directory, `memory`.
        store: String,
        /// Kind of failure.
        class: Class,
        /// The implementation's own error; none where the sentence says it all.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

/// An error, then what caused it, and so on.
pub fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error with its causes in one line, for logs and for what has room for one text only: each says its own part alone.
///
/// ```
/// let there = std::fs::read("/nonexistent").unwrap_err();
/// let error = ocicore::Error::io("read", "v1", "oci:/images", there);
/// assert_eq!(
///     ocicore::in_one_line(&error),
///     "failed to read `v1` in oci:/images: No such file or directory (os error 2)"
/// );
/// ```
pub fn in_one_line(error: &(dyn StdError + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}

/// Text of others, in which control characters are escaped: it must not move a terminal's cursor.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    f.write_str(part.get(..at).unwrap_or_default())?;
                    last.escape_default().fmt(f)?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Result of the ports.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failed parse; `input` is shortened, and its control characters are escaped.
    pub fn parse(noun: &'static str, input: &str, expected: &'static str) -> Self {
        let end = input
            .char_indices()
            .nth(256)
            .map_or(input.len(), |(end, _)| end);
        let (start, rest) = input.split_at(end);
        let mut shown = Printable(start).to_string();
        if !rest.is_empty() {
            shown.push('…');
        }
        Self::Parse {
            noun,
            input: shown,
            expected,
        }
    }

    /// The thing is not in the store.
    pub fn not_found(action: &'static str, subject: impl ToString, store: impl ToString) -> Self {
        Self::Store {
            action,
            subject: subject.to_string(),
            store: store.to_string(),
            class: Class::NotFound,
            source: Some("it is not there".into()),
        }
    }

    /// A store's own error, kept as the source.
    pub fn store(
        action: &'static str,
        subject: impl ToString,
        store: impl ToString,
        class: Class,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Store {
            action,
            subject: subject.to_string(),
            store: store.to_string(),
            class,
            source: Some(source.into()),
        }
    }

    /// An I/O error of a store on disk, or the [`Error`] that travelled inside it.
    pub fn io(
        action: &'static str,
        subject: impl ToString,
        store: impl ToString,
        error: io::Error,
    ) -> Self {
        Self::from_io(error, |error| {
            let class = match error.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::PermissionDenied => Class::Denied,
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => Class::Exhausted,
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Class::Invalid,
                io::ErrorKind::Unsupported => Class::Unsupported,
                _ => Class::Other,
            };
            Self::store(action, subject, store, class, error)
        })
    }

    /// Gets back an [`Error`] that travelled through [`io::Error`], or makes one.
    pub fn from_io(error: io::Error, or: impl FnOnce(io::Error) -> Self) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => or(error),
        }
    }

    /// Names the repository that gave wrong content, if it is known ([`Blob::origin`](crate::Blob::origin)):
    /// who verifies content knows no more of it than its descriptor. Other errors stay as they are.
    #[must_use]
    pub fn blamed_on(self, origin: Option<&Repository>) -> Self {
        match (&self, origin) {
            (
                Self::Digest { expected, .. }
                | Self::Size {
                    digest: expected, ..
                },
                Some(origin),
            ) => {
                let subject = expected.to_string();
                Self::store("read", subject, origin, Class::Invalid, self)
            }
            _ => self,
        }
    }

    /// Kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Parse { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::Document { .. }
            | Self::Format { .. } => Class::Invalid,
            Self::Platform { .. } => Class::NotFound,
            Self::Limit { .. } => Class::Exhausted,
            Self::Cancelled => Class::Cancelled,
            Self::Store { class, .. } => *class,
        }
    }

    /// The first error of type `E` in the chain, this one included: the implementation's own
    /// error, for example `error.find::<ociregistry::Error>()`.
    pub fn find<E: StdError + 'static>(&self) -> Option<&E> {
        causes(self).find_map(|error| error.downcast_ref())
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// Into the sync world and back without loss. Never [`io::ErrorKind::Interrupted`]: std retries
/// that for ever.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.class() {
            Class::NotFound => io::ErrorKind::NotFound,
            Class::Denied => io::ErrorKind::PermissionDenied,
            Class::Invalid => io::ErrorKind::InvalidData,
            Class::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_io() {
        let there: io::Error = Error::not_found("read", "v1", "memory").into();
        assert_eq!(there.kind(), io::ErrorKind::NotFound);
        let back = Error::io("read", "x", "y", there);
        assert_eq!(back.to_string(), "failed to read `v1` in memory");
        assert_eq!(back.class(), Class::NotFound);
    }

    #[test]
    fn the_implementations_error_is_found_in_the_chain() {
        let error = Error::io(
            "write",
            "v1",
            "dir",
            io::Error::from(io::ErrorKind::StorageFull),
        );
        assert_eq!(error.class(), Class::Exhausted);
        assert!(error.find::<io::Error>().is_some());
        assert!(error.find::<fmt::Error>().is_none());
    }

    #[test]
    fn long_input_is_shortened() {
        let error = Error::parse("tag", &"x".repeat(10_000), "at most 128 characters");
        assert!(error.to_string().len() < 400);
    }

    #[test]
    fn what_is_shown_of_input_moves_no_cursor() {
        let error = Error::parse("tag", "\u{1b}[2Jä\n\u{9b}x", "no");
        assert_eq!(
            error.to_string(),
            "`\\u{1b}[2Jä\\n\\u{9b}x` is not a valid tag: no"
        );
    }
}
