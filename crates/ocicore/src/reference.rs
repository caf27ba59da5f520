use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Digest, Error, Result};

/// Host of images that name none (distribution/reference, `defaultDomain`).
const DEFAULT_HOST: &str = "docker.io";
/// Path prefix of Docker Hub's official images (`officialRepoPrefix`).
const OFFICIAL: &str = "library/";

/// The `<name>` of the distribution specification: path components separated by `/`, at most 255
/// characters, each `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`. It can never hold `..` or an empty
/// component, so it is safe as a relative path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryPath(String);

impl RepositoryPath {
    /// The path, for example `library/busybox`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryPath {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        const EXPECTED: &str = "expected components of lower-case letters, digits and single \
             separators (`.`, `_`, `__`, `-`), joined by `/`, of at most 255 characters";
        if input.len() <= 255 && input.split('/').all(is_path_component) {
            Ok(Self(input.to_owned()))
        } else {
            Err(Error::parse("repository name", input, EXPECTED))
        }
    }
}

/// Host and path: what a registry client, an engine and a command line know a repository by.
/// A store is already one repository, so that no method of a store takes it.
///
/// ```
/// let hub: ocicore::Repository = "busybox".parse()?;
/// assert_eq!(hub.host(), "docker.io");
/// assert_eq!(hub.path().as_str(), "library/busybox");
/// assert_eq!(hub.to_string(), "docker.io/library/busybox");
/// # Ok::<(), ocicore::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: String,
    path: RepositoryPath,
}

impl Repository {
    /// A repository from its parts, without Docker's normalisation.
    ///
    /// # Errors
    /// If `host` is not a host name, IPv4 address or bracketed IPv6 address with an optional port.
    pub fn new(host: &str, path: RepositoryPath) -> Result<Self> {
        if !is_host(host) {
            return Err(Error::parse(
                "registry host",
                host,
                "expected HOST or HOST:PORT",
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            path,
        })
    }

    /// Registry host with its port, if any.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path within the registry.
    pub fn path(&self) -> &RepositoryPath {
        &self.path
    }

    /// This repository at another registry.
    ///
    /// # Errors
    /// As [`Repository::new`].
    pub fn at(&self, host: &str) -> Result<Self> {
        Self::new(host, self.path.clone())
    }
}

/// As `docker pull` understands it: a first component without dot, colon and capitals, other than
/// `localhost`, is no host; single components of Docker Hub live under `library/`.
impl FromStr for Repository {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let (host, path) = match input.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
            {
                (
                    if first == "index.docker.io" {
                        DEFAULT_HOST
                    } else {
                        first
                    },
                    rest,
                )
            }
            _ => (DEFAULT_HOST, input),
        };
        if host == DEFAULT_HOST && !path.contains('/') {
            return Self::new(host, format!("{OFFICIAL}{path}").parse()?);
        }
        Self::new(host, path.parse()?)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec §Pulling manifests).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// `latest`, what a reference without tag and digest means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let mut bytes = input.bytes();
        let good = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && input.len() <= 128;
        if good {
            Ok(Self(input.to_owned()))
        } else {
            Err(Error::parse(
                "tag",
                input,
                "expected at most 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`",
            ))
        }
    }
}

/// What a root is called within one store. Closed: the specification knows no third way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// By tag, which can move.
    Tag(Tag),
    /// By digest, which cannot.
    Digest(Digest),
}

impl Name {
    /// The tag, if it is one.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if it is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Tag(_) => None,
            Self::Digest(digest) => Some(digest),
        }
    }
}

