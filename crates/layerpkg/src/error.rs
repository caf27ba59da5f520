use std::{io, path::PathBuf};

use ocicore::{Cancelled, Class, Digest, MediaType};
use repack::EntryPath;

use crate::{PackageName, Version};

/// What can go wrong with packages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not what it was parsed as.
    #[error("`{input}` is not a valid {noun}: {expected}")]
    Parse {
        /// What it should have been.
        noun: &'static str,
        /// The text.
        input: String,
        /// What the grammar wants.
        expected: &'static str,
    },
    /// The store of the images failed, or gave something else than what was asked for.
    #[error(transparent)]
    Store(#[from] ocicore::Error),
    /// The directory of a package to be published cannot be read or archived.
    #[error("failed to package `{}`", path.display())]
    Package {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        source: repack::Error,
    },
    /// There is nothing in the directory that was to be published.
    #[error("there is nothing to package in `{}`", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// A layer is damaged or hostile.
    #[error("layer `{layer}` is refused")]
    Layer {
        /// Its digest.
        layer: Box<Digest>,
        /// The reason.
        source: repack::Error,
    },
    /// A layer unpacks to something else than the image's config says.
    #[error("layer `{layer}` unpacks to `{actual}`, the image's config says `{expected}`")]
    DiffId {
        /// Its digest.
        layer: Box<Digest>,
        /// The `diff_id` of the config.
        expected: Box<Digest>,
        /// What came out.
        actual: Box<Digest>,
    },
    /// A layer of a kind that this crate does not unpack.
    #[error("layer `{layer}` is of media type `{media_type}`, which cannot be unpacked")]
    MediaType {
        /// Its digest.
        layer: Box<Digest>,
        /// What its descriptor says.
        media_type: MediaType,
    },
    /// The files of an image cannot be written.
    #[error("failed to unpack the image `{image}`")]
    Unpack {
        /// Digest of its manifest.
        image: Box<Digest>,
        /// The reason.
        source: repack::Error,
    },
    /// A link of a package leads out of it.
    #[error("symbolic link `{path}` leads to `{target}`, outside of the package")]
    Escape {
        /// The link.
        path: EntryPath,
        /// Its target, as text.
        target: String,
    },
    /// A package has something that is neither file, directory nor link.
    #[error("`{path}` is a {kind}, which no package can have")]
    Special {
        /// The entry.
        path: EntryPath,
        /// `device` or `named pipe`.
        kind: &'static str,
    },
    /// No version of a package is installed.
    #[error("package `{name}` is not installed")]
    NoPackage {
        /// The package.
        name: PackageName,
    },
    /// Another version was asked for than are installed.
    #[error("version `{version}` of `{name}` is not installed, only {}", list(.installed))]
    NoVersion {
        /// The package.
        name: PackageName,
        /// What was asked for.
        version: Version,
        /// What is there.
        installed: Vec<Version>,
    },
    /// The active version of a package does not have the tool.
    #[error("`{tool}` is not in the active version {version} of `{name}`{}", elsewhere(.others))]
    NoTool {
        /// The tool.
        tool: String,
        /// The package that has it in another version.
        name: PackageName,
        /// The active version.
        version: Version,
        /// Installed versions that have it.
        others: Vec<Version>,
    },
    /// No version of the package that has the tool is active.
    #[error("`{tool}` is of package `{name}`, which has no active version")]
    NotActive {
        /// The tool.
        tool: String,
        /// The package.
        name: PackageName,
    },
    /// A shim was run that belongs to no package.
    #[error("`{}` is not a tool of an installed package", path.display())]
    NotShim {
        /// The program.
        path: PathBuf,
    },
    /// Something in the prefix is not what this crate puts there.
    #[error("`{}` is not {expected}", path.display())]
    Prefix {
        /// The file or link.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Reading or writing a file failed.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What kind of failure it is; drives exit codes. Only errors of the store can be transient,
    /// and implementations of stores have tried again by then.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Package { source, .. }
            | Self::Layer { source, .. }
            | Self::Unpack { source, .. } => source.class(),
            Self::MediaType { .. } => Class::Unsupported,
            Self::NoPackage { .. }
            | Self::NoVersion { .. }
            | Self::NoTool { .. }
            | Self::NotActive { .. }
            | Self::NotShim { .. } => Class::NotFound,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Class::Denied
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Class::Exhausted,
                _ => Class::Other,
            },
            _ => Class::Invalid,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPackage { .. } => Some("`layerpkg list` shows what is installed".to_owned()),
            Self::NoVersion { name, .. } => {
                Some(format!("`layerpkg list {name}` shows what is installed"))
            }
            Self::NoTool { name, others, .. } => {
                let other = others.last()?;
                Some(format!("switch by `layerpkg use {name} {other}`"))
            }
            Self::NotActive { name, .. } => {
                Some(format!("activate one by `layerpkg use {name} VERSION`"))
            }
            Self::MediaType { .. } => {
                Some("build the image with gzip layers, for example by `docker build`".to_owned())
            }
            _ => None,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl From<Cancelled> for Error {
    fn from(cancelled: Cancelled) -> Self {
        Self::Store(cancelled.into())
    }
}

fn list(versions: &[Version]) -> String {
    let quoted: Vec<_> = versions.iter().map(|v| format!("`{v}`")).collect();
    quoted.join(", ")
}

fn elsewhere(versions: &[Version]) -> String {
    if versions.is_empty() {
        String::new()
    } else {
        format!(", but in {}", list(versions))
    }
}

#[cfg(test)]
mod tests {
    use ocicore::conformance::errors;

    use super::*;

    #[test]
    fn each_error_says_what_is_wrong_and_what_to_do() {
        let text = |text: &str| text.to_owned();
        let digest = |text: &str| Box::new(Digest::of(text.as_bytes()));
        let name = || -> PackageName { "demo".parse().unwrap() };
        let version = |text: &str| -> Version { text.parse().unwrap() };
        let path = |text: &str| -> EntryPath { text.parse().unwrap() };
        let all = [
            Error::Parse {
                noun: "version",
                input: text("a/b"),
                expected: "letters, digits, `.`, `-`, `_`, `+`",
            },
            Error::Store(ocicore::Error::Cancelled),
            Error::Package {
                path: PathBuf::from("dir"),
                source: repack::Error::Cancelled,
            },
            Error::Empty {
                path: PathBuf::from("dir"),
            },
            Error::Layer {
                layer: digest("a"),
                source: repack::Error::Cancelled,
            },
            Error::DiffId {
                layer: digest("a"),
                expected: digest("b"),
                actual: digest("c"),
            },
            Error::MediaType {
                layer: digest("a"),
                media_type: MediaType::OCI_CONFIG,
            },
            Error::Unpack {
                image: digest("a"),
                source: repack::Error::Cancelled,
            },
            Error::Escape {
                path: path("bin/x"),
                target: text("../../etc/passwd"),
            },
            Error::Special {
                path: path("dev/sda"),
                kind: "device",
            },
            Error::NoPackage { name: name() },
            Error::NoVersion {
                name: name(),
                version: version("3.0"),
                installed: vec![version("1.0"), version("2.0")],
            },
            Error::NoTool {
                tool: text("hello"),
                name: name(),
                version: version("2.0"),
                others: vec![version("1.0")],
            },
            Error::NoTool {
                tool: text("hello"),
                name: name(),
                version: version("2.0"),
                others: Vec::new(),
            },
            Error::NotActive {
                tool: text("hello"),
                name: name(),
            },
            Error::NotShim {
                path: PathBuf::from("/usr/bin/hello"),
            },
            Error::Prefix {
                path: PathBuf::from("active/demo"),
                expected: "a link to a version",
            },
            Error::File {
                action: "write",
                path: PathBuf::from("prefix"),
                source: io::ErrorKind::StorageFull.into(),
            },
        ];
        let shown = errors::shown(&all, include_str!("error.rs"), |error| {
            (error.class(), error.hint())
        });
        insta::assert_snapshot!(shown);
    }
}
