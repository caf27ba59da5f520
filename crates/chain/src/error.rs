use std::{error::Error as StdError, fmt, path::PathBuf};

use ocicore::{Cancelled, Class};
use serde::{Serialize, Serializer};

use crate::{Fault, Problem};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a chain cannot be planned or run. [`Error::class`] tells the kind, [`Error::hint`] what to
/// do. That an image cannot be built is no error of the run, but part of its
/// [`Report`](crate::report::Report).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The files of the user are wrong; all that is wrong with them.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// No images file was named, and none is where they usually are.
    #[error("no images file, looked for {tried}")]
    NoImagesFile {
        /// Where it was looked for, comma separated.
        tried: String,
    },
    /// Images were selected that no file lists.
    #[error("no such image: {}, expected some of {}", quoted(.names), quoted(.known))]
    UnknownImages {
        /// How they were called.
        names: Vec<String>,
        /// Keys of those that there are.
        known: Vec<String>,
    },
    /// A builder cannot build some of the images, which it says before anything is built.
    #[error("{builder} cannot build {}: {reason}", quoted(.keys))]
    Unsupported {
        /// The builder.
        builder: &'static str,
        /// Keys of the images.
        keys: Vec<String>,
        /// Why.
        reason: &'static str,
    },
    /// The engine failed to build an image.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A build context cannot be read.
    #[error("cannot read the build context `{}`", .path.display())]
    Context {
        /// Its directory, relative to the root.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<repack::Error>,
    },
    /// A builder other than those of this crate failed.
    #[error(transparent)]
    Builder(Box<dyn StdError + Send + Sync>),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Problems(problems) => problems.class(),
            Self::NoImagesFile { .. } | Self::UnknownImages { .. } => Class::NotFound,
            Self::Unsupported { .. } => Class::Unsupported,
            Self::Engine(error) => error.class(),
            Self::Context { source, .. } => source.class(),
            Self::Builder(_) => Class::Other,
            Self::Cancelled => Class::Cancelled,
        }
    }

    /// Last lines of the log of a build that failed, oldest first.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Engine(error) => error.tail(),
            _ => &[],
        }
    }

    /// What to do about it, where that can be said: a full sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoImagesFile { .. } => {
                "Run this in the directory that has the `docker` folder, or name the images file."
            }
            Self::UnknownImages { .. } => "Images are selected by their key or their tag.",
            Self::Unsupported { .. } => "Leave them out of the selection.",
            Self::Engine(error) => return error.hint(),
            Self::Problems(Problems(all)) if all.len() == 1 => return all[0].what.hint(),
            Self::Problems(_) | Self::Context { .. } | Self::Builder(_) | Self::Cancelled => {
                return None;
            }
        })
    }
}

impl From<Cancelled> for Error {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// All that is wrong with the files of the user, in the order of files and lines; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Fails if there is any.
    pub(crate) fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        problems.dedup();
        Err(Self(problems))
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// `NotFound` if all that is wrong is that files are missing.
    pub fn class(&self) -> Class {
        let missing =
            |problem: &Problem| matches!(problem.what, Fault::NoFile | Fault::Dangling { .. });
        match self.0.iter().all(missing) {
            true => Class::NotFound,
            false => Class::Invalid,
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

/// One line for each; if there are several, with each hint where it is needed first.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &*self.0 {
            return problem.fmt(f);
        }
        write!(f, "{} problems", self.0.len())?;
        let mut hints = Vec::new();
        for problem in self {
            write!(f, "\n{problem}")?;
            let hint = problem.what.hint().filter(|hint| !hints.contains(hint));
            if let Some(hint) = hint {
                write!(f, "\n  {hint}")?;
            }
            hints.extend(hint);
        }
        Ok(())
    }
}

impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

/// Names for a message, of which the first ones are enough.
fn quoted(names: &[String]) -> String {
    const MOST: usize = 16;
    let shown: Vec<_> = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use ocicore::conformance::errors;

    use super::*;

    #[test]
    fn each_error_says_what_is_wrong_and_what_to_do() {
        let text = |text: &str| text.to_owned();
        let all = [
            Error::NoImagesFile {
                tried: text("./IMAGES.json, ./IMAGES"),
            },
            Error::UnknownImages {
                names: vec![text("bse")],
                known: vec![text("base"), text("app")],
            },
            Error::Unsupported {
                builder: "docker",
                keys: vec![text("vm")],
                reason: "it is built by packer",
            },
            Error::Engine(engine::Error::NameInUse { name: text("web") }),
            Error::Context {
                path: PathBuf::from("app"),
                source: Box::new(repack::Error::Cancelled),
            },
            Error::Builder("the builder's own words".into()),
            Error::Cancelled,
            Error::Problems(Problems(Vec::new())),
        ];
        let shown = errors::shown(&all, include_str!("error.rs"), |error| {
            (error.class(), error.hint())
        });
        insta::assert_snapshot!(shown);
    }
}
