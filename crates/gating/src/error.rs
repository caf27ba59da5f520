use std::fmt;

use ocicore::{Class, Digest, Reference};

/// What can go wrong in gating.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry failed.
    #[error(transparent)]
    Store(#[from] ocicore::Error),
    /// An image that should be uploaded is not in the buildset registry.
    #[error(
        "`{source_image}` is not in the buildset registry, so that there is no `{image}` to upload"
    )]
    NotBuilt {
        /// The image by the name that users know.
        image: Box<Reference>,
        /// Where it was looked for.
        source_image: Box<Reference>,
        /// The registry's answer.
        source: ocicore::Error,
    },
    /// Images cannot be promoted; none of them was.
    #[error("nothing was promoted{}", listed(.0))]
    Refused(Vec<Refusal>),
    /// Files of the user cannot be used; nothing was changed.
    #[error("{}", files(.0))]
    Files(Vec<Fault>),
    /// A number, name or host that the caller gave cannot be used.
    #[error("{what} `{value}` cannot be used: {expected}")]
    Input {
        /// `build`, `patchset`, `pipeline`, `host`, …
        what: &'static str,
        /// The value.
        value: String,
        /// What would be good.
        expected: &'static str,
    },
    /// A file cannot be read or written.
    #[error("failed to {action} `{path}`")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The system has no randomness for a password.
    #[error("failed to generate a password")]
    Random(#[source] getrandom::Error),
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why one image is not promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The temporary tag has another digest than the one that was uploaded and tested.
    Moved {
        /// The temporary tag.
        temporary: Reference,
        /// Digest of the artifact record.
        pinned: Digest,
        /// Digest that the tag has now.
        found: Digest,
    },
    /// The temporary tag is gone, and the final tag is not the image that was uploaded.
    Gone {
        /// The temporary tag.
        temporary: Reference,
        /// The final tag.
        image: Reference,
        /// Digest of the artifact record.
        pinned: Digest,
        /// Digest of the final tag, none if there is no such tag.
        found: Option<Digest>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved {
                temporary,
                pinned,
                found,
            } => write!(
                f,
                "tag `{temporary}` has moved: it is `{found}`, but `{pinned}` was uploaded"
            ),
            Self::Gone {
                temporary,
                image,
                pinned,
                found: Some(found),
            } => write!(
                f,
                "tag `{temporary}` is gone, and `{image}` is `{found}`, not the `{pinned}` that \
                 was uploaded"
            ),
            Self::Gone {
                temporary, image, ..
            } => write!(
                f,
                "tag `{temporary}` is gone, and there is no `{image}` either"
            ),
        }
    }
}

/// What is wrong with a file of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: String,
    /// Line and column, both from 1, if the fault has a place.
    pub at: Option<(usize, usize)>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Fault {
    /// Text that is no JSON, or not of the shape that was expected.
    pub(crate) fn json(path: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // The place is told apart from the message.
        let message = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(message, _)| message);
        Self {
            path: path.to_owned(),
            at: (error.line() > 0).then_some((error.line(), error.column().max(1))),
            message: message.to_owned(),
        }
    }
}

impl Error {
    /// A file that cannot be read or written.
    pub fn io(
        action: &'static str,
        path: impl AsRef<std::path::Path>,
        source: std::io::Error,
    ) -> Self {
        Self::Io {
            action,
            path: path.as_ref().display().to_string(),
            source,
        }
    }

    /// Kind of failure, which decides the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::NotBuilt { source, .. } => source.class(),
            Self::Refused(_) => Class::Conflict,
            Self::Files(_) | Self::Input { .. } => Class::Invalid,
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Class::NotFound,
                std::io::ErrorKind::PermissionDenied => Class::Denied,
                std::io::ErrorKind::StorageFull => Class::Exhausted,
                _ => Class::Other,
            },
            Self::Random(_) => Class::Other,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusals) => Some(
                if refusals
                    .iter()
                    .any(|refusal| matches!(refusal, Refusal::Moved { .. }))
                {
                    "something else pushed to the temporary tag after the upload: run the gate \
                     again, and promote with its artifact record"
                } else {
                    "a clean-up may have removed the temporary tag: run the gate again"
                },
            ),
            Self::NotBuilt { .. } => Some(
                "push the image to the buildset registry first; images of docker.io lie there \
                 under their path (`library/NAME`), all others under host and path",
            ),
            _ => None,
        }
    }
}

fn listed<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [one] => format!(": {one}"),
        many => many.iter().map(|item| format!("\n  {item}")).collect(),
    }
}

fn files(faults: &[Fault]) -> String {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use ocicore::conformance::errors;

    use super::*;

    #[test]
    fn each_error_says_what_is_wrong_and_what_to_do() {
        let text = |text: &str| text.to_owned();
        let reference = |text: &str| -> Reference { text.parse().unwrap() };
        let all = [
            Error::Store(ocicore::Error::Cancelled),
            Error::NotBuilt {
                image: reference("h.example/app:1").into(),
                source_image: reference("127.0.0.1:5000/app:1").into(),
                source: ocicore::Error::Cancelled,
            },
            Error::Refused(vec![
                Refusal::Moved {
                    temporary: reference("h.example/app:change_1_1"),
                    pinned: Digest::of(b"a"),
                    found: Digest::of(b"b"),
                },
                Refusal::Gone {
                    temporary: reference("h.example/app:change_1_1"),
                    image: reference("h.example/app:1"),
                    pinned: Digest::of(b"a"),
                    found: None,
                },
            ]),
            Error::Files(vec![Fault {
                path: text("registries.conf"),
                at: Some((3, 7)),
                message: text("expected `=`"),
            }]),
            Error::Input {
                what: "tag",
                value: text("a b"),
                expected: "letters, digits, `_`, `.`, `-`",
            },
            Error::Io {
                action: "write",
                path: text("registries.conf"),
                source: std::io::ErrorKind::PermissionDenied.into(),
            },
            Error::Random(getrandom::Error::UNSUPPORTED),
        ];
        let shown = errors::shown(&all, include_str!("error.rs"), |error| {
            (error.class(), error.hint())
        });
        insta::assert_snapshot!(shown);
    }
}
