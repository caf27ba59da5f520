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
    /// Reads the credentials in a `config.json` of the docker CLI, or in an `auth.json` of Podman;
    /// `place` is what errors call it. Of credential helpers, which are programs, it knows nothing.
    ///
    /// # Errors
    /// [`Error::Settings`](crate::Error::Settings).
    #[cfg(feature = "docker")]
    pub fn from_config(text: &str, place: &str) -> crate::Result<Self> {
        config::read(text).map_err(|fault| crate::Error::Settings {
            place: place.to_owned(),
            fault,
        })
    }

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

#[cfg(feature = "docker")]
mod config {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::Deserialize;

    use super::{BTreeMap, Credentials, Keychain};

    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Auth>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Auth {
        auth: String,
        username: String,
        password: String,
        identitytoken: String,
    }

    pub(super) fn read(text: &str) -> Result<Keychain, String> {
        // Without serde's own error, which quotes the text.
        let config: Config = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("is no settings of the docker CLI, see line {line}, column {column}")
        })?;
        let mut keychain = Keychain::default();
        for (key, auth) in config.auths {
            let found = credentials(auth).ok_or_else(|| {
                format!("credentials of `{key}` are no `USER:PASSWORD` in base64")
            })?;
            if let Some(found) = found {
                keychain = keychain.insert(host(&key), found);
            }
        }
        Ok(keychain)
    }

    /// None if there are none, as when a helper keeps them; an error if they cannot be read.
    fn credentials(auth: Auth) -> Option<Option<Credentials>> {
        if !auth.identitytoken.is_empty() {
            return Some(Some(Credentials::IdentityToken(auth.identitytoken)));
        }
        if !auth.auth.is_empty() {
            let decoded = String::from_utf8(STANDARD.decode(auth.auth.trim()).ok()?).ok()?;
            let (user, password) = decoded.split_once(':')?;
            return Some(Some(Credentials::Password {
                user: user.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        Some(
            (!auth.username.is_empty()).then_some(Credentials::Password {
                user: auth.username,
                password: auth.password,
            }),
        )
    }

    /// Keys are hosts, or addresses of version 1 of the API.
    fn host(key: &str) -> &str {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        match rest.split('/').next().unwrap_or(rest) {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn credentials_are_read_from_the_settings() {
            let text = r#"{
                "auths": {
                    "https://index.docker.io/v1/": {"auth": "bWU6aHVudGVyMjp4"},
                    "a:5000": {"username": "u", "password": "p"},
                    "b": {"auth": "eDp5", "identitytoken": "t"},
                    "kept.elsewhere": {}
                },
                "credsStore": "pass"
            }"#;
            let keychain = read(text).unwrap();
            let password = |user: &str, password: &str| Credentials::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            };
            assert_eq!(
                keychain.find("docker.io"),
                Some(&password("me", "hunter2:x"))
            );
            assert_eq!(keychain.find("a:5000"), Some(&password("u", "p")));
            let token = Credentials::IdentityToken("t".to_owned());
            assert_eq!(keychain.find("b"), Some(&token));
            assert_eq!(keychain.find("kept.elsewhere"), None);
            assert!(!format!("{keychain:?}").contains("hunter2"));
        }

        #[test]
        fn errors_do_not_quote_secrets() {
            for bad in [
                r#"{"auths": {"a": {"auth": "hunter2"}}}"#,
                r#"{"auths": {"a": {"auth": ["hunter2"]}}}"#,
                r#"{"auths": "hunter2"}"#,
                "hunter2",
            ] {
                let error = Keychain::from_config(bad, "config.json").unwrap_err();
                assert!(!error.to_string().contains("hunter2"), "{error}");
                assert!(error.to_string().starts_with("config.json: "), "{error}");
            }
        }
    }
}
