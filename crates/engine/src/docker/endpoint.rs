use std::{
    fmt, fs, io,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
};

use ocicore::Digest;
use serde::Deserialize;

use crate::{Error, Result};

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP as `HOST:PORT`, without any protection.
    Tcp(String),
    /// TCP as `HOST:PORT`, with TLS; needs the feature `tls`.
    Tls {
        /// `HOST:PORT`.
        address: String,
        /// Directory with `ca.pem`, and `cert.pem` and `key.pem` if the engine wants them.
        certificates: PathBuf,
    },
}

impl Endpoint {
    /// Finds the engine as the docker CLI does: by `DOCKER_HOST`, with `DOCKER_TLS_VERIFY` and
    /// `DOCKER_CERT_PATH`; by `DOCKER_CONTEXT`; by `currentContext` of `config.json` in
    /// `DOCKER_CONFIG` or `~/.docker`. Else it takes the first of these sockets that answers:
    /// `/var/run/docker.sock`, rootless Docker's and Podman's in `XDG_RUNTIME_DIR` (or
    /// `/run/user/UID`), `/run/podman/podman.sock`.
    ///
    /// # Errors
    /// [`Error::NoEngine`], [`Error::SocketDenied`], [`Error::Settings`].
    pub fn from_env() -> Result<Self> {
        Self::find(&|name| std::env::var(name).ok())
    }

