use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ocicore::{Cx, RepositoryPath};
use serde::Deserialize;

use super::{Credentials, Keychain, helper};
use crate::{Error, Result, hosts};

/// Most bytes of a file of credentials.
const FILE_LIMIT: u64 = 4 << 20;
/// What Docker calls its Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// What `docker login` and `podman login` left behind: Docker's `config.json` and Podman's
/// `auth.json` (containers-auth.json(5)), which have the same format, with credential helpers.
///
/// The first file that has something for a repository decides; a file that is missing has
/// nothing. In Podman's, a key may name a repository or a namespace; the longest one counts.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    paths: Vec<PathBuf>,
    helper_timeout: Duration,
    helper_directory: Option<PathBuf>,
}

impl AuthFiles {
    /// These files, in this order.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            paths: paths.into_iter().collect(),
            helper_timeout: Duration::from_secs(30),
            helper_directory: None,
        }
    }

    /// The files that Podman and Docker use: `$REGISTRY_AUTH_FILE` alone if it is set, else
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json` (by
    /// default below `$HOME/.config`) and `$DOCKER_CONFIG/config.json` (by default in
    /// `$HOME/.docker`).
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let directory = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(file) = directory("REGISTRY_AUTH_FILE") {
            return Self::new([file]);
        }
        let home = directory("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let containers = [
            directory("XDG_RUNTIME_DIR"),
            directory("XDG_CONFIG_HOME").or_else(|| below_home(".config")),
        ];
        let docker = directory("DOCKER_CONFIG").or_else(|| below_home(".docker"));
        Self::new(
            containers
                .into_iter()
                .flatten()
                .map(|directory| directory.join("containers/auth.json"))
                .chain(docker.map(|directory| directory.join("config.json"))),
        )
    }

    /// Waits so long for a credential helper; 30 s by default.
    pub fn with_helper_timeout(mut self, timeout: Duration) -> Self {
        self.helper_timeout = timeout;
        self
    }

    /// Looks for credential helpers in this directory; by default in the search path.
    pub fn with_helper_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.helper_directory = Some(directory.into());
        self
    }
}

#[async_trait]
impl Keychain for AuthFiles {
    async fn credentials(
        &self,
        cx: &Cx,
        host: &str,
        path: Option<&RepositoryPath>,
    ) -> Result<Option<Credentials>> {
        let usual = normal(host);
        let keys = keys(&usual, path);
        // Helpers know a host by the name that it had at login.
        let mut servers = match &*usual {
            "docker.io" => vec![HUB],
            usual => vec![host, usual],
        };
        servers.dedup();
        for file in &self.paths {
            let path = file.clone();
            // A file may be on a network, or be a pipe.
            let reading = async { Ok(cx.blocking(move |_| read(&path)).await) };
            let Some(parsed) = cx.or_cancelled(reading).await?? else {
                continue;
            };
            for program in parsed.helpers(&keys) {
                for server in &servers {
                    let work = helper::get(
                        program,
                        server,
                        self.helper_directory.as_deref(),
                        self.helper_timeout,
                    );
                    let found = cx.or_cancelled(async { Ok(work.await) }).await??;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
            }
            if let Some(credentials) =
                parsed.credentials(&keys).map_err(|fault| Error::AuthFile {
                    path: file.display().to_string(),
                    source: fault.into(),
                })?
            {
                return Ok(Some(credentials));
            }
        }
        Ok(None)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Document {
    /// Helpers to ask, in this order.
    fn helpers(&self, keys: &[String]) -> Vec<&str> {
        let own = self.cred_helpers.iter().flatten();
        let own = keys.iter().find_map(|key| {
            own.clone()
                .find(|(name, _)| normal(name) == *key)
                .map(|(_, program)| program.as_str())
        });
        own.into_iter()
            .chain(self.creds_store.as_deref())
            .filter(|program| !program.is_empty())
            .collect()
    }

    /// What the file itself holds.
    fn credentials(&self, keys: &[String]) -> Result<Option<Credentials>, String> {
        for key in keys {
            let entries = self.auths.iter().flatten();
            for (name, entry) in entries.filter(|(name, _)| normal(name) == *key) {
                let credentials = entry
                    .credentials()
                    .map_err(|fault| format!("the entry of `{name}` {fault}"))?;
                if let Some(credentials) = credentials.and_then(Credentials::filled) {
                    return Ok(Some(credentials));
                }
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::identity_token(token)));
        }
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credentials::bearer(token)));
        }
        if let Some(auth) = filled(&self.auth) {
            let config = GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let bytes = GeneralPurpose::new(&STANDARD, config)
                .decode(auth.trim())
                .map_err(|_| "has an `auth` that is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "has an `auth` that is not UTF-8")?;
            let (username, password) = text
                .split_once(':')
                .ok_or("has an `auth` without a colon, expected base64 of USER:PASSWORD")?;
            return Ok(Some(Credentials::basic(
                username,
                password.trim_end_matches('\0'),
            )));
        }
        Ok(filled(&self.username)
            .zip(filled(&self.password))
            .map(|(username, password)| Credentials::basic(username, password)))
    }
}

fn read(path: &Path) -> Result<Option<Document>> {
    let fault = |source| Error::AuthFile {
        path: path.display().to_string(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error.into())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(error.into()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(fault(
            format!("it is larger than {FILE_LIMIT} bytes").into(),
        ));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The parser's message names line and column, and no value but one of a wrong type.
    let document = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        fault(format!("line {line}, column {column}: not the JSON of a login file").into())
    })?;
    Ok(Some(document))
}

/// The keys under which an entry may be, the most special first.
fn keys(host: &str, path: Option<&RepositoryPath>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut at = path.map_or(host.to_owned(), |path| format!("{host}/{path}"));
    loop {
        keys.push(at.clone());
        match at.rfind('/') {
            Some(slash) => at.truncate(slash),
            None => return keys,
        }
    }
}

/// A key without scheme, version and final slash; all names of a host are one, as they are for
/// [`HostOptions`](crate::HostOptions).
pub(crate) fn normal(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    let key = ["/v1", "/v2"]
        .iter()
        .find_map(|version| key.strip_suffix(version))
        .unwrap_or(key);
    match key.split_once('/') {
        Some((host, path)) => format!("{}/{path}", hosts::login_host(host)),
        None => hosts::login_host(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_nearest_entry_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("1"), directory.path().join("2"));
        let auth = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let first_text = format!(
            r#"{{"auths":{{"quay.io":{{"auth":"{}"}},"quay.io/ns":{{"auth":"{}"}},
                "https://index.docker.io/v1/":{{"auth":"{}","identitytoken":"id"}},
                "empty.io":{{}},"blank.io":{{"auth":"{}"}}}}}}"#,
            auth("all:pa:ss"),
            auth("ns:x"),
            auth("00000000-0000-0000-0000-000000000000:"),
            auth("user:"),
        );
        fs::write(&first, first_text).unwrap();
        let second_text = format!(
            r#"{{"auths":{{"quay.io":{{"auth":"{}"}},"http://plain.io:5000/v2/":
                {{"username":"u","password":"p"}},"empty.io":{{"registrytoken":"t"}},
                "Tls.io:443":{{"username":"u","password":"443"}},
                "tls.io:443/ns":{{"username":"u","password":"ns"}},
                "https://V1.io:443/v1/":{{"username":"u","password":"v1"}}}}}}"#,
            auth("late:x")
        );
        fs::write(&second, second_text).unwrap();
        let files = AuthFiles::new([directory.path().join("missing"), first, second]);
        for (host, path, expected) in [
            ("quay.io", None, Some(Credentials::basic("all", "pa:ss"))),
            (
                "quay.io",
                Some("a"),
                Some(Credentials::basic("all", "pa:ss")),
            ),
            (
                "quay.io",
                Some("ns/a/b"),
                Some(Credentials::basic("ns", "x")),
            ),
            (
                "quay.io",
                Some("nsx"),
                Some(Credentials::basic("all", "pa:ss")),
            ),
            (
                "docker.io",
                Some("library/a"),
                Some(Credentials::identity_token("id")),
            ),
            (
                "plain.io:5000",
                Some("a"),
                Some(Credentials::basic("u", "p")),
            ),
            ("plain.io", Some("a"), None),
            ("empty.io", None, Some(Credentials::bearer("t"))),
            ("blank.io", None, None),
            (
                "Quay.io:443",
                Some("ns/a"),
                Some(Credentials::basic("ns", "x")),
            ),
            ("tls.io", Some("a"), Some(Credentials::basic("u", "443"))),
            ("tls.io:443", None, Some(Credentials::basic("u", "443"))),
            ("TLS.io", Some("ns"), Some(Credentials::basic("u", "ns"))),
            ("v1.io", None, Some(Credentials::basic("u", "v1"))),
            (
                "docker.io:443",
                None,
                Some(Credentials::identity_token("id")),
            ),
        ] {
            let path = path.map(|path| path.parse().unwrap());
            let found = files.credentials(&Cx::default(), host, path.as_ref()).await;
            assert_eq!(found.unwrap(), expected, "{host} {path:?}");
        }
    }

    #[test]
    fn podman_s_files_come_before_docker_s() {
        let check = |variables: &[(&str, &str)], expected: &[&str]| {
            let files = AuthFiles::from_variables(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            });
            let paths: Vec<_> = files.paths.iter().map(|path| path.to_str()).collect();
            let expected: Vec<_> = expected.iter().copied().map(Some).collect();
            assert_eq!(paths, expected, "{variables:?}");
        };
        let (home, run) = (("HOME", "/users/me"), ("XDG_RUNTIME_DIR", "/run/me"));
        let (config, docker) = (("XDG_CONFIG_HOME", "/config"), ("DOCKER_CONFIG", "/docker"));
        check(&[], &[]);
        check(
            &[home],
            &[
                "/users/me/.config/containers/auth.json",
                "/users/me/.docker/config.json",
            ],
        );
        let all = [
            "/run/me/containers/auth.json",
            "/config/containers/auth.json",
            "/docker/config.json",
        ];
        check(&[docker, config, run, home], &all);
        check(&[docker, config, run], &all);
        let file = |path| ("REGISTRY_AUTH_FILE", path);
        check(&[docker, config, run, home, file("/one")], &["/one"]);
        check(&[docker, config, run, file("")], &all);
        check(&[("HOME", ""), ("DOCKER_CONFIG", "")], &[]);
    }

    #[tokio::test]
    async fn faults_name_the_file_and_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = AuthFiles::new([file.path().to_owned()]);
        let mut shown = String::new();
        for text in [
            "{",
            r#"{"auths":["hunter2"]}"#,
            r#"{"auths":{"r.io":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"r.io":{"auth":"aHVudGVyMg=="}}}"#,
        ] {
            fs::write(file.path(), text).unwrap();
            let error = files
                .credentials(&Cx::default(), "r.io", None)
                .await
                .unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            let line = format!("{error}: {source}\n");
            shown += &line.replace(&file.path().display().to_string(), "FILE");
        }
        assert!(!shown.contains("hunter2"));
        insta::assert_snapshot!(shown);
    }

    /// Who has files on a network, or pipes, waits; the rest of the program does not.
    #[tokio::test]
    async fn files_are_read_beside_other_tasks() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let files = AuthFiles::new([pipe.clone()]);
        let (go, gone) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let is_free = gone.recv_timeout(Duration::from_secs(10)).is_ok();
            fs::write(&pipe, r#"{"auths":{"r.io":{"registrytoken":"t"}}}"#).unwrap();
            is_free
        });
        let cx = Cx::default();
        let (found, ()) = tokio::join!(files.credentials(&cx, "r.io", None), async {
            go.send(()).unwrap();
        });
        assert_eq!(found.unwrap(), Some(Credentials::bearer("t")));
        assert!(writer.join().unwrap(), "all stood still");
    }
}