/// The `<reference>` of the distribution specification. A text with `:` is a digest.
impl FromStr for Name {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        if input.contains(':') {
            Ok(Self::Digest(input.parse()?))
        } else {
            Ok(Self::Tag(input.parse()?))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<Tag> for Name {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Name {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, parsed as Docker does (distribution/reference).
///
/// ```
/// use ocicore::Reference;
///
/// let reference: Reference = "localhost:5000/a/b/c:1".parse()?;
/// assert_eq!(reference.repository().host(), "localhost:5000");
/// assert_eq!(reference.name().to_string(), "1");
///
/// let short: Reference = "alpine".parse()?;
/// assert_eq!(short.to_string(), "docker.io/library/alpine:latest");
/// # Ok::<(), ocicore::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// A tag or digest in a repository.
    pub fn new(repository: Repository, name: impl Into<Name>) -> Self {
        match name.into() {
            Name::Tag(tag) => Self {
                repository,
                tag: Some(tag),
                digest: None,
            },
            Name::Digest(digest) => Self {
                repository,
                tag: None,
                digest: Some(digest),
            },
        }
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag; `latest` if the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if the text had one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask a store for: the digest if there is one, else the tag.
    pub fn name(&self) -> Name {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Name::Digest(*digest),
            (None, Some(tag)) => Name::Tag(tag.clone()),
            (None, None) => Name::Tag(Tag::latest()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        if input.contains("://") {
            // There may be a password in it.
            let shown = match input.rsplit_once('@') {
                Some((_, rest)) => format!("***@{rest}"),
                None => input.to_owned(),
            };
            return Err(Error::parse(
                "reference",
                &shown,
                "leave out the scheme, expected [HOST/]PATH[:TAG][@DIGEST]",
            ));
        }
        let (rest, digest) = match input.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (input, None),
        };
        // A colon after the last slash starts a tag; one before it, a port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest[path..].rfind(':') {
            Some(colon) => (
                &rest[..path + colon],
                Some(rest[path + colon + 1..].parse()?),
            ),
            None => (rest, None),
        };
        if repository.is_empty() {
            return Err(Error::parse(
                "reference",
                input,
                "expected [HOST/]PATH[:TAG][@DIGEST]",
            ));
        }
        let tag = tag.or_else(|| digest.is_none().then(Tag::latest));
        Ok(Self {
            repository: repository.parse()?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `Display` of the two types that are texts, and what follows from text for all five.
macro_rules! text {
    ($($noun:ident),*) => {$(
        impl fmt::Display for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
macro_rules! as_text {
    ($($noun:ident),*) => {$(
        impl fmt::Debug for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $noun {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $noun {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
text!(RepositoryPath, Tag);
as_text!(RepositoryPath, Repository, Tag, Name, Reference);

fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    // What lies between runs of letters and digits is one separator.
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest {
                "" => return true,
                _ => match rest.strip_prefix(':') {
                    Some(port) => ("", Some(port)),
                    None => return false,
                },
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let good_name = host.starts_with('[') || name.split('.').all(label);
    let good_port = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    good_name && good_port && host.len() <= 255
}

#[cfg(feature = "oci-spec")]
mod spec {
    use super::*;

    /// To the reference type of the `oci-spec` crate.
    ///
    /// # Errors
    /// If that crate's grammar refuses it, which knows no bracketed IPv6 hosts.
    impl TryFrom<&Reference> for oci_spec::distribution::Reference {
        type Error = Error;

        fn try_from(reference: &Reference) -> Result<Self> {
            let text = reference.to_string();
            text.parse().map_err(|_| {
                Error::parse("oci-spec reference", &text, "its grammar does not take it")
            })
        }
    }

    impl TryFrom<&oci_spec::distribution::Reference> for Reference {
        type Error = Error;

        fn try_from(reference: &oci_spec::distribution::Reference) -> Result<Self> {
            reference.whole().parse()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const D: &str = "sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa";

    #[test]
    fn references_are_read_as_docker_reads_them() {
        for (input, output) in [
            ("a", "docker.io/library/a:latest"),
            ("docker.io/a", "docker.io/library/a:latest"),
            ("index.docker.io/a:1", "docker.io/library/a:1"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"),
            ("quay.io/foo/bar:1", "quay.io/foo/bar:1"),
            ("[::1]:5000/b/a:1", "[::1]:5000/b/a:1"),
            ("Host/a", "Host/a:latest"),
            (
                "127.0.0.1:1/a__b/c--d.e:V_1.2-x",
                "127.0.0.1:1/a__b/c--d.e:V_1.2-x",
            ),
        ] {
            let parsed: Reference = input.parse().unwrap();
            assert_eq!(parsed.to_string(), output);
        }
        let both: Reference = format!("a:1@{D}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/a:1@{D}"));
        assert_eq!(both.name().to_string(), D);
    }

    #[test]
    fn a_reference_has_no_scheme() {
        let error = "https://r.io/a:1".parse::<Reference>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`https://r.io/a:1` is not a valid reference: \
             leave out the scheme, expected [HOST/]PATH[:TAG][@DIGEST]"
        );
        let error = "https://me:secret@r.io/a:1"
            .parse::<Reference>()
            .unwrap_err();
        assert!(
            error.to_string().starts_with("`***@r.io/a:1` is"),
            "{error}"
        );
    }

    #[test]
    fn bad_references_are_refused() {
        for input in [
            "",
            ":1",
            "@",
            "a@",
            "a@sha256:1",
            "a:",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "a___b",
            "a..b",
            "_a",
            "a_",
            "a:tag:",
            "a:.x",
            "a b",
            "host:port/a",
            "h:99999/a",
            "[::1/a",
            "[x]/a",
            "-h.io/a",
            "a\n",
            "http://h/a",
            "é/a",
        ] {
            assert!(input.parse::<Reference>().is_err(), "{input}");
        }
        assert!(
            format!("a/{}", "b".repeat(300))
                .parse::<Reference>()
                .is_err()
        );
        assert!(
            format!("a:{}", "b".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_displays_back(text in "\\PC{0,60}|[a-z.:/@_-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