    /// As [`Endpoint::from_env`], with another environment.
    ///
    /// # Errors
    /// As [`Endpoint::from_env`].
    pub fn find(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let config = var("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(var("HOME")?).join(".docker")));
        if let Some(host) = var("DOCKER_HOST") {
            let tls = var("DOCKER_TLS_VERIFY").map(|_| {
                var("DOCKER_CERT_PATH")
                    .map(PathBuf::from)
                    .or_else(|| config.clone())
                    .unwrap_or_default()
            });
            return Self::parse(&host, tls, "DOCKER_HOST");
        }
        if let Some(config) = &config {
            let named = match var("DOCKER_CONTEXT") {
                Some(name) => Some(name),
                None => current_context(config)?,
            };
            if let Some(name) = named.filter(|name| name != "default") {
                return context(config, &name);
            }
        }
        let runtime = var("XDG_RUNTIME_DIR").map(PathBuf::from).or_else(|| {
            let uid = fs::metadata("/proc/self").ok()?.uid();
            Some(PathBuf::from(format!("/run/user/{uid}")))
        });
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        if let Some(runtime) = runtime {
            sockets.push(runtime.join("docker.sock"));
            sockets.push(runtime.join("podman/podman.sock"));
        }
        sockets.push(PathBuf::from("/run/podman/podman.sock"));
        first_that_answers(sockets)
    }

    /// Parses what `DOCKER_HOST` may be: `unix:///PATH`, `tcp://HOST[:PORT]`, `http://…`,
    /// `https://…`. With `certificates`, TCP is protected by TLS.
    ///
    /// # Errors
    /// [`Error::Settings`], naming `place`.
    pub fn parse(host: &str, certificates: Option<PathBuf>, place: &str) -> Result<Self> {
        let wrong = |fault: &str| Error::Settings {
            place: place.to_owned(),
            fault: format!("`{host}` {fault}"),
        };
        let (scheme, rest) = host
            .split_once("://")
            .ok_or_else(|| wrong("has no scheme, expected `unix:///PATH` or `tcp://HOST:PORT`"))?;
        if scheme == "unix" {
            if !rest.starts_with('/') {
                return Err(wrong("is not absolute, expected `unix:///PATH`"));
            }
            return Ok(Self::Unix(rest.into()));
        }
        if scheme == "ssh" {
            return Err(wrong(
                "needs SSH, which is not supported; forward the socket by `ssh -L` and name that",
            ));
        }
        let secure = scheme == "https" || certificates.is_some();
        if !matches!(scheme, "tcp" | "http" | "https") {
            return Err(wrong("has an unknown scheme, expected `unix` or `tcp`"));
        }
        let default = if secure { 2376 } else { 2375 };
        let address = address(rest, default)
            .ok_or_else(|| wrong("is no address, expected `tcp://HOST:PORT`"))?;
        Ok(if secure {
            Self::Tls {
                address,
                certificates: certificates.unwrap_or_default(),
            }
        } else {
            Self::Tcp(address)
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls { address, .. } => write!(f, "https://{address}"),
        }
    }
}

/// `HOST:PORT` of an authority; a path is no address.
fn address(text: &str, default_port: u16) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let url = url::Url::parse(&format!("http://{text}")).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    if url.path() != "/" || !url.username().is_empty() || url.query().is_some() {
        return None;
    }
    // 80 is what `http` leaves out.
    let port = match url.port() {
        Some(port) => port,
        None if text.ends_with(":80") => 80,
        None => default_port,
    };
    Some(format!("{host}:{port}"))
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: Option<String>,
}

fn current_context(config: &Path) -> Result<Option<String>> {
    let file = config.join("config.json");
    match fs::read(&file) {
        Ok(text) => serde_json::from_slice::<Config>(&text)
            .map(|config| config.current_context.filter(|name| !name.is_empty()))
            .map_err(|error| settings(&file, format!("is no settings of the docker CLI: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(settings(&file, format!("cannot be read: {error}"))),
    }
}

#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints", default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

/// A context as the docker CLI stores it, cli/context/store.
fn context(config: &Path, name: &str) -> Result<Endpoint> {
    let id = Digest::of(name.as_bytes()).hex();
    let file = config.join("contexts/meta").join(&id).join("meta.json");
    let text = fs::read(&file).map_err(|error| {
        let place = format!("context `{name}` of the docker CLI");
        Error::Settings {
            place,
            fault: format!("{} cannot be read: {error}", file.display()),
        }
    })?;
    let meta: Context = serde_json::from_slice(&text)
        .map_err(|error| settings(&file, format!("is no context of the docker CLI: {error}")))?;
    let docker = meta
        .endpoints
        .docker
        .ok_or_else(|| settings(&file, "has no endpoint `docker`".to_owned()))?;
    let certificates = config.join("contexts/tls").join(&id).join("docker");
    let certificates = certificates.is_dir().then_some(certificates);
    Endpoint::parse(&docker.host, certificates, &file.display().to_string())
}

fn settings(file: &Path, fault: String) -> Error {
    Error::Settings {
        place: file.display().to_string(),
        fault,
    }
}

/// A socket may be there without an engine, and it may be another user's.
fn first_that_answers(sockets: Vec<PathBuf>) -> Result<Endpoint> {
    let mut denied = None;
    for socket in &sockets {
        match UnixStream::connect(socket) {
            Ok(_) => return Ok(Endpoint::Unix(socket.clone())),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                denied.get_or_insert(Error::SocketDenied {
                    endpoint: Endpoint::Unix(socket.clone()).to_string(),
                    source,
                });
            }
            Err(error) => tracing::debug!(socket = %socket.display(), %error, "no engine"),
        }
    }
    let names: Vec<String> = sockets
        .iter()
        .map(|socket| socket.display().to_string())
        .collect();
    Err(denied.unwrap_or(Error::NoEngine {
        tried: format!("DOCKER_HOST, contexts, {}", names.join(", ")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(vars: &[(&str, &str)]) -> Result<Endpoint> {
        Endpoint::find(&|name| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn hosts_are_parsed() {
        let check = |host: &str, expected: &str| {
            let found = find(&[("DOCKER_HOST", host)]);
            let text = found.map_or_else(|error| error.to_string(), |found| found.to_string());
            assert_eq!(text, expected, "{host}");
        };
        check("unix:///a b/c.sock", "unix:///a b/c.sock");
        check("tcp://h", "tcp://h:2375");
        check("tcp://h:80", "tcp://h:80");
        check("tcp://[::1]:1234/", "tcp://[::1]:1234");
        check("http://127.0.0.1:9", "tcp://127.0.0.1:9");
        check("https://h", "https://h:2376");
        check(
            "unix://a",
            "DOCKER_HOST: `unix://a` is not absolute, expected `unix:///PATH`",
        );
        check(
            "/var/run/docker.sock",
            "DOCKER_HOST: `/var/run/docker.sock` has no scheme, expected `unix:///PATH` or `tcp://HOST:PORT`",
        );
        check(
            "tcp://h/path",
            "DOCKER_HOST: `tcp://h/path` is no address, expected `tcp://HOST:PORT`",
        );
        check(
            "npipe:////./pipe/x",
            "DOCKER_HOST: `npipe:////./pipe/x` has an unknown scheme, expected `unix` or `tcp`",
        );
        check(
            "ssh://me@h",
            "DOCKER_HOST: `ssh://me@h` needs SSH, which is not supported; forward the socket by `ssh -L` and name that",
        );
    }

    #[test]
    fn tls_takes_certificates_from_its_variable_or_the_settings() {
        let host = ("DOCKER_HOST", "tcp://h:1");
        let verify = ("DOCKER_TLS_VERIFY", "1");
        let certificates = |vars: &[(&str, &str)]| match find(vars).unwrap() {
            Endpoint::Tls { certificates, .. } => certificates,
            other => panic!("{other:?}"),
        };
        let named = [host, verify, ("DOCKER_CERT_PATH", "/certs")];
        assert_eq!(certificates(&named), Path::new("/certs"));
        let home = [host, verify, ("HOME", "/home/x")];
        assert_eq!(certificates(&home), Path::new("/home/x/.docker"));
    }

    #[test]
    fn contexts_are_followed() {
        let home = tempfile::tempdir().unwrap();
        let home_text = home.path().to_str().unwrap();
        let docker = home.path().join(".docker");
        let meta = docker
            .join("contexts/meta")
            .join(Digest::of(b"remote").hex());
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Name":"remote","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://h:5","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        fs::write(docker.join("config.json"), r#"{"currentContext":"remote"}"#).unwrap();
        let remote = Endpoint::Tcp("h:5".to_owned());
        assert_eq!(find(&[("HOME", home_text)]).unwrap(), remote);
        // A host beats a context, and the variable beats the file.
        let host = [("HOME", home_text), ("DOCKER_HOST", "tcp://other:1")];
        assert_eq!(find(&host).unwrap().to_string(), "tcp://other:1");
        let missing = find(&[("HOME", home_text), ("DOCKER_CONTEXT", "nope")]).unwrap_err();
        assert!(matches!(missing, Error::Settings { place, .. } if place.contains("`nope`")));
        // Certificates make it TLS.
        let tls = docker
            .join("contexts/tls")
            .join(Digest::of(b"remote").hex())
            .join("docker");
        fs::create_dir_all(&tls).unwrap();
        assert!(matches!(
            find(&[("HOME", home_text)]).unwrap(),
            Endpoint::Tls { .. }
        ));
        fs::write(docker.join("config.json"), "{").unwrap();
        let broken = find(&[("HOME", home_text)]).unwrap_err();
        assert_eq!(broken.class(), ocicore::Class::Invalid);
    }

    #[test]
    fn the_first_socket_that_answers_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, alive) = (dir.path().join("dead.sock"), dir.path().join("alive.sock"));
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let _listener = std::os::unix::net::UnixListener::bind(&alive).unwrap();
        let found = first_that_answers(vec![dir.path().join("none"), dead.clone(), alive.clone()]);
        assert_eq!(found.unwrap(), Endpoint::Unix(alive));
        let none = first_that_answers(vec![dead]).unwrap_err();
        assert!(matches!(none, Error::NoEngine { .. }));
    }
}
