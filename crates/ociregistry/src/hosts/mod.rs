//! How to reach registries: schemes, certificates, mirrors, and the files that say so.

mod clients;
mod containerd;
mod file;
mod options;
mod registries_conf;
mod rest;
mod route;
mod short_names;

pub(crate) use clients::{Clients, Proxies, Settings};
pub(crate) use options::Check;
pub use options::HostOptions;
pub(crate) use rest::{Rest, is_silent};
pub use route::Mirror;
pub(crate) use route::{Rule, Site};
pub use short_names::ShortNames;

use std::{collections::BTreeMap, path::Path};

use ocicore::Repository;
use url::Url;

use crate::{
    Error, Result,
    endpoint::{Endpoint, authority},
};

/// How to reach registries: options and mirrors by host, set one by one or read from the files of
/// other tools.
///
/// ```
/// use ociregistry::{HostOptions, Hosts, Mirror, Registry};
///
/// let hosts = Hosts::default()
///     .with_options("10.0.0.1:5000", HostOptions::default().with_plain_http())
///     .with_mirror("docker.io", Mirror::at("http://10.0.0.1:5000")?);
/// let registry = Registry::builder().hosts(hosts).build();
/// # drop(registry);
/// # Ok::<(), ociregistry::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// By [`api_host`].
    options: BTreeMap<String, HostOptions>,
    rules: Vec<Rule>,
}

impl Hosts {
    /// Reads a `registries.conf` (containers-registries.conf(5), version 2): `location`,
    /// `insecure`, `blocked`, and mirrors with `pull-from-mirror` and `mirror-by-digest-only`. Short
    /// names and aliases are not read here, for references are complete: see [`ShortNames`].
    /// `insecure` means plain HTTP; Podman first tries TLS without looking at certificates, for
    /// which there is [`HostOptions::with_untrusted_certificates`].
    ///
    /// # Errors
    /// [`Error::Hosts`] if the file cannot be read or understood.
    pub fn from_registries_conf(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        registries_conf::parse(&path.display().to_string(), &file::read(path)?)
    }

    /// Reads containerd's `HOST/hosts.toml` below a directory, mostly `/etc/containerd/certs.d`:
    /// `server`, and for each host `capabilities`, `ca`, `client`, `skip_verify` and
    /// `override_path`. Directories are called as their host, `HOST_PORT_` with a port, or
    /// `_default`.
    ///
    /// # Errors
    /// [`Error::Hosts`] if a file cannot be read or understood.
    pub fn from_containerd(directory: impl AsRef<Path>) -> Result<Self> {
        let mut hosts = Self::default();
        for directory in file::directories(directory.as_ref())? {
            let path = directory.join("hosts.toml");
            if path.exists() {
                let prefix = host_of(&directory);
                hosts = hosts.and(containerd::parse(&path, &prefix, &file::read(&path)?)?);
            }
        }
        Ok(hosts)
    }

