use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use ocicore::Reference;
use serde::Serialize;

use crate::{BuildFlags, Place};

/// What builds an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BuilderType {
    /// A Dockerfile.
    Dockerfile,
    /// A packer template: a container is run, provisioned and committed.
    Packer,
}

impl fmt::Display for BuilderType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dockerfile => "dockerfile",
            Self::Packer => "packer",
        })
    }
}

/// An image as an images file lists it, with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Image {
    /// What it is selected by: `dockerfile__TAG` or `packer__FILE`.
    pub key: String,
    /// Where it is listed.
    pub place: Place,
    /// What builds it.
    pub builder: BuilderType,
    /// What it is called. Entries for packer have none, the template has.
    pub tag: Option<Reference>,
    /// Last component of its name.
    pub name: String,
    /// Its version, usually the tag.
    pub version: String,
    /// What it is built from: a Dockerfile or a packer template, relative to the root.
    pub file: PathBuf,
    /// The build context, relative to the root.
    pub working_dir: PathBuf,
    /// How to build a Dockerfile.
    pub flags: BuildFlags,
    /// Arguments for packer.
    pub packer_args: Vec<String>,
    /// The tag as it is written.
    #[serde(skip)]
    pub(crate) written_tag: Option<String>,
}

/// Resolves `.` and `..` as text, as the original does; `.` if nothing is left.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match clean.components().next_back() {
                Some(Component::Normal(_)) => drop(clean.pop()),
                Some(Component::RootDir) => {}
                _ => clean.push(".."),
            },
            other => clean.push(other),
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_text() {
        for (path, expected) in [
            ("docker/..", "."),
            ("docker/../Dockerfile", "Dockerfile"),
            ("./a/./b/../c", "a/c"),
            ("..", ".."),
            ("../../a", "../../a"),
            ("a/../..", ".."),
            ("/a/../..", "/"),
            ("", "."),
        ] {
            assert_eq!(clean(path.as_ref()), Path::new(expected), "{path}");
        }
    }
}
