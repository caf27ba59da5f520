//! Conversions to and from the types of the `oci-client` crate, for programs that use both.
//!
//! ```
//! use ociregistry::{Credentials, interop};
//!
//! let reference: ocicore::Reference = "ghcr.io/a/b:1".parse()?;
//! let theirs = interop::to_reference(&reference)?;
//! assert_eq!(theirs.resolve_registry(), "ghcr.io");
//! assert_eq!(interop::from_reference(&theirs)?, reference);
//!
//! let auth = interop::to_auth(&Credentials::basic("me", "secret"));
//! assert_eq!(auth, Some(oci_client::secrets::RegistryAuth::Basic("me".into(), "secret".into())));
//! # Ok::<(), ocicore::Error>(())
//! ```

use oci_client::{manifest::OciDescriptor, secrets::RegistryAuth};
use ocicore::{Descriptor, Reference};

use crate::auth::{Credentials, Kind};

/// A reference for `oci-client`.
///
/// # Errors
/// If its grammar refuses it, which knows no bracketed IPv6 hosts.
pub fn to_reference(reference: &Reference) -> ocicore::Result<oci_client::Reference> {
    reference.try_into()
}

/// A reference of `oci-client`.
///
/// # Errors
/// If it is none by the rules of the distribution specification.
pub fn from_reference(reference: &oci_client::Reference) -> ocicore::Result<Reference> {
    reference.try_into()
}

/// A descriptor for `oci-client`, whose layers and configs know no platform.
///
/// # Errors
/// If its size is more than `i64` holds.
pub fn to_descriptor(descriptor: &Descriptor) -> ocicore::Result<OciDescriptor> {
    let text = descriptor.size().to_string();
    let size = text.parse().map_err(|_| {
        ocicore::Error::parse(
            "oci-client size",
            &text,
            "expected at most 9223372036854775807",
        )
    })?;
    let annotations = descriptor.annotations();
    Ok(OciDescriptor {
        media_type: descriptor.media_type().to_string(),
        digest: descriptor.digest().to_string(),
        size,
        urls: (!descriptor.urls().is_empty()).then(|| descriptor.urls().to_vec()),
        annotations: (!annotations.is_empty()).then(|| annotations.clone()),
        artifact_type: descriptor.artifact_type().map(ToString::to_string),
    })
}

/// A descriptor of `oci-client`.
///
/// # Errors
/// If a field is not what the image specification allows.
pub fn from_descriptor(descriptor: &OciDescriptor) -> ocicore::Result<Descriptor> {
    let text = descriptor.size.to_string();
    let size = text
        .parse()
        .map_err(|_| ocicore::Error::parse("size", &text, "expected a number of bytes"))?;
    let media_type = descriptor.media_type.parse()?;
    let mut ours = Descriptor::new(media_type, descriptor.digest.parse()?, size);
    if let Some(artifact_type) = &descriptor.artifact_type {
        ours = ours.with_artifact_type(artifact_type.parse()?);
    }
    for (key, value) in descriptor.annotations.iter().flatten() {
        ours = ours.with_annotation(key, value);
    }
    let urls = descriptor.urls.iter().flatten().cloned();
    Ok(ours.with_urls(urls))
}

/// Credentials for `oci-client`; none for identity tokens, which it does not know, and for nobody's.
pub fn to_auth(credentials: &Credentials) -> Option<RegistryAuth> {
    match &credentials.0 {
        Kind::Basic { username, password } => Some(RegistryAuth::Basic(
            username.clone(),
            password.expose().to_owned(),
        )),
        Kind::Bearer(token) => Some(RegistryAuth::Bearer(token.expose().to_owned())),
        Kind::Identity(_) | Kind::Nobody => None,
    }
}

/// Credentials of `oci-client`; none for anonymous, and for those with an empty part.
pub fn from_auth(auth: &RegistryAuth) -> Option<Credentials> {
    let credentials = match auth {
        RegistryAuth::Anonymous => return None,
        RegistryAuth::Basic(username, password) => Credentials::basic(username, password),
        RegistryAuth::Bearer(token) => Credentials::bearer(token),
    };
    credentials.filled()
}

#[cfg(test)]
mod tests {
    use ocicore::{Digest, MediaType};

    use super::*;

    #[test]
    fn descriptors_come_back() {
        let ours = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b"x"), 1)
            .with_artifact_type(MediaType::OCI_EMPTY)
            .with_annotation("a", "b")
            .with_urls(["https://x/y".to_owned()]);
        let theirs = to_descriptor(&ours).unwrap();
        assert_eq!(from_descriptor(&theirs).unwrap(), ours);
        let plain = Descriptor::of(MediaType::OCI_LAYER, b"x");
        let json = serde_json::to_value(to_descriptor(&plain).unwrap()).unwrap();
        assert_eq!(json, serde_json::to_value(&plain).unwrap());
        for bad in [
            OciDescriptor {
                size: -1,
                ..theirs.clone()
            },
            OciDescriptor {
                digest: "sha256:x".to_owned(),
                ..theirs.clone()
            },
            OciDescriptor {
                media_type: String::new(),
                ..theirs.clone()
            },
        ] {
            assert!(from_descriptor(&bad).is_err());
        }
        let huge = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b"x"), u64::MAX);
        assert!(to_descriptor(&huge).is_err());
    }

    #[test]
    fn references_come_back() {
        for text in ["a", "r.io:5000/a/b:1", "localhost/a:1"] {
            let ours: Reference = text.parse().unwrap();
            assert_eq!(from_reference(&to_reference(&ours).unwrap()).unwrap(), ours);
        }
        assert!(to_reference(&"[::1]:5000/a".parse().unwrap()).is_err());
    }

    #[test]
    fn credentials_come_back() {
        for ours in [Credentials::basic("a", "b"), Credentials::bearer("t")] {
            assert_eq!(from_auth(&to_auth(&ours).unwrap()), Some(ours));
        }
        assert_eq!(to_auth(&Credentials::identity_token("t")), None);
        assert_eq!(from_auth(&RegistryAuth::Anonymous), None);
        for empty in [Credentials::basic("a", ""), Credentials::bearer("")] {
            assert_eq!(to_auth(&empty), None);
        }
        let empty = RegistryAuth::Basic("a".to_owned(), String::new());
        assert_eq!(from_auth(&empty), None);
    }
}
