use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

/// Content that nobody may see; printed as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// A secret.
    pub fn new(content: impl Into<Bytes>) -> Self {
        Self(content.into())
    }

    /// What it is.
    pub fn reveal(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a registry wants to be shown. Closed: the engines' API knows these two.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Name and password.
    Password {
        /// The account.
        user: String,
        /// Its password or an access token in place of it.
        password: String,
    },
    /// An OAuth2 refresh token, which `docker login` calls identity token.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Credentials({user}:***)"),
            Self::IdentityToken(_) => f.write_str("Credentials(***)"),
        }
    }
}

/// Credentials by registry host. An engine is told of those that it may need, for it reads none of
/// the files of the user that calls it.
///
/// The registry client's keychain fills it: for each host that an operation names, ask that, and
/// [`insert`](Self::insert) the answer. [`Keychain::from_config`] reads one `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keychain(BTreeMap<String, Credentials>);

impl Keychain {
    /// Adds the credentials of a registry, for example `docker.io` or `registry.example:5000`.
    pub fn insert(mut self, host: impl Into<String>, credentials: Credentials) -> Self {
        self.0.insert(host.into(), credentials);
        self
    }

    /// The credentials of a registry.
    pub fn find(&self, host: &str) -> Option<&Credentials> {
        self.0.get(host)
    }

    /// All of them, in the order of hosts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Credentials)> {
        self.0
            .iter()
            .map(|(host, credentials)| (host.as_str(), credentials))
    }
}
