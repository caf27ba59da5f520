use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Digest, Error, Result, error::Printable};

/// A media type (RFC 6838 §4.2), without parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// OCI image manifest.
    pub const OCI_MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index.
    pub const OCI_INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// OCI image config.
    pub const OCI_CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// OCI layer: an uncompressed tar.
    pub const OCI_LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// OCI layer: a tar compressed by gzip.
    pub const OCI_LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// OCI layer: a tar compressed by Zstandard.
    pub const OCI_LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// The empty config `{}` of artifacts.
    pub const OCI_EMPTY: Self = Self::known("application/vnd.oci.empty.v1+json");
    /// Docker image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list.
    pub const DOCKER_LIST: Self =
        Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// Docker image config.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// Docker layer: a tar compressed by gzip.
    pub const DOCKER_LAYER_GZIP: Self =
        Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");
    /// Docker layer: an uncompressed tar.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar");

    const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The media type.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An OCI index or a Docker manifest list.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_LIST
    }

    /// An OCI or Docker image manifest (which artifacts use, too).
    pub fn is_image(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Layers that a registry need not hold, since their owner forbids to distribute them.
    pub fn is_nondistributable(&self) -> bool {
        self.0.contains(".nondistributable.") || self.0.contains(".foreign.")
    }
}

impl FromStr for MediaType {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let restricted = |name: &str| {
            name.as_bytes()
                .first()
                .is_some_and(u8::is_ascii_alphanumeric)
                && name.len() <= 127
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match input.split_once('/') {
            Some((kind, sub)) if restricted(kind) && restricted(sub) => {
                Ok(Self(Cow::Owned(input.to_owned())))
            }
            _ => Err(Error::parse(
                "media type",
                input,
                "expected `type/subtype` of RFC 6838",
            )),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Points to content: media type, digest and size, and what the specification allows besides
/// (image-spec descriptor.md).
///
/// ```
/// use ocicore::{Descriptor, MediaType};
///
/// let layer = Descriptor::of(MediaType::OCI_LAYER, b"content");
/// assert_eq!(layer.size(), 7);
/// let json = serde_json::to_string(&layer)?;
/// assert_eq!(serde_json::from_str::<Descriptor>(&json)?, layer);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<MediaType>,
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    urls: Vec<String>,
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of known content; `size` in bytes.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            platform: None,
            artifact_type: None,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Describes `content` by its SHA-256.
    pub fn of(media_type: MediaType, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }

    /// With a platform, as an entry of an index has it.
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// With an artifact type, as an entry of a referrers list has it.
    pub fn with_artifact_type(mut self, artifact_type: MediaType) -> Self {
        self.artifact_type = Some(artifact_type);
        self
    }

    /// With other places from which the content may be had.
    pub fn with_urls(mut self, urls: impl IntoIterator<Item = String>) -> Self {
        self.urls = urls.into_iter().collect();
        self
    }

    /// With one more annotation.
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// What the content is.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Hash of the content.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Size of the content in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Platform of an index's entry.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Artifact type of a referrer.
    pub fn artifact_type(&self) -> Option<&MediaType> {
        self.artifact_type.as_ref()
    }

    /// Other places from which the content may be had.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Annotations, sorted by key.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

/// A platform as `OS/ARCHITECTURE[/VARIANT]` (image-spec image-index.md, `platform`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    os: String,
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    os_features: Vec<String>,
}

impl Platform {
    /// A platform by Go's names (`linux`, `amd64`), as the specification wants them.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// With a variant of its architecture, for example `v8`.
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// With a version of its operating system, for example `10.0.20348`: as wanted, it stands for
    /// all versions that begin with these numbers.
    pub fn with_os_version(mut self, version: impl Into<String>) -> Self {
        self.os_version = Some(version.into());
        self
    }

    /// Linux on this machine's processor: what a container on this machine runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// Operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Processor architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Variant of the architecture, for example `v8`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Version of the operating system, for example `10.0.20348.2582`.
    pub fn os_version(&self) -> Option<&str> {
        self.os_version.as_deref()
    }

