use bytes::Bytes;
use serde::Deserialize;

use crate::{
    Algorithm, Descriptor, Digest, Error, MediaType, Platform, Result, descriptor::null_is_empty,
};

/// A manifest or index as it came: its bytes are never written anew on the way.
///
/// ```
/// use ocicore::{MediaType, RawManifest};
///
/// let json = r#"{"schemaVersion":2,"manifests":[]}"#;
/// let raw = RawManifest::new(MediaType::OCI_INDEX, json);
/// assert_eq!(raw.descriptor().size(), 34);
/// assert_eq!(raw.links()?.children().count(), 0);
/// # Ok::<(), ocicore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    descriptor: Descriptor,
    bytes: Bytes,
}

impl RawManifest {
    /// A manifest of one's own making, named by its SHA-256.
    pub fn new(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        Self::with_algorithm(media_type, bytes, Algorithm::Sha256)
    }

    /// The same, named by the given algorithm.
    pub fn with_algorithm(
        media_type: MediaType,
        bytes: impl Into<Bytes>,
        algorithm: Algorithm,
    ) -> Self {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, algorithm.digest(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }

    /// A manifest that was asked for by digest.
    ///
    /// # Errors
    /// [`Error::Digest`] if the bytes have another digest.
    pub fn verified(
        media_type: MediaType,
        bytes: impl Into<Bytes>,
        expected: &Digest,
    ) -> Result<Self> {
        let raw = Self::with_algorithm(media_type, bytes, expected.algorithm());
        match raw.descriptor.digest() {
            actual if actual == expected => Ok(raw),
            actual => Err(Error::Digest {
                expected: (*expected).into(),
                actual: (*actual).into(),
            }),
        }
    }

    /// Media type, digest and size.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> &Digest {
        self.descriptor.digest()
    }

    /// Media type under which it was stored.
    pub fn media_type(&self) -> &MediaType {
        self.descriptor.media_type()
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it points to. A manifest of unknown media type points to nothing but its subject.
    ///
    /// # Errors
    /// [`Error::Document`] if it is no JSON, has a field of a wrong shape, or could be read as an
    /// image and as an index at once (GHSA-mc8v-mgrf-8f4m).
    pub fn links(&self) -> Result<Links> {
        let what = if self.media_type().is_index() {
            "index"
        } else {
            "manifest"
        };
        let fault = |source| Error::Document {
            what,
            digest: (*self.digest()).into(),
            source,
        };
        let document: Document =
            serde_json::from_slice(&self.bytes).map_err(|error| fault(error.into()))?;
        if let Some(inner) = &document.media_type
            && inner != self.media_type()
        {
            let text = format!(
                "its mediaType is `{inner}`, but it is stored as `{}`",
                self.media_type()
            );
            return Err(fault(text.into()));
        }
        let image = document.config.is_some() || !document.layers.is_empty();
        if image && document.manifests.is_some() {
            return Err(fault(
                "it has both `manifests` and `config` or `layers`".into(),
            ));
        }
        if self.media_type().is_index() && document.manifests.is_none() {
            return Err(fault("an index needs `manifests`".into()));
        }
        if self.media_type().is_image() && document.config.is_none() {
            return Err(fault("an image manifest needs `config`".into()));
        }
        let known = self.media_type().is_index() || self.media_type().is_image();
        Ok(Links {
            config: document.config.filter(|_| known),
            layers: if known { document.layers } else { Vec::new() },
            manifests: document.manifests.filter(|_| known).unwrap_or_default(),
            subject: document.subject,
            artifact_type: document.artifact_type,
            annotations: document.annotations,
        })
    }

    /// This manifest as an entry of the referrers of `subject`: with its artifact type, which is
    /// its config's media type if it names none, and its annotations
    /// (distribution-spec §Listing Referrers). None if it refers to something else.
    pub fn as_referrer_of(&self, subject: &Digest) -> Option<Descriptor> {
        let links = self.links().ok()?;
        if links.subject?.digest() != subject {
            return None;
        }
        let mut entry = self.descriptor.clone();
        let kind = links
            .artifact_type
            .or(links.config.map(|config| config.media_type().clone()));
        if let Some(kind) = kind {
            entry = entry.with_artifact_type(kind);
        }
        for (key, value) in links.annotations {
            entry = entry.with_annotation(key, value);
        }
        Some(entry)
    }
}

/// Media type of a manifest whose store does not keep one: its own `mediaType`, else by its shape.
///
/// # Errors
/// [`Error::Document`] if it is no JSON object or shows neither a media type nor a known shape.
pub fn sniff_media_type(bytes: &[u8]) -> Result<MediaType> {
    let fault = |source| Error::Document {
        what: "manifest",
        digest: Digest::of(bytes).into(),
        source,
    };
    let document: Document = serde_json::from_slice(bytes).map_err(|error| fault(error.into()))?;
    match document {
        Document {
            media_type: Some(media_type),
            ..
        } => Ok(media_type),
        Document {
            manifests: Some(_), ..
        } => Ok(MediaType::OCI_INDEX),
        Document {
            config: Some(_), ..
        } => Ok(MediaType::OCI_MANIFEST),
        _ => Err(fault(
            "it has neither `mediaType` nor `manifests` nor `config`".into(),
        )),
    }
}

/// What a manifest points to. Images have a config and layers, indexes have manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Links {
    /// The config of an image or artifact.
    pub config: Option<Descriptor>,
    /// Layers from the bottom up, or an artifact's blobs.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one refers to (image-spec manifest.md, `subject`).
    pub subject: Option<Descriptor>,
    /// Type of an artifact.
    pub artifact_type: Option<MediaType>,
    /// The manifest's own annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Links {
    /// Everything that must be there before this manifest: config, layers, manifests.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(&self.layers)
            .chain(&self.manifests)
    }

    /// Content that is not a manifest: config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// The manifest of an index that fits `wanted` best; the first of equals. Attestations, which
    /// have the platform `unknown/unknown`, fit nothing.
    pub fn pick(&self, wanted: &Platform) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .filter_map(|entry| Some((entry.platform()?.rank(wanted)?, entry)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }
}

