use std::{fmt, str::FromStr};

use ocicore::{Digest, Reference, RepositoryPath, Tag};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, Result};

/// Name of a package: one component of a repository's path, so it is safe as a file name.
///
/// ```
/// use layerpkg::PackageName;
///
/// let name = PackageName::of(&"localhost:5000/team/engine:1.0".parse()?)?;
/// assert_eq!(name.as_str(), "engine");
/// assert!("../engine".parse::<PackageName>().is_err());
/// # Ok::<(), layerpkg::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// What a reference calls its package: the last component of the repository's path.
    ///
    /// # Errors
    /// [`Error::Parse`] if that is longer than 128 characters.
    pub fn of(reference: &Reference) -> Result<Self> {
        let path = reference.repository().path().as_str();
        path.rsplit('/').next().unwrap_or(path).parse()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let good =
            !input.contains('/') && input.len() <= 128 && input.parse::<RepositoryPath>().is_ok();
        if good {
            Ok(Self(input.to_owned()))
        } else {
            Err(Error::Parse {
                noun: "package name",
                input: input.chars().take(256).collect(),
                expected: "expected lower-case letters, digits and single separators \
                           (`.`, `_`, `__`, `-`), at most 128 characters",
            })
        }
    }
}

/// A version of a package: what a tag can be, so it is safe as a file name. Versions have no order
/// of their own: tags like `edge` are versions, too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Tag);

impl Version {
    /// The version of an image: what its label says, else the tag by which it was asked for, else
    /// the beginning of its digest. A `+` of a semantic version becomes `_`, as tags have it.
    pub fn of(label: Option<&str>, tag: Option<&Tag>, digest: &Digest) -> Self {
        let label = label.and_then(|label| label.replace('+', "_").parse().ok());
        label.or_else(|| tag.cloned()).map(Self).unwrap_or_else(|| {
            let text = format!("sha256-{}", &digest.hex()[..12]);
            Self(text.parse().expect("letters, digits and `-` are a tag"))
        })
    }

    /// Under which name the content of `digest` is kept when this version gets another.
    pub(crate) fn kept(&self, digest: &Digest) -> Self {
        // What is before the digest is shortened so that the whole is a tag.
        let base: String = self.as_str().chars().take(100).collect();
        let text = format!("{base}-{}", &digest.hex()[..12]);
        Self(text.parse().unwrap_or_else(|_| self.0.clone()))
    }

    /// The version.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        input.parse().map(Self).map_err(|_| Error::Parse {
            noun: "version",
            input: input.chars().take(256).collect(),
            expected: "expected letters, digits, `_`, `.` and `-`, at most 128 characters, \
                       not beginning with `.` or `-`",
        })
    }
}

impl From<Tag> for Version {
    fn from(tag: Tag) -> Self {
        Self(tag)
    }
}

macro_rules! text {
    ($($noun:ident),*) => {$(
        impl fmt::Display for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $noun {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
text!(PackageName, Version);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["engine", "a.b", "a__b-c", "9"] {
            assert_eq!(good.parse::<PackageName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "/a", "A", "a b", ".a", "a\0", "-a"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(129).parse::<PackageName>().is_err());
        for bad in ["", ".", "..", "1/2", "-1", ".new", "a:b"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_label_counts_more_than_a_tag() {
        let digest = Digest::of(b"x");
        let check = |label: Option<&str>, tag: Option<&str>, expected: &str| {
            let tag = tag.map(|tag| tag.parse().unwrap());
            assert_eq!(Version::of(label, tag.as_ref(), &digest).as_str(), expected);
        };
        check(Some("1.2.0"), Some("latest"), "1.2.0");
        check(Some("1.2.0+linux"), Some("latest"), "1.2.0_linux");
        check(Some("not a version"), Some("edge"), "edge");
        check(Some(""), Some("edge"), "edge");
        check(Some("../../x"), None, "sha256-2d711642b726");
        check(None, None, "sha256-2d711642b726");
    }

    #[test]
    fn a_kept_version_is_a_version() {
        let digest = Digest::of(b"x");
        let version: Version = "edge".parse().unwrap();
        assert_eq!(version.kept(&digest).as_str(), "edge-2d711642b726");
        let long: Version = "v".repeat(128).parse().unwrap();
        assert_eq!(long.kept(&digest).as_str().len(), 113);
    }
}
