//! The buildset registry: it holds the images of unmerged changes while the jobs of one buildset
//! run, and ceases to exist after them.
//!
//! How clients reach it travels as the return value `buildset_registry` of Zuul's role
//! `run-buildset-registry`, so that jobs of both kinds can be mixed.

use std::net::{IpAddr, Ipv6Addr};

use ocicore::Repository;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Error, Fault, Result, Secret};

/// Host name that stands for the registry where its address cannot be written as a host: clients
/// of Docker do not take `[IPv6]:port`.
pub const ALIAS: &str = "zuul-jobs.buildset-registry";

/// User of a buildset registry, as in Zuul's role.
pub const USERNAME: &str = "zuul";

/// Host whose images lie in a buildset registry without a namespace: the client's configuration
/// of its mirrors is older than all other registries.
pub(crate) const UNNAMESPACED: &str = "docker.io";

/// How to reach a buildset registry. Serialises with `***` for the password, for plans and logs;
/// [`BuildsetRegistry::return_value`] has it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct BuildsetRegistry {
    host: String,
    port: u16,
    username: String,
    password: Secret,
    cert: String,
}

/// What Zuul's role returns.
#[derive(Deserialize)]
struct ReturnValue {
    buildset_registry: BuildsetRegistry,
}

/// As they are read, unchecked.
#[derive(Deserialize)]
struct Fields {
    host: String,
    port: u16,
    username: String,
    password: Secret,
    cert: String,
}

impl TryFrom<Fields> for BuildsetRegistry {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self> {
        let Fields {
            host,
            port,
            username,
            password,
            cert,
        } = fields;
        let made = Self::new(&host, port, password, cert)?;
        Ok(Self { username, ..made })
    }
}

impl BuildsetRegistry {
    /// A registry at `host` (a name or an address, without brackets), whose certificate in PEM is
    /// `cert`; its user is [`USERNAME`].
    ///
    /// # Errors
    /// [`Error::Input`] if `host` is neither name nor address.
    pub fn new(host: &str, port: u16, password: Secret, cert: impl Into<String>) -> Result<Self> {
        Ok(Self {
            host: checked_host(host)?.to_owned(),
            port,
            username: USERNAME.to_owned(),
            password,
            cert: cert.into(),
        })
    }

    /// Reads a return value; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Files`] if it is no JSON, lacks a field, or has a host that is none.
    pub fn parse(path: &str, json: &str) -> Result<Self> {
        match serde_json::from_str::<ReturnValue>(json) {
            Ok(value) => Ok(value.buildset_registry),
            Err(error) => Err(Error::Files(vec![Fault::json(path, &error)])),
        }
    }

    /// The return value of Zuul's role in JSON, **with the password**: it belongs into a file of
    /// mode 0600, see [`write_private`](crate::write_private).
    pub fn return_value(&self) -> String {
        let value = json!({"buildset_registry": {
            "host": self.host, "port": self.port, "username": self.username,
            "password": self.password.expose(), "cert": self.cert,
        }});
        format!("{value:#}\n")
    }

