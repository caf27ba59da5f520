use ocicore::{Digest, Name, RepositoryPath};

use crate::{Error, Noun, Result, storage::UploadId};

/// What a path names (distribution-spec §Endpoints).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryPath),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryPath, Name),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryPath, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryPath),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryPath, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryPath, Digest),
}

impl Endpoint {
    /// Reads a path from the right, as a name may have any number of components. Nothing of the
    /// path goes further than through the parsers of the nouns.
    pub(crate) fn parse(method: &str, path: &str) -> Result<Self> {
        let none = || Error::NoEndpoint {
            method: method.to_owned(),
            path: path.chars().take(512).collect(),
        };
        // Decoded after the path is split, so that an encoded slash makes no component.
        let decoded: Option<Vec<String>> = path.split('/').skip(1).map(decode).collect();
        let decoded = decoded.ok_or_else(none)?;
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let ["v2", rest @ ..] = parts.as_slice() else {
            return Err(none());
        };
        match rest {
            [] | [""] => Ok(Self::Base),
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => {
                let name = repository(name)?;
                let id = id.parse().map_err(|fault| malformed(Noun::Upload, fault))?;
                Ok(Self::Upload(name, id))
            }
            [name @ .., "blobs", digest] => {
                Ok(Self::Blob(repository(name)?, parse_digest(digest)?))
            }
            [name @ .., "manifests", reference] => {
                let noun = if reference.contains(':') {
                    Noun::Digest
                } else {
                    Noun::Tag
                };
                let name = repository(name)?;
                let reference = reference.parse().map_err(|fault| malformed(noun, fault))?;
                Ok(Self::Manifest(name, reference))
            }
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers(repository(name)?, parse_digest(digest)?))
            }
            _ => Err(none()),
        }
    }

    /// Whether `GET` of it goes to the repository that a name and the parameter `ns` lead to.
    pub(crate) fn is_read_by_name(&self) -> bool {
        match self {
            Self::Tags(_) | Self::Manifest(..) | Self::Blob(..) | Self::Referrers(..) => true,
            Self::Base | Self::Catalog | Self::Uploads(_) | Self::Upload(..) => false,
        }
    }

    /// Methods that it knows, besides `OPTIONS`.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }
}

pub(crate) fn parse_digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|fault| malformed(Noun::Digest, fault))
}

pub(crate) fn malformed(noun: Noun, fault: ocicore::Error) -> Error {
    Error::Malformed {
        noun,
        fault: fault.into(),
    }
}

fn repository(components: &[&str]) -> Result<RepositoryPath> {
    components
        .join("/")
        .parse()
        .and_then(|name| {
            // A component that holds an encoded slash is none.
            if components.iter().any(|component| component.contains('/')) {
                let text = components.join("%2F");
                return Err(ocicore::Error::parse(
                    "repository name",
                    &text,
                    "expected no encoded slash",
                ));
            }
            Ok(name)
        })
        .map_err(|fault| malformed(Noun::Repository, fault))
}

/// Percent-decodes one part of a path; none if it is not UTF-8 then.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    loop {
        match rest {
            [] => return String::from_utf8(bytes).ok(),
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| {
                    char::from(byte)
                        .to_digit(16)
                        .and_then(|d| u8::try_from(d).ok())
                };
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read_from_the_right() {
        let digest = Digest::of(b"x");
        let name = |text: &str| text.parse::<RepositoryPath>().unwrap();
        let id = "0123456789abcdef0123456789abcdef";
        for (path, endpoint) in [
            ("/v2/".to_owned(), Endpoint::Base),
            ("/v2".to_owned(), Endpoint::Base),
            ("/v2/_catalog".to_owned(), Endpoint::Catalog),
            ("/v2/a/tags/list".to_owned(), Endpoint::Tags(name("a"))),
            (
                "/v2/tags/list/tags/list".to_owned(),
                Endpoint::Tags(name("tags/list")),
            ),
            (
                "/v2/a/manifests/b/manifests/c".to_owned(),
                Endpoint::Manifest(name("a/manifests/b"), "c".parse().unwrap()),
            ),
            (
                format!("/v2/a/b/c/blobs/{digest}"),
                Endpoint::Blob(name("a/b/c"), digest),
            ),
            (
                format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")),
                Endpoint::Blob(name("a"), digest),
            ),
            (
                "/v2/a/blobs/uploads/".to_owned(),
                Endpoint::Uploads(name("a")),
            ),
            (
                "/v2/a/blobs/uploads".to_owned(),
                Endpoint::Uploads(name("a")),
            ),
            (
                format!("/v2/a/blobs/uploads/{id}"),
                Endpoint::Upload(name("a"), id.parse().unwrap()),
            ),
            (
                format!("/v2/a/referrers/{digest}"),
                Endpoint::Referrers(name("a"), digest),
            ),
        ] {
            assert_eq!(Endpoint::parse("GET", &path).unwrap(), endpoint, "{path}");
        }
    }

    #[test]
    fn bad_paths_have_the_codes_of_the_specification() {
        let long = format!("/v2/{}/tags/list", "a".repeat(300));
        for (path, code) in [
            ("/", "UNSUPPORTED"),
            ("/v1/a", "UNSUPPORTED"),
            ("/v2/a", "UNSUPPORTED"),
            ("/v2/../etc/tags/list", "NAME_INVALID"),
            ("/v2/a/%2e%2e/tags/list", "NAME_INVALID"),
            ("/v2/a%2Fb/tags/list", "NAME_INVALID"),
            ("/v2/a%2F..%2Fb/manifests/x", "NAME_INVALID"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/tags/list", "NAME_INVALID"),
            (long.as_str(), "NAME_INVALID"),
            ("/v2/a/manifests/-x", "TAG_INVALID"),
            ("/v2/a/manifests/..", "TAG_INVALID"),
            ("/v2/a/manifests/sha256:12", "DIGEST_INVALID"),
            ("/v2/a/manifests/sha3:12", "DIGEST_INVALID"),
            ("/v2/a/blobs/sha256:xyz", "DIGEST_INVALID"),
            ("/v2/a/blobs/..%2f..%2fx", "DIGEST_INVALID"),
            ("/v2/a/blobs/uploads/..", "BLOB_UPLOAD_UNKNOWN"),
            ("/v2/a/referrers/x", "DIGEST_INVALID"),
        ] {
            assert_eq!(
                Endpoint::parse("GET", path).unwrap_err().code(),
                code,
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path: String) {
            let _ = Endpoint::parse("GET", &path);
            let _ = Endpoint::parse("GET", &format!("/v2/{path}/manifests/{path}"));
        }
    }
}
