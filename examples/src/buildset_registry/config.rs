use std::{path::PathBuf, time::Duration};

use ocicore::Class;
use serde::Deserialize;

use crate::{Failure, Result};

/// The YAML file of zuul-registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    registry: Section,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    address: Option<String>,
    port: Option<u16>,
    public_url: Option<String>,
    tls_cert: Option<String>,
    tls_key: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    users: Vec<Account>,
    storage: Storage,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    name: String,
    pass: String,
    access: AccessName,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum AccessName {
    Read,
    Write,
}

#[derive(Debug, Deserialize)]
struct Storage {
    driver: String,
    root: Option<String>,
    expiration: Option<u64>,
}

/// What the file says, in our own words.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) secret: Option<registryd::Secret>,
    pub(super) users: Vec<registryd::User>,
    /// Once somebody is named who may read, nobody else may.
    pub(super) readers_are_named: bool,
    /// Somebody may push.
    pub(super) writers_are_named: bool,
    pub(super) root: Option<PathBuf>,
    pub(super) expiration: Option<Duration>,
}

impl Config {
    /// Reads the text of a file; `variable` gives what replaces `%(ZUUL_NAME)`.
    pub(super) fn parse(
        file: &str,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let wrong = |what: String| Failure::new(Class::Invalid, what).context(file.to_owned());
        let File { registry } = serde_saphyr::from_str(text)
            .map_err(|error| wrong(error.without_snippet().to_string()))?;
        let expand = |text: String| expand(&text, &variable).map_err(wrong);
        let optional = |text: Option<String>| text.map(expand).transpose();

        let driver = expand(registry.storage.driver)?;
        if driver != "filesystem" {
            return Err(wrong(format!(
                "storage driver is `{driver}`: expected `filesystem`"
            )));
        }
        let Some(root) = optional(registry.storage.root)? else {
            return Err(wrong(
                "storage has no `root`: expected a directory".to_owned(),
            ));
        };
        let tls = match (optional(registry.tls_cert)?, optional(registry.tls_key)?) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => {
                return Err(wrong(
                    "expected both `tls-cert` and `tls-key`, or none".to_owned(),
                ));
            }
        };
        let listen = match (optional(registry.address)?, registry.port) {
            (None, None) => None,
            (address, port) => {
                let address = address.unwrap_or_else(|| "127.0.0.1".to_owned());
                let port = port.unwrap_or(9000);
                Some(match address.contains(':') {
                    true => format!("[{address}]:{port}"),
                    false => format!("{address}:{port}"),
                })
            }
        };
        let may = |access| registry.users.iter().any(|user| user.access == access);
        let (readers_are_named, writers_are_named) =
            (may(AccessName::Read), may(AccessName::Write));
        let mut users = Vec::new();
        for account in registry.users {
            let access = match account.access {
                AccessName::Read => registryd::Access::Read,
                AccessName::Write => registryd::Access::Write,
            };
            let password = registryd::Password::plain(expand(account.pass)?);
            let user = registryd::User::new(expand(account.name)?, password)
                .map_err(|error| wrong(error.to_string()))?;
            users.push(user.grant(registryd::Grant::everything(access)));
        }
        Ok(Self {
            listen,
            public_url: optional(registry.public_url)?,
            tls,
            secret: optional(registry.secret)?
                .map(registryd::Secret::new)
                .transpose()
                .map_err(|error| wrong(error.to_string()))?,
            users,
            readers_are_named,
            writers_are_named,
            root: Some(root.into()),
            expiration: registry.storage.expiration.map(Duration::from_secs),
        })
    }
}

/// Replaces `%(ZUUL_NAME)`; other names are none of the file's business.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("%(ZUUL_") {
        let (before, from) = rest.split_at(start);
        let Some(end) = from.find(')') else {
            return Err(format!("`{from}` has no closing `)`"));
        };
        let name = &from[2..end];
        let Some(value) = variable(name) else {
            return Err(format!("the environment has no `{name}`"));
        };
        out.push_str(before);
        out.push_str(&value);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
registry:
  address: '::'
  port: 5000
  public-url: https://host:5000
  tls-cert: /tls/cert.pem
  tls-key: /tls/cert.key
  secret: '%(ZUUL_SECRET)'
  users:
    - name: zuul
      pass: 'a%(ZUUL_PASS)c'
      access: write
  storage:
    driver: filesystem
    root: /storage
    expiration: 3600
";

    fn parse(text: &str) -> Result<Config> {
        let variable = |name: &str| name.strip_prefix("ZUUL_").map(str::to_lowercase);
        Config::parse("registry.yaml", text, |name| {
            variable(name).filter(|name| name != "missing")
        })
    }

    #[test]
    fn the_file_of_zuul_is_read() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.listen.as_deref(), Some("[::]:5000"));
        assert_eq!(config.root, Some("/storage".into()));
        assert_eq!(config.expiration, Some(Duration::from_secs(3600)));
        assert_eq!(config.users.len(), 1);
        assert!(config.writers_are_named && !config.readers_are_named);
        let readers = parse(&GOOD.replace("access: write", "access: read")).unwrap();
        assert!(readers.readers_are_named && !readers.writers_are_named);
        for (from, to, listen) in [
            ("address: '::'", "address: 10.0.0.1", Some("10.0.0.1:5000")),
            ("address: '::'", "", Some("127.0.0.1:5000")),
            ("port: 5000", "", Some("[::]:9000")),
            ("address: '::'\n  port: 5000", "", None),
        ] {
            let config = parse(&GOOD.replace(from, to)).unwrap();
            assert_eq!(config.listen.as_deref(), listen, "{to}");
        }
        assert!(!format!("{config:?}").contains("apassc"));
        assert_eq!(
            expand("a%(ZUUL_X)b%(HOME)", |name| Some(name.to_owned())).unwrap(),
            "aZUUL_Xb%(HOME)"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let mut shown = String::new();
        for (from, to) in [
            ("driver: filesystem", "driver: swift"),
            ("root: /storage", "bucket: x"),
            ("tls-key: /tls/cert.key", ""),
            ("port: 5000", "port: high"),
            ("access: write", "access: all"),
            ("ZUUL_PASS", "ZUUL_MISSING"),
            ("name: zuul", "name: 'a:b'"),
            ("secret: '%(ZUUL_SECRET)'", "secret: ''"),
            ("address: '::'", "adress: '::'"),
        ] {
            let failure = parse(&GOOD.replace(from, to)).unwrap_err();
            let causes = failure.to_json();
            shown.push_str(&format!("{to}: {} {}\n", causes["error"], causes["causes"]));
        }
        insta::assert_snapshot!(shown);
    }
}