    /// Reads the certificates of Docker's and Podman's `certs.d/HOST/`: `*.crt` are authorities,
    /// `*.cert` with `*.key` a certificate of one's own.
    ///
    /// # Errors
    /// [`Error::Hosts`] if a file cannot be read, or a certificate has no key.
    pub fn from_certs_d(directory: impl AsRef<Path>) -> Result<Self> {
        let mut hosts = Self::default();
        for directory in file::directories(directory.as_ref())? {
            let mut options = HostOptions::default();
            for path in file::files(&directory)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => options = options.with_ca_pem(file::read(&path)?),
                    Some("cert") => {
                        let key = path.with_extension("key");
                        let pem = file::read(&path)? + "\n" + &file::read(&key)?;
                        options = options.with_client_identity_pem(pem);
                    }
                    _ => {}
                }
            }
            hosts = hosts.with_options(&host_of(&directory), options);
        }
        Ok(hosts)
    }

    /// Reaches a host by these options.
    pub fn with_options(mut self, host: &str, options: HostOptions) -> Self {
        self.options.insert(api_host(host), options);
        self
    }

    /// Reads manifests and blobs of a host from a mirror; if that fails, from the next mirror, and
    /// from the host itself at last. What a tag names now
    /// ([`resolve`](ocicore::ImageSource::resolve)) and what refers to an image the host is asked
    /// first. Writing and lists of tags and repositories are for the host alone.
    pub fn with_mirror(mut self, host: impl Into<String>, mirror: Mirror) -> Self {
        self.rules.push(Rule::new(host.into()).with_mirror(mirror));
        self
    }

    /// Both; where they name the same host, its options are those of `other`, and mirrors of this
    /// come first.
    pub fn and(mut self, other: Self) -> Self {
        self.options.extend(other.options);
        self.rules.extend(other.rules);
        self
    }

    /// How to find out what the host of an API has.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Check {
        of_url(&self.options, endpoint.base()).map_or_else(Check::default, HostOptions::check)
    }

    pub(crate) fn options(&self) -> &BTreeMap<String, HostOptions> {
        &self.options
    }

    /// The API of a host.
    pub(crate) fn endpoint(&self, host: &str) -> Result<Endpoint> {
        let options = self.options.get(&api_host(host));
        let scheme = HostOptions::scheme_of(options, host);
        // Nothing but a host and a port: what else a URL has would lead elsewhere.
        let is_host = !host.contains(['@', '/', '?', '#', '\\']);
        let endpoint = Endpoint::new(scheme, host).filter(|_| is_host);
        endpoint.ok_or_else(|| {
            let expected = "expected HOST[:PORT], without a scheme and a path";
            ocicore::Error::parse("host of a registry", &shown(host), expected).into()
        })
    }

    /// Where a repository is, and before it where it may be read.
    pub(crate) fn sites(&self, name: &Repository) -> Result<(Vec<Site>, Site)> {
        let mut home = Site::home(self.endpoint(name.host())?, name);
        let mut mirrors = Vec::new();
        // Of the rules whose prefix fits, the most special ones count.
        let fit = |rule: &&Rule| rule.fit(name);
        let best = self.rules.iter().filter_map(|rule| fit(&rule)).max();
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.fit(name) == best && best.is_some())
        {
            if rule.blocked {
                let place = name.to_string();
                return Err(Error::Blocked { place });
            }
            if let Some(location) = &rule.location {
                home = location.site(name, &rule.prefix)?;
            }
            for mirror in &rule.mirrors {
                mirrors.push(mirror.site(name, &rule.prefix)?);
            }
        }
        Ok((mirrors, home))
    }
}

/// The host of the API of the registry that images name, without the port of TLS.
pub(crate) fn api_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443").unwrap_or(&host) {
        "docker.io" | "index.docker.io" => "registry-1.docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// The name under which one logs in to a host.
pub(crate) fn login_host(host: &str) -> String {
    match api_host(host) {
        hub if hub == "registry-1.docker.io" => "docker.io".to_owned(),
        host => host,
    }
}

/// What was said about the host of an address, by which name ever: addresses have no port where it
/// is their scheme's own.
pub(crate) fn of_url<'a>(
    options: &'a BTreeMap<String, HostOptions>,
    url: &Url,
) -> Option<&'a HostOptions> {
    let with_port = || {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        options.get(&format!("{host}:{port}"))
    };
    let found = options.get(&api_host(&authority(url)));
    found.or_else(with_port)
}

/// The address of a server by a file or a program, or what is wrong with it. Logins have places of
/// their own, for addresses are printed.
fn server(address: &str) -> Result<Url, &'static str> {
    let url = Url::parse(address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or("expected one that begins with `http://` or `https://`")?;
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err("expected one without a user: logins are given by host, or by a keychain"),
    }
}