    /// How well this platform serves a `wanted` one: none if not at all, else lower is better.
    /// An older variant of arm serves a newer one, and `arm64` means `arm64/v8`
    /// (containerd, platforms/compare.go). A wanted version of the operating system is served by
    /// the same one, or one with more numbers behind it; who says none serves all.
    pub fn rank(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        if let Some(version) = &wanted.os_version
            && self
                .os_version
                .as_ref()
                .is_some_and(|ours| !is_version_of(ours, version))
        {
            return None;
        }
        let level = |platform: &Self| match (platform.architecture.as_str(), platform.variant()) {
            ("arm64", None) => Some(8),
            ("arm", None) => Some(7),
            ("amd64", None) => Some(1),
            (_, Some(variant)) => variant
                .strip_prefix('v')
                .and_then(|v| v.parse::<u32>().ok()),
            _ => None,
        };
        match (level(self), level(wanted)) {
            (Some(ours), Some(theirs)) => theirs.checked_sub(ours),
            _ if self.variant == wanted.variant || wanted.variant.is_none() => Some(0),
            _ => None,
        }
    }
}

/// Whether `ours` is `wanted` or has more numbers behind it.
fn is_version_of(ours: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('.');
    let rest = ours.strip_prefix(wanted);
    wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let part = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let mut parts = input.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None)
                if part(os) && part(architecture) && variant.is_none_or(part) =>
            {
                Ok(Self {
                    variant: variant.map(str::to_owned),
                    ..Self::new(os, architecture)
                })
            }
            _ => Err(Error::parse(
                "platform",
                input,
                "expected OS/ARCHITECTURE[/VARIANT]",
            )),
        }
    }
}

/// As it is parsed; control characters, which foreign documents may have, are escaped.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (os, architecture) = (Printable(&self.os), Printable(&self.architecture));
        write!(f, "{os}/{architecture}")?;
        match &self.variant {
            Some(variant) => write!(f, "/{}", Printable(variant)),
            None => Ok(()),
        }
    }
}

/// Go programs write an empty list or map as `null`.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_as_others_write_them() {
        let json = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,
            "digest":"sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa",
            "urls":null,"annotations":null,"unknown":[1],
            "platform":{"os":"windows","architecture":"amd64","os.version":"10.0.1","os.features":null}}"#;
        let descriptor: Descriptor = serde_json::from_str(json).unwrap();
        assert_eq!(descriptor.platform().unwrap().os_version(), Some("10.0.1"));
        for bad in [
            json.replace("\"size\":7", "\"size\":-1"),
            json.replace("sha256:7", "sha256:"),
            json.replace("application/", ""),
        ] {
            assert!(serde_json::from_str::<Descriptor>(&bad).is_err());
        }
    }

    #[test]
    fn a_platform_moves_no_cursor() {
        let json = r#"{"os":"\u001b[31m","architecture":"a\nb","variant":"v8"}"#;
        let platform: Platform = serde_json::from_str(json).unwrap();
        assert_eq!(platform.to_string(), r"\u{1b}[31m/a\nb/v8");
    }

    #[test]
    fn the_nearest_platform_wins() {
        let p = |text: &str| text.parse::<Platform>().unwrap();
        for (have, want, rank) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v3", Some(2)),
            ("linux/amd64/v3", "linux/amd64", None),
            ("linux/arm64/v8", "linux/arm64", Some(0)),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", Some(1)),
            ("linux/arm/v7", "linux/arm/v6", None),
            ("linux/arm64", "linux/arm", None),
            ("windows/amd64", "linux/amd64", None),
            ("unknown/unknown", "linux/amd64", None),
            ("linux/s390x", "linux/s390x", Some(0)),
        ] {
            assert_eq!(p(have).rank(&p(want)), rank, "{have} for {want}");
        }
        let windows = || Platform::new("windows", "amd64");
        for (have, want, rank) in [
            (Some("10.0.20348.2582"), Some("10.0.20348"), Some(0)),
            (Some("10.0.20348"), Some("10.0.20348"), Some(0)),
            (Some("10.0.17763.6659"), Some("10.0.20348"), None),
            (Some("10.0.17763"), Some("10.0.1"), None),
            (Some("10.0.17763"), Some("10.0."), Some(0)),
            (Some("10.0.17763"), Some(""), Some(0)),
            (Some("10.0.20348.2582"), None, Some(0)),
            (None, Some("10.0.20348"), Some(0)),
        ] {
            let of = |version: Option<&str>| match version {
                Some(version) => windows().with_os_version(version),
                None => windows(),
            };
            assert_eq!(of(have).rank(&of(want)), rank, "{have:?} for {want:?}");
        }
        assert_eq!(
            p("linux/arm/v7"),
            Platform::new("linux", "arm").with_variant("v7")
        );
        for bad in ["linux", "", "linux/", "linux/arm/v7/x", "li nux/arm"] {
            assert!(bad.parse::<Platform>().is_err());
        }
    }
}