    /// Name or address, as it was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user who may push.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The user's password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// The certificate in PEM, which is its own authority.
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// `HOST:PORT` for a client of ours, an IPv6 address in brackets.
    pub fn address(&self) -> String {
        match self.ipv6() {
            Some(address) => format!("[{address}]:{}", self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// `HOST:PORT` for the configuration of other clients: as [`address`](Self::address), but
    /// [`ALIAS`] instead of an IPv6 address.
    pub fn client_address(&self) -> String {
        match self.ipv6() {
            Some(_) => format!("{ALIAS}:{}", self.port),
            None => self.address(),
        }
    }

    /// The address that [`ALIAS`] must stand for on clients, if they need it.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.host.parse().ok()
    }

    /// Where an image lies in this registry: images of docker.io under their path, all others under
    /// host and path.
    ///
    /// ```
    /// # use gating::{Secret, buildset::BuildsetRegistry};
    /// let registry = BuildsetRegistry::new("10.0.0.7", 5000, Secret::new("x"), "PEM")?;
    /// let hub = registry.repository(&"base".parse()?)?;
    /// assert_eq!(hub.to_string(), "10.0.0.7:5000/library/base");
    /// let other = registry.repository(&"quay.io/team/app".parse()?)?;
    /// assert_eq!(other.to_string(), "10.0.0.7:5000/quay.io/team/app");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for a host with a port, which is no part of a repository's name.
    pub fn repository(&self, image: &Repository) -> Result<Repository> {
        let path = if image.host() == UNNAMESPACED {
            image.path().clone()
        } else {
            image.to_string().parse().map_err(|_| Error::Input {
                what: "image",
                value: image.to_string(),
                expected: "a registry with a port or an address in brackets has no place in a \
                           buildset registry; name the image by the registry that users know",
            })?
        };
        Ok(Repository::new(&self.address(), path)?)
    }
}

/// Names for which the certificate of a buildset registry is made, as in Zuul's role: [`ALIAS`],
/// the host, and this machine.
pub fn certificate_names(host: &str) -> Vec<String> {
    let mut names = vec![ALIAS.to_owned(), host.to_owned()];
    if host != "127.0.0.1" {
        names.push("127.0.0.1".to_owned());
    }
    names
}

fn checked_host(host: &str) -> Result<&str> {
    let good = match host.parse::<IpAddr>() {
        Ok(_) => true,
        Err(_) => {
            let label = |label: &str| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            host.len() <= 253 && host.split('.').all(label)
        }
    };
    if good {
        Ok(host)
    } else {
        Err(Error::Input {
            what: "host",
            value: host.chars().take(256).collect(),
            expected: "expected a host name or an IP address, without port and brackets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(host: &str) -> BuildsetRegistry {
        BuildsetRegistry::new(host, 5000, Secret::new("hunter2"), "PEM\n").unwrap()
    }

    #[test]
    fn the_return_value_is_that_of_zuul() {
        let json = registry("10.0.0.7").return_value();
        insta::assert_snapshot!(json, @r#"
        {
          "buildset_registry": {
            "cert": "PEM\n",
            "host": "10.0.0.7",
            "password": "hunter2",
            "port": 5000,
            "username": "zuul"
          }
        }
        "#);
        assert_eq!(
            BuildsetRegistry::parse("b.json", &json).unwrap(),
            registry("10.0.0.7")
        );
    }

    #[test]
    fn the_password_is_not_shown() {
        let registry = registry("h.example");
        assert!(!format!("{registry:?}").contains("hunter2"));
        let shown = serde_json::to_string(&registry).unwrap();
        assert!(
            !shown.contains("hunter2") && shown.contains("***"),
            "{shown}"
        );
    }

    #[test]
    fn addresses_are_written_as_hosts() {
        for (host, address, client) in [
            ("h.example", "h.example:5000", "h.example:5000"),
            ("10.0.0.7", "10.0.0.7:5000", "10.0.0.7:5000"),
            ("::1", "[::1]:5000", "zuul-jobs.buildset-registry:5000"),
        ] {
            let registry = registry(host);
            assert_eq!(registry.address(), address);
            assert_eq!(registry.client_address(), client);
            let image = registry.repository(&"x.io/a".parse().unwrap()).unwrap();
            assert_eq!(image.to_string(), format!("{address}/x.io/a"));
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "", "a b", "h:5000", "[::1]", "-a.b", "a..b", "a/b", "http://h",
        ] {
            let made = BuildsetRegistry::new(host, 1, Secret::new(""), "");
            assert!(matches!(made, Err(Error::Input { .. })), "{host}");
        }
    }

    #[test]
    fn a_registry_with_a_port_has_no_namespace() {
        let image = "localhost:5000/a".parse().unwrap();
        let error = registry("h").repository(&image).unwrap_err();
        insta::assert_snapshot!(error, @"image `localhost:5000/a` cannot be used: a registry with a port or an address in brackets has no place in a buildset registry; name the image by the registry that users know");
    }

    #[test]
    fn a_broken_return_value_is_told_with_its_place() {
        let messages: Vec<_> = [
            "{\n  \"buildset_registry\": {\"host\": \"h\"}\n}",
            "not json",
            r#"{"buildset_registry": {"host": "a b", "port": 1, "username": "u", "password": "p", "cert": ""}}"#,
            r#"{"buildset_registry": {"host": "h", "port": 70000, "username": "u", "password": "p", "cert": ""}}"#,
        ]
        .iter()
        .map(|json| BuildsetRegistry::parse("b.json", json).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn a_certificate_has_each_name_once() {
        assert_eq!(certificate_names("127.0.0.1"), [ALIAS, "127.0.0.1"]);
        assert_eq!(certificate_names("h"), [ALIAS, "h", "127.0.0.1"]);
    }
}
