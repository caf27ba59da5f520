use std::fmt;

use ocicore::{Digest, Platform};
use serde::{Serialize, Serializer};
use serde_json::json;

/// What a stage is made of, as one value: its Dockerfile, its files, the image below it, and the
/// platform. The same key means the same image, so that a stage is built once.
///
/// The original's key leaves out the image below, so that security fixes there go unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// Key of a stage.
    pub(crate) fn new(
        below: &Digest,
        platform: &Platform,
        dockerfile: &str,
        files: &[(String, String)],
    ) -> Self {
        let parts = json!([below, platform.to_string(), dockerfile, files]);
        Self(Digest::of(parts.to_string().as_bytes()))
    }

    /// The digest behind it.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

/// The first sixteen hexadecimal characters: a tag.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex()[..16])
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