/// An address or a host for errors, without the user and password in it.
fn shown(address: &str) -> String {
    let Some((before, rest)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    let schemes = ["http://", "https://"];
    let scheme = schemes.iter().find(|scheme| before.starts_with(**scheme));
    format!("{}***@{rest}", scheme.unwrap_or(&""))
}

/// The host that a directory of certificates is for; containerd writes a port as `_5000_`.
fn host_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    match name
        .strip_suffix('_')
        .and_then(|rest| rest.rsplit_once('_'))
    {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{host}:{port}")
        }
        _ if name == "_default" => "*".to_owned(),
        _ => name.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sites(hosts: &Hosts, name: &str) -> Vec<String> {
        let name = name.parse().unwrap();
        match hosts.sites(&name) {
            Ok((mirrors, home)) => mirrors
                .iter()
                .chain([&home])
                .map(|site| site.endpoint.tags(&site.path).to_string())
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn registries_conf_is_read_as_podman_reads_it() {
        let text = r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.example/hub"
            [[registry.mirror]]
            location = "10.0.0.1:5000"
            insecure = true
            [[registry]]
            prefix = "quay.io/old"
            location = "quay.io/new/place"
            [[registry]]
            prefix = "quay.io/old/secret"
            blocked = true
            [[registry]]
            prefix = "*.corp.example"
            location = "proxy.example"
        "#;
        let hosts = registries_conf::parse("FILE", text).unwrap();
        let check = |name: &str, expected: &[&str]| {
            assert_eq!(sites(&hosts, name), expected, "{name}");
        };
        let list = "/tags/list?n=1000";
        check(
            "alpine",
            &[
                &format!("https://mirror.example/v2/hub/library/alpine{list}"),
                &format!("http://10.0.0.1:5000/v2/library/alpine{list}"),
                &format!("https://registry-1.docker.io/v2/library/alpine{list}"),
            ],
        );
        check(
            "quay.io/old/a",
            &[&format!("https://quay.io/v2/new/place/a{list}")],
        );
        check(
            "quay.io/older/a",
            &[&format!("https://quay.io/v2/older/a{list}")],
        );
        check(
            "quay.io/old/secret/a",
            &["`quay.io/old/secret/a` is blocked by the configuration of registries"],
        );
        check(
            "a.corp.example/x",
            &[&format!("https://proxy.example/v2/x{list}")],
        );
    }

    #[test]
    fn containerd_s_hosts_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let write = |host: &str, text: &str| {
            let at = directory.path().join(host);
            fs::create_dir(&at).unwrap();
            fs::write(at.join("hosts.toml"), text).unwrap();
        };
        write(
            "docker.io",
            r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
              capabilities = ["pull", "resolve"]
            [host."http://a.example/prefix/v2"]
              override_path = true
              skip_verify = true
            [host."https://push.example"]
              capabilities = ["push"]
        "#,
        );
        write("r.io_5000_", r#"server = "http://10.0.0.1""#);
        write("_default", r#"[host."https://all.example"]"#);
        let hosts = Hosts::from_containerd(directory.path()).unwrap();
        let list = "tags/list?n=1000";
        assert_eq!(
            sites(&hosts, "alpine"),
            [
                format!("https://z.example/v2/library/alpine/{list}&ns=docker.io"),
                format!("http://a.example/prefix/v2/library/alpine/{list}&ns=docker.io"),
                format!("https://registry-1.docker.io/v2/library/alpine/{list}"),
            ]
        );
        assert_eq!(
            sites(&hosts, "r.io:5000/x"),
            [format!("http://10.0.0.1/v2/x/{list}")]
        );
        assert_eq!(
            sites(&hosts, "other.io/x"),
            [
                format!("https://all.example/v2/x/{list}&ns=other.io"),
                format!("https://other.io/v2/x/{list}"),
            ]
        );
    }

    #[test]
    fn a_host_has_several_names() {
        let option = || HostOptions::default().with_head_before_upload();
        for (said, asked) in [
            ("r.io", "r.io:443"),
            ("r.io:443", "r.io"),
            ("R.io", "r.io"),
            ("r.io:443", "r.io:443"),
            ("docker.io", "index.docker.io"),
            ("registry-1.docker.io:443", "docker.io"),
            ("[::1]:443", "[::1]:443"),
        ] {
            let hosts = Hosts::default().with_options(said, option().with_tls());
            let endpoint = hosts.endpoint(asked).unwrap();
            assert_eq!(endpoint.base().scheme(), "https");
            assert_eq!(hosts.check(&endpoint), Check::Head, "{said} {asked}");
        }
        let hosts = Hosts::default().with_options("r.io:80", option().with_plain_http());
        let endpoint = hosts.endpoint("r.io:80").unwrap();
        assert_eq!(endpoint.base().as_str(), "http://r.io/v2/");
        assert_eq!(hosts.check(&endpoint), Check::Head);
        let other = hosts.endpoint("r.io:5000").unwrap();
        assert_eq!(hosts.check(&other), Check::Mount);
    }

    #[test]
    fn certificates_are_found_by_host() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("r.io:5000");
        fs::create_dir(&at).unwrap();
        for name in ["ca.crt", "me.cert", "me.key", "README"] {
            fs::write(at.join(name), name).unwrap();
        }
        let hosts = Hosts::from_certs_d(directory.path()).unwrap();
        insta::assert_snapshot!(format!("{:?}", hosts.options()), @r#"{"r.io:5000": HostOptions { scheme: Some(Https), ca: 1, identity: Some(***), trust: Checked, check: Mount }}"#);
        fs::remove_file(at.join("me.key")).unwrap();
        assert!(Hosts::from_certs_d(directory.path()).is_err());
        let missing = Hosts::from_certs_d(directory.path().join("x")).unwrap();
        assert!(missing.options().is_empty());
    }

    #[test]
    fn faults_name_file_and_line() {
        let mut report = String::new();
        for text in [
            "x = [",
            "[[registry]]\nlocation = 5",
            "[[registry]]\nlocation = \"a b\"",
            "[[registry]]\ninsecure = true",
            "registry = 1",
            "[[registry]]\nprefix = \"r.io\"\n[[registry.mirror]]\nlocation = \"x\"\npull-from-mirror = \"no\"",
            "[[registry]]\nprefix = \"*.r.io\"\nblocked = \"yes\"",
            "[[registry]]\nlocation = \"me:hunter2@r.io\"",
            "[[registry]]\nprefix = \"me:hunter2@r.io/a\"\nlocation = \"r.io\"",
            "[[registry]]\nlocation = \"r.io\"\n[[registry.mirror]]\nlocation = \"me:hunter2@m/a\"\ninsecure = true",
        ] {
            report += &format!(
                "{}\n",
                registries_conf::parse("registries.conf", text).unwrap_err()
            );
        }
        for text in [
            "server = 1",
            "server = \"ftp://x\"",
            "[host.\"x y\"]",
            "[host.\"https://x\"]\ncapabilities = [\"fly\"]",
            "[host.\"https://x\"]\nca = \"/no/such/file\"",
            "host = 1",
            "server = \"https://me:hunter2@x\"",
            "server = \"ftp://me:hunter2@x\"",
            "[host.\"http://hunter2@x:5000\"]",
            "[host]\n\"http://hunter2@x:5000\" = 1",
        ] {
            let path = Path::new("hosts.toml");
            report += &format!("{}\n", containerd::parse(path, "r.io", text).unwrap_err());
        }
        for address in [
            "https://me:hunter2@x",
            "me:hunter2@x",
            "http://hunter2@x/a@b",
        ] {
            report += &format!("{}\n", Mirror::at(address).unwrap_err());
        }
        let endpoint = Hosts::default().endpoint("me:hunter2@r.io");
        report += &format!("{}\n", endpoint.unwrap_err());
        assert!(!report.contains("hunter2"), "{report}");
        insta::assert_snapshot!(report);
    }
}
