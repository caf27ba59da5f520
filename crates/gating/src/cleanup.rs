//! Removal of temporary tags, of a tag only and never by digest: to delete a manifest by digest
//! takes all its tags with it, the one that was just promoted included.

use ocicore::{Class, Cx, ImageSink, Name, Tag, in_one_line};
use serde::Serialize;

use crate::Result;

/// What became of a temporary tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Removal {
    /// It was removed.
    Removed,
    /// It was gone already.
    Gone,
    /// It stays, since the registry cannot remove a single tag or does not allow it.
    Kept {
        /// The registry's answer.
        reason: String,
    },
}

/// Removes a tag. That a registry does not is no failure: the image has its final tag already, and
/// a tag too many harms nobody.
///
/// # Errors
/// If cancelled.
pub async fn remove_tag(cx: &Cx, store: &dyn ImageSink, tag: &Tag) -> Result<Removal> {
    match store.delete(cx, &Name::Tag(tag.clone())).await {
        Ok(()) => Ok(Removal::Removed),
        Err(error) => match error.class() {
            Class::NotFound => Ok(Removal::Gone),
            Class::Cancelled => Err(error.into()),
            _ => Ok(Removal::Kept {
                reason: in_one_line(&error),
            }),
        },
    }
}
