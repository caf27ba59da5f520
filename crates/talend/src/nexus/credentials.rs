use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;
use url::Url;

/// User name and password. The password prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// A user name and a password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// `Authorization: Basic` (RFC 7617 §2).
    pub(super) fn basic(&self) -> HeaderValue {
        let text = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        let mut value = HeaderValue::try_from(format!("Basic {text}"))
            .expect("base64 has only characters that headers may have");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

/// Credentials by host. They are sent to that host alone, with the first request, and never after
/// a redirect to another origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    hosts: BTreeMap<String, Credentials>,
    others: Option<Credentials>,
}

impl Logins {
    /// With credentials for a host, `nexus.example.com`, or for one of its ports,
    /// `nexus.example.com:8081`.
    pub fn with(mut self, host: impl AsRef<str>, credentials: Credentials) -> Self {
        self.hosts
            .insert(host.as_ref().to_ascii_lowercase(), credentials);
        self
    }

    /// With credentials for all hosts that are asked directly and have none of their own.
    pub fn with_others(mut self, credentials: Credentials) -> Self {
        self.others = Some(credentials);
        self
    }

    /// Adds those of `other`; what is known already stays.
    pub fn and(mut self, other: Self) -> Self {
        for (host, credentials) in other.hosts {
            self.hosts.entry(host).or_insert(credentials);
        }
        self.others = self.others.or(other.others);
        self
    }

    /// The credentials for an address.
    pub(super) fn of(&self, url: &Url) -> Option<&Credentials> {
        let host = url.host_str()?.to_ascii_lowercase();
        let port = url.port_or_known_default();
        let with_port = port.and_then(|port| self.hosts.get(&format!("{host}:{port}")));
        with_port
            .or_else(|| self.hosts.get(&host))
            .or(self.others.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        let logins = Logins::default()
            .with("h.io", Credentials::new("me", "hunter2"))
            .with_others(Credentials::new("you", "hunter2"));
        let shown = format!("{logins:?}");
        assert!(shown.contains("me") && shown.contains("***") && !shown.contains("hunter2"));
        let header = Credentials::new("me", "hunter2").basic();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[test]
    fn a_port_is_more_than_a_host() {
        let logins = Logins::default()
            .with("H.io", Credentials::new("host", ""))
            .with("h.io:8081", Credentials::new("port", ""))
            .and(Logins::default().with("h.io", Credentials::new("late", "")));
        for (url, user) in [
            ("http://h.io:8081/a", Some("port")),
            ("https://h.io/a", Some("host")),
            ("https://other.io/a", None),
        ] {
            let found = logins.of(&url.parse().unwrap());
            assert_eq!(found.map(Credentials::user), user, "{url}");
        }
    }
}
