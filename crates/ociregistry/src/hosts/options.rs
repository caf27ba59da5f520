use std::fmt;

use crate::{auth::Secret, endpoint, endpoint::Scheme};

/// How to reach one registry, see [`RegistryBuilder::host`](crate::RegistryBuilder::host) and [`Hosts`](crate::Hosts).
///
/// Without options, a registry is reached by TLS with the system's certificate authorities; one on
/// a loopback address by plain HTTP.
#[derive(Clone, Default)]
pub struct HostOptions {
    scheme: Option<Scheme>,
    pub(super) ca: Vec<Vec<u8>>,
    pub(super) identity: Option<Secret>,
    pub(super) trust: Trust,
    check: Check,
}

/// How to find out that a blob is there. Closed: there is no third way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Check {
    /// By the request that else begins the upload.
    #[default]
    Mount,
    /// By one more request.
    Head,
}

/// Closed: a certificate is checked or it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    #[default]
    Checked,
    Anything,
}

impl HostOptions {
    /// Speaks plain HTTP, so that everybody on the way reads and changes what is sent. The default
    /// for loopback addresses only.
    pub fn with_plain_http(mut self) -> Self {
        self.scheme = Some(Scheme::Http);
        self
    }

    /// Speaks TLS, also with a loopback address.
    pub fn with_tls(mut self) -> Self {
        self.scheme = Some(Scheme::Https);
        self
    }

    /// Trusts these certificate authorities (PEM, one or more) besides the system's. Implies TLS.
    pub fn with_ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca.push(pem.into());
        self.with_tls()
    }

    /// Shows a certificate of one's own: PEM with the certificate's chain and its private key.
    /// Implies TLS.
    pub fn with_client_identity_pem(mut self, pem: impl Into<String>) -> Self {
        self.identity = Some(Secret::new(pem));
        self.with_tls()
    }

    /// Takes any certificate, so that whoever is on the way can pretend to be the registry.
    /// Implies TLS.
    pub fn with_untrusted_certificates(mut self) -> Self {
        self.trust = Trust::Anything;
        self.with_tls()
    }

    /// Asks with `HEAD` for a blob before it begins to upload it, which costs one request more for
    /// each blob that is not there. For registries that do not look whether they have a blob when
    /// they are asked to mount it from the repository that it goes to, and so would be sent it again.
    pub fn with_head_before_upload(mut self) -> Self {
        self.check = Check::Head;
        self
    }

    pub(crate) fn check(&self) -> Check {
        self.check
    }

    /// How to speak with a host of which this was said, or nothing.
    pub(crate) fn scheme_of(options: Option<&Self>, host: &str) -> Scheme {
        let said = options.and_then(|options| options.scheme);
        said.unwrap_or(if endpoint::is_loopback(host) {
            Scheme::Http
        } else {
            Scheme::Https
        })
    }
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostOptions")
            .field("scheme", &self.scheme)
            .field("ca", &self.ca.len())
            .field("identity", &self.identity)
            .field("trust", &self.trust)
            .field("check", &self.check)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_or_by_option() {
        let (none, plain) = (
            HostOptions::default(),
            HostOptions::default().with_plain_http(),
        );
        for (options, host, scheme) in [
            (&none, "localhost:5000", Scheme::Http),
            (&none, "r.io", Scheme::Https),
            (&none, "10.0.0.1:5000", Scheme::Https),
            (&plain, "r.io", Scheme::Http),
            (&none.clone().with_ca_pem("x"), "localhost", Scheme::Https),
        ] {
            let found = HostOptions::scheme_of(Some(options), host);
            assert_eq!(found, scheme, "{host}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let options = HostOptions::default().with_client_identity_pem("PRIVATE");
        insta::assert_snapshot!(format!("{options:?}"), @"HostOptions { scheme: Some(Https), ca: 0, identity: Some(***), trust: Checked, check: Mount }");
    }
}
