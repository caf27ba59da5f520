use std::{path::PathBuf, str::FromStr, time::Duration};

use ocicore::Class;
use registryd::{Access, Grant, Password, Secret, User};
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::{Failure, Result};

/// Stands for the `%` of a variable while the text is parsed, for no plain YAML scalar begins with
/// that one. It is of the private use area, which no settings use.
const VARIABLE: &str = "\u{e000}(ZUUL_";

/// The YAML file of zuul-registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    registry: Section,
}

/// Any scalar may be, or hold, a variable; so all are text at first.
type Scalar = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    address: Option<Scalar>,
    port: Option<Scalar>,
    public_url: Option<Scalar>,
    tls_cert: Option<Scalar>,
    tls_key: Option<Scalar>,
    secret: Option<Scalar>,
    #[serde(default)]
    users: Vec<Account>,
    storage: Storage,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    name: Scalar,
    pass: Scalar,
    access: Scalar,
}

#[derive(Debug, Deserialize)]
struct Storage {
    driver: Scalar,
    root: Option<Scalar>,
    expiration: Option<Scalar>,
}

/// What the file says, in our own words.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) listen: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    pub(super) secret: Option<Secret>,
    pub(super) users: Vec<User>,
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
        read(text, &variable)
            .map_err(|what| Failure::new(Class::Invalid, what).context(file.to_owned()))
    }
}

fn read(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, String> {
    let text = text.replace("%(ZUUL_", VARIABLE);
    let File { registry } =
        serde_saphyr::from_str(&text).map_err(|error| error.without_snippet().to_string())?;
    let expand =
        |scalar: &Scalar| expand(&scalar.value, variable).map_err(|fault| at(scalar, fault));
    let optional = |scalar: &Option<Scalar>| scalar.as_ref().map(expand).transpose();

    let driver = &registry.storage.driver;
    let name = expand(driver)?;
    if name != "filesystem" {
        let fault = format!("storage driver is `{name}`: expected `filesystem`");
        return Err(at(driver, fault));
    }
    let Some(root) = optional(&registry.storage.root)? else {
        return Err("storage has no `root`: expected a directory".to_owned());
    };
    let tls = match (optional(&registry.tls_cert)?, optional(&registry.tls_key)?) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        _ => return Err("expected both `tls-cert` and `tls-key`, or none".to_owned()),
    };
    let mut config = Config {
        listen: listen(
            optional(&registry.address)?,
            number(&registry.port, "port", "a port", expand)?,
        ),
        public_url: optional(&registry.public_url)?,
        tls,
        root: Some(root.into()),
        expiration: number(
            &registry.storage.expiration,
            "expiration",
            "seconds",
            expand,
        )?
        .map(Duration::from_secs),
        ..Config::default()
    };
    if let Some(scalar) = &registry.secret {
        let secret = Secret::new(expand(scalar)?).map_err(|error| at(scalar, error.to_string()))?;
        config.secret = Some(secret);
    }
    for account in &registry.users {
        let access = match expand(&account.access)?.as_str() {
            "read" => Access::Read,
            "write" => Access::Write,
            other => {
                let fault = format!("access is `{other}`: expected `read` or `write`");
                return Err(at(&account.access, fault));
            }
        };
        match access {
            Access::Read => config.readers_are_named = true,
            Access::Write => config.writers_are_named = true,
        }
        let password = Password::plain(expand(&account.pass)?);
        let user = User::new(expand(&account.name)?, password)
            .map_err(|error| at(&account.name, error.to_string()))?;
        config.users.push(user.grant(Grant::everything(access)));
    }
    Ok(config)
}

/// What is wrong, and where.
fn at(scalar: &Scalar, fault: String) -> String {
    let place = scalar.referenced;
    format!(
        "{fault} at line {}, column {}",
        place.line(),
        place.column()
    )
}

fn number<T: FromStr>(
    scalar: &Option<Scalar>,
    name: &str,
    expected: &str,
    expand: impl Fn(&Scalar) -> Result<String, String>,
) -> Result<Option<T>, String> {
    let Some(scalar) = scalar else {
        return Ok(None);
    };
    let text = expand(scalar)?;
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(at(
            scalar,
            format!("{name} is `{text}`: expected {expected}"),
        )),
    }
}

fn listen(address: Option<String>, port: Option<u16>) -> Option<String> {
    if address.is_none() && port.is_none() {
        return None;
    }
    let address = address.unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = port.unwrap_or(9000);
    Some(match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    })
}

/// Replaces variables; what others write in that way is none of the file's business.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(VARIABLE) {
        let Some((name, after)) = from.split_once(')') else {
            // What follows may be a secret.
            return Err("a variable `%(ZUUL_…` has no closing `)`".to_owned());
        };
        let name = format!("ZUUL_{name}");
        let Some(value) = variable(&name) else {
            return Err(format!("the environment has no `{name}`"));
        };
        out.push_str(before);
        out.push_str(&value);
        rest = after;
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
    }

    #[test]
    fn a_variable_stands_for_any_scalar() {
        let values = [
            ("ZUUL_PORT", "5001"),
            ("ZUUL_DRIVER", "filesystem"),
            ("ZUUL_ACCESS", "write"),
            ("ZUUL_ROOT", "/a: 'b' # c"),
            ("ZUUL_TIME", "60"),
            ("ZUUL_URL", "https://x"),
        ];
        let text = "
# %(ZUUL_NOT_SET)
registry:
  port: %(ZUUL_PORT)
  public-url: \"%(ZUUL_URL):%(ZUUL_PORT)/%(HOME)\"
  users: [{name: n, pass: 1234, access: %(ZUUL_ACCESS)}]
  storage:
    driver: %(ZUUL_DRIVER)
    root: %(ZUUL_ROOT)
    expiration: %(ZUUL_TIME)
";
        let config = Config::parse("registry.yaml", text, |name| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let config = config.unwrap();
        assert_eq!(config.listen.as_deref(), Some("127.0.0.1:5001"));
        assert_eq!(config.public_url.as_deref(), Some("https://x:5001/%(HOME)"));
        assert!(config.writers_are_named);
        assert_eq!(config.root, Some("/a: 'b' # c".into()));
        assert_eq!(config.expiration, Some(Duration::from_secs(60)));
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
            ("%(ZUUL_PASS)", "%(ZUUL_PASS"),
            ("port: 5000", "port: 65536"),
            ("port: 5000", "port: %(ZUUL_PORT)"),
            ("expiration: 3600", "expiration: 1h"),
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
