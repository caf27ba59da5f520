use std::{
    env, fs, io,
    io::IsTerminal,
    path::{Path, PathBuf},
    str::FromStr,
};

use ocicore::Class;
use talend::nexus::{
    Checksums, Client, ClientOptions, Credentials, Error, Logins, Proxies, Repository, netrc,
};

use crate::{Failure, Result};

/// A repository by its kind: an address, `nexus2+ADDRESS#REPOSITORY`, `nexus3+ADDRESS[#REPOSITORY]`.
#[derive(Clone, Debug)]
pub struct RepositoryArgument(pub Repository);

impl FromStr for RepositoryArgument {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        let (address, name) = match input.split_once('#') {
            Some((address, name)) => (address, Some(name).filter(|name| !name.is_empty())),
            None => (input, None),
        };
        let repository = if let Some(server) = address.strip_prefix("nexus3+") {
            Repository::nexus3_search(server, name)
        } else if let Some(server) = address.strip_prefix("nexus2+") {
            Repository::nexus2(server, name.unwrap_or("releases"))
        } else {
            Repository::maven(input)
        };
        repository.map(Self)
    }
}

/// For whom the credentials are: the environment's variables have its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where jobs come from.
    Source,
    /// Where archives go.
    Target,
}

impl Side {
    fn variable(self, what: &str) -> String {
        let side = match self {
            Self::Source => "SOURCE",
            Self::Target => "TARGET",
        };
        format!("TALEND_PACKAGER_NEXUS_{side}_{what}")
    }
}

/// A client of repositories. Credentials are those of `user`, `USER` or `USER:PASSWORD`, else those
/// that the environment names, else those in the netrc file by host. A password that is missing is
/// asked for at the terminal.
///
/// # Errors
/// If there is no terminal to ask, or the netrc file cannot be read.
pub fn client(side: Side, user: Option<&str>, checksums: Checksums) -> Result<Client> {
    let given = user.map(str::to_owned).or_else(|| variable(side, "USERID"));
    let logins = match given {
        Some(given) => Logins::default().with_others(credentials(side, &given)?),
        None => netrc()?,
    };
    let mut options = ClientOptions::default()
        .with_logins(logins)
        .with_checksums(checksums)
        .with_proxies(Proxies::FromEnvironment);
    if let Some(path) = env::var_os("SSL_CERT_FILE") {
        options = options.with_authority(read(Path::new(&path))?);
    }
    Ok(Client::new(options))
}

fn credentials(side: Side, given: &str) -> Result<Credentials> {
    if let Some((user, password)) = given.split_once(':') {
        return Ok(Credentials::new(user, password));
    }
    if let Some(password) = variable(side, "PASSWORD") {
        return Ok(Credentials::new(given, password));
    }
    if !io::stdin().is_terminal() {
        let error = format!("there is no password for `{given}`, and no terminal to ask for it");
        let hint = format!(
            "set {} or add a line to ~/.netrc",
            side.variable("PASSWORD")
        );
        return Err(Failure::new(Class::Denied, error).with_hint(hint));
    }
    let password = rpassword::prompt_password(format!("password of {given}: "))?;
    Ok(Credentials::new(given, password))
}

/// The netrc file: the one that `NETRC` names, else the user's, if it is there.
fn netrc() -> Result<Logins> {
    let named = env::var_os("NETRC").map(PathBuf::from);
    let users = env::var_os("HOME").map(|home| PathBuf::from(home).join(".netrc"));
    let path = match (named, users) {
        (Some(path), _) => path,
        (None, Some(path)) if path.is_file() => path,
        (None, _) => return Ok(Logins::default()),
    };
    let text = read(&path)?;
    let text = String::from_utf8_lossy(&text);
    Ok(netrc::parse(&path.display().to_string(), &text)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| Failure::from(error).context(format!("cannot read `{}`", path.display())))
}

fn variable(side: Side, what: &str) -> Option<String> {
    let value = env::var(side.variable(what)).ok();
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_kinds() {
        for (input, shown) in [
            ("https://h.io/repository/a", "https://h.io/repository/a/"),
            ("nexus3+https://h.io#a", "https://h.io/ (search in a)"),
            ("nexus3+https://h.io", "https://h.io/ (search)"),
            (
                "nexus2+http://h.io:8081/nexus#a",
                "http://h.io:8081/nexus/service/local/repositories/a/content/",
            ),
        ] {
            let parsed: RepositoryArgument = input.parse().unwrap();
            assert_eq!(parsed.0.to_string(), shown);
        }
        for input in ["releases", "nexus3+", "ftp://h.io", "https://me:x@h.io/a"] {
            assert!(input.parse::<RepositoryArgument>().is_err(), "{input}");
        }
    }
}
