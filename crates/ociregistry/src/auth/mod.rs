//! Who one is: credentials, where they come from, and how a registry is told.

mod authenticator;
mod challenge;
mod files;
mod helper;
mod scope;
mod token;

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use ocicore::{Cx, RepositoryPath};

use crate::Result;

pub(crate) use authenticator::{Authenticator, Target};
pub use files::AuthFiles;
pub(crate) use files::normal as login_name;
pub(crate) use scope::Scopes;

/// A password, token or key. Prints as `***`, and is never empty when it is part of [`Credentials`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a registry knows one by. Prints its secret as `***`. Where a part is empty, they are
/// nobody's: nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(pub(crate) Kind);

/// Closed: what `docker login` can leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Basic {
        username: String,
        password: Secret,
    },
    Identity(Secret),
    Bearer(Secret),
    /// Nothing to log in with.
    Nobody,
}

impl Credentials {
    /// User name and password, or a personal access token as the password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        let (username, password) = (username.into(), Secret::new(password));
        let is_empty = username.is_empty() || password.is_empty();
        Self(match is_empty {
            true => Kind::Nobody,
            false => Kind::Basic { username, password },
        })
    }

    /// An identity (or refresh) token, which the registry's token service turns into tokens.
    pub fn identity_token(token: impl Into<String>) -> Self {
        Self::token(token, Kind::Identity)
    }

    /// A token that is sent to the registry as it is.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::token(token, Kind::Bearer)
    }

    fn token(token: impl Into<String>, kind: impl FnOnce(Secret) -> Kind) -> Self {
        let token = Secret::new(token);
        Self(match token.is_empty() {
            true => Kind::Nobody,
            false => kind(token),
        })
    }

    /// User name and password, for whoever logs in by other means than this client, such as a
    /// container engine.
    pub fn as_basic(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Kind::Basic { username, password } => Some((username, password.expose())),
            _ => None,
        }
    }

    /// The identity token, likewise.
    pub fn as_identity_token(&self) -> Option<&str> {
        match &self.0 {
            Kind::Identity(token) => Some(token.expose()),
            _ => None,
        }
    }

    /// These, unless they are nobody's.
    pub(crate) fn filled(self) -> Option<Self> {
        (self.0 != Kind::Nobody).then_some(self)
    }
}

/// Where credentials come from: [`AuthFiles`] for what `docker login` and `podman login` left
/// behind, or an implementation of one's own for a cloud's service.
///
/// Asked once for each repository, and again when a registry or its token service refuses what it
/// gave, or after some hundred other repositories.
#[async_trait]
pub trait Keychain: fmt::Debug + Send + Sync + 'static {
    /// The credentials for a repository of `host`, or for the registry as a whole. None: anonymous.
    ///
    /// # Errors
    /// If it cannot tell.
    async fn credentials(
        &self,
        cx: &Cx,
        host: &str,
        path: Option<&RepositoryPath>,
    ) -> Result<Option<Credentials>>;
}

/// Credentials by host, and a keychain for other hosts.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    pub(crate) by_host: BTreeMap<String, Credentials>,
    pub(crate) others: Option<std::sync::Arc<dyn Keychain>>,
}

impl Logins {
    pub(crate) async fn credentials(
        &self,
        cx: &Cx,
        host: &str,
        path: Option<&RepositoryPath>,
    ) -> Result<Option<Credentials>> {
        let found = match (self.by_host.get(&login_name(host)), &self.others) {
            (Some(credentials), _) => Some(credentials.clone()),
            (None, Some(keychain)) => keychain.credentials(cx, host, path).await?,
            (None, None) => None,
        };
        Ok(found.and_then(Credentials::filled))
    }
}

#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_challenge(text: &str) {
    let _ = challenge::best([text]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let all = [
            Credentials::basic("me", "hunter2"),
            Credentials::identity_token("hunter2"),
            Credentials::bearer("hunter2"),
        ];
        let shown = format!("{all:?}");
        assert!(shown.contains("me") && shown.contains("***") && !shown.contains("hunter2"));
    }

    #[tokio::test]
    async fn a_host_has_several_names() {
        let me = || Credentials::basic("me", "x");
        let logins = Logins {
            by_host: ["docker.io", "r.io"]
                .map(|host| (host.to_owned(), me()))
                .into(),
            others: None,
        };
        for host in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "r.io",
            "r.io:443",
            "R.IO:443",
        ] {
            let found = logins.credentials(&Cx::default(), host, None).await;
            assert!(found.unwrap().is_some(), "{host}");
        }
    }

    #[tokio::test]
    async fn what_is_empty_is_anonymous() {
        for empty in [
            Credentials::basic("", "x"),
            Credentials::basic("x", ""),
            Credentials::identity_token(""),
            Credentials::bearer(""),
        ] {
            assert_eq!((empty.as_basic(), empty.as_identity_token()), (None, None));
            let logins = Logins {
                by_host: [("r.io".to_owned(), empty)].into(),
                others: None,
            };
            let found = logins.credentials(&Cx::default(), "r.io", None).await;
            assert_eq!(found.unwrap(), None);
        }
    }
}