/// The union of the shapes of manifests; fields that nobody here needs are not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    artifact_type: Option<MediaType>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
}

#[cfg(feature = "oci-spec")]
mod spec {
    use super::*;

    /// The typed view of the `oci-spec` crate. For reading only: its maps are unordered and its
    /// configs lose fields, so that writing through it changes digests.
    impl RawManifest {
        /// As an image manifest.
        ///
        /// # Errors
        /// [`Error::Document`] if it is none.
        pub fn as_image(&self) -> Result<oci_spec::image::ImageManifest> {
            self.view("manifest")
        }

        /// As an image index.
        ///
        /// # Errors
        /// [`Error::Document`] if it is none.
        pub fn as_index(&self) -> Result<oci_spec::image::ImageIndex> {
            self.view("index")
        }

        fn view<T: serde::de::DeserializeOwned>(&self, what: &'static str) -> Result<T> {
            serde_json::from_slice(&self.bytes).map_err(|error| Error::Document {
                what,
                digest: (*self.digest()).into(),
                source: error.into(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(content: &str, extra: &str) -> String {
        let digest = Digest::of(content.as_bytes());
        format!(
            r#"{{"mediaType":"a/b","digest":"{digest}","size":{}{extra}}}"#,
            content.len()
        )
    }

    #[test]
    fn confusing_manifests_are_refused() {
        let e = entry("x", "");
        for (media_type, json) in [
            (MediaType::OCI_MANIFEST, "nope".to_owned()),
            (MediaType::OCI_MANIFEST, "{}".to_owned()),
            (
                MediaType::OCI_INDEX,
                format!(r#"{{"config":{e},"layers":[]}}"#),
            ),
            (
                MediaType::OCI_INDEX,
                format!(r#"{{"config":{e},"manifests":[]}}"#),
            ),
            (
                MediaType::OCI_INDEX,
                format!(r#"{{"layers":[{e}],"manifests":[]}}"#),
            ),
            (
                MediaType::OCI_INDEX,
                format!(
                    r#"{{"mediaType":"{}","manifests":[]}}"#,
                    MediaType::DOCKER_LIST
                ),
            ),
        ] {
            let raw = RawManifest::new(media_type, json);
            assert!(
                matches!(raw.links(), Err(Error::Document { .. })),
                "{:?}",
                raw.bytes()
            );
        }
        let odd = RawManifest::new("x/y".parse().unwrap(), format!(r#"{{"config":{e}}}"#));
        assert_eq!(odd.links().unwrap(), Links::default());
    }

    #[test]
    fn a_platform_is_picked() {
        let platform = |os: &str, arch: &str| {
            entry(
                arch,
                &format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#),
            )
        };
        let json = format!(
            r#"{{"manifests":[{},{},{},{}]}}"#,
            platform("unknown", "unknown"),
            entry("none", ""),
            platform("linux", "arm64"),
            platform("linux", "amd64"),
        );
        let links = RawManifest::new(MediaType::OCI_INDEX, json)
            .links()
            .unwrap();
        let pick = |text: &str| links.pick(&text.parse().unwrap()).map(|d| *d.digest());
        assert_eq!(pick("linux/amd64"), Some(Digest::of(b"amd64")));
        assert_eq!(pick("linux/arm64/v8"), Some(Digest::of(b"arm64")));
        assert_eq!(pick("linux/riscv64"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = RawManifest::new(MediaType::OCI_MANIFEST, bytes.clone()).links();
            let _ = sniff_media_type(&bytes);
        }
    }
}
