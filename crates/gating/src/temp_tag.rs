//! Temporary tags: what an image is called between its upload and its promotion.
//!
//! Zuul's roles use `change_NUMBER_TAG`, so that a second run of the gate, or another patch set,
//! silently replaces the image that was tested. Here the tag has the patch set and the build, too;
//! it still begins with `change_NUMBER_` or `PIPELINE_`, so that the clean-up of Zuul's roles
//! recognises it.

use std::fmt;

use ocicore::Tag;
use serde::{Serialize, Serializer};

use crate::{Error, Result};

/// What temporary tags of one build begin with.
///
/// ```
/// use gating::temp_tag::Prefix;
///
/// let prefix = Prefix::change(1234, "2", "a1b2c3")?;
/// assert_eq!(prefix.tag(&"latest".parse()?)?.as_str(), "change_1234_2_a1b2c3_latest");
/// let prefix = Prefix::pipeline("release", "a1b2c3")?;
/// assert_eq!(prefix.tag(&"1.0".parse()?)?.as_str(), "release_a1b2c3_1.0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// For a build of a change: its number, patch set (a number with Gerrit, a commit with GitHub)
    /// and the build's identifier.
    ///
    /// # Errors
    /// [`Error::Input`] if one of them has characters that a tag cannot have.
    pub fn change(number: u64, patchset: &str, build: &str) -> Result<Self> {
        let patchset = part("patchset", patchset)?;
        let build = part("build", build)?;
        Ok(Self(format!("change_{number}_{patchset}_{build}_")))
    }

    /// For a build without a change, by its pipeline: `release`, `periodic`.
    ///
    /// # Errors
    /// As [`Prefix::change`].
    pub fn pipeline(name: &str, build: &str) -> Result<Self> {
        let name = part("pipeline", name)?;
        let build = part("build", build)?;
        Ok(Self(format!("{name}_{build}_")))
    }

    /// The temporary tag that stands for a final one.
    ///
    /// # Errors
    /// [`Error::Store`] if it is longer than the 128 characters of a tag.
    pub fn tag(&self, tag: &Tag) -> Result<Tag> {
        Ok(format!("{}{tag}", self.0).parse()?)
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A part of a tag. It must be one that could begin a tag, which it may do.
fn part<'a>(what: &'static str, value: &'a str) -> Result<&'a str> {
    match value.parse::<Tag>() {
        Ok(_) => Ok(value),
        Err(_) => Err(Error::Input {
            what,
            value: value.chars().take(256).collect(),
            expected: "it becomes part of a tag, so that only letters, digits, `_`, `.` and `-` \
                       can be in it, and neither `.` nor `-` can begin it",
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn builds_and_patch_sets_do_not_collide() {
        let latest = Tag::latest();
        let tags: std::collections::BTreeSet<_> = [("1", "a"), ("2", "a"), ("1", "b")]
            .map(|(patchset, build)| Prefix::change(7, patchset, build).unwrap())
            .map(|prefix| prefix.tag(&latest).unwrap())
            .into();
        assert_eq!(tags.len(), 3);
    }

    #[test]
    fn what_cannot_be_in_a_tag_is_refused() {
        for bad in ["", "a/b", "a b", ".a", "-a", "é", "a:b"] {
            assert!(Prefix::change(1, bad, "b").is_err(), "{bad}");
            assert!(Prefix::change(1, "1", bad).is_err(), "{bad}");
            assert!(Prefix::pipeline(bad, "b").is_err(), "{bad}");
        }
        let error = Prefix::pipeline("a/b", "1").unwrap_err();
        insta::assert_snapshot!(error);
    }

    #[test]
    fn a_tag_that_is_too_long_is_refused() {
        let prefix = Prefix::change(1, "1", &"b".repeat(100)).unwrap();
        assert!(prefix.tag(&"t".repeat(30).parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(number: u64, patchset: String, build: String) {
            if let Ok(prefix) = Prefix::change(number, &patchset, &build) {
                let zuul = format!("change_{number}_");
                prop_assert!(prefix.as_str().starts_with(&zuul));
                let end = format!("_{build}_");
                prop_assert!(prefix.as_str().ends_with(&end));
            }
        }
    }
}
