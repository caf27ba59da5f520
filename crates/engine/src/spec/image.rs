use std::{fmt, str::FromStr};

use ocicore::{Digest, Error, Reference, Result};

/// An image as an engine counts them: the digest of its config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(Digest);

impl ImageId {
    /// The digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl From<Digest> for ImageId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// With or without `sha256:`, for Podman sometimes leaves it out.
impl FromStr for ImageId {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        if input.contains(':') {
            input.parse().map(Self)
        } else {
            format!("sha256:{input}").parse().map(Self)
        }
    }
}

/// An image of an engine. Closed: engines know no third way.
///
/// ```
/// use engine::spec::ImageName;
///
/// let name: ImageName = "busybox".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/busybox:latest");
/// # Ok::<(), ocicore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageName {
    /// By a name, which can move.
    Reference(Reference),
    /// By its id, which cannot.
    Id(ImageId),
}

impl From<Reference> for ImageName {
    fn from(reference: Reference) -> Self {
        Self::Reference(reference)
    }
}

impl From<ImageId> for ImageName {
    fn from(id: ImageId) -> Self {
        Self::Id(id)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A reference, or the id with its `sha256:`.
impl FromStr for ImageName {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        if let Ok(digest) = input.parse::<Digest>() {
            return Ok(Self::Id(digest.into()));
        }
        input.parse().map(Self::Reference)
    }
}

/// Texts that an engine gives and takes, safe as a part of a URL's path.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(input: &str) -> Result<Self> {
                if is_name(input) {
                    Ok(Self(input.to_owned()))
                } else {
                    Err(Error::parse($noun, input, "expected [a-zA-Z0-9][a-zA-Z0-9_.-]*"))
                }
            }
        }
    };
}

name!(
    /// A container, by its id or its name.
    ContainerId,
    "container id"
);
name!(
    /// A volume, by its name.
    VolumeName,
    "volume name"
);

/// The grammar of moby, `daemon/names`.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && text.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_with_and_without_algorithm() {
        let hex = "ab".repeat(32);
        let id: ImageId = hex.parse().unwrap();
        assert_eq!(id.to_string(), format!("sha256:{hex}"));
        assert_eq!(id, id.to_string().parse().unwrap());
        assert_eq!(ImageName::Id(id), id.to_string().parse().unwrap());
        assert!("abc".parse::<ImageId>().is_err());
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_url() {
        for bad in ["", "../x", "a/b", "a?b", "-a", "a b", "ä"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
        assert_eq!("a_b-c.1".parse::<VolumeName>().unwrap().as_str(), "a_b-c.1");
    }
}
