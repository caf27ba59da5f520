use std::{
    io::{self, Write},
    sync::Arc,
};

use engine::{
    ContainerEngine, Docker, Owner,
    docker::Endpoint,
    log::{Event, Log},
    spec,
};
use ocicore::Cx;
use ociregistry::{AuthFiles, Keychain};

use crate::{Common, Failure, Result};

/// The engine that `DOCKER_HOST`, the docker CLI's context or a usual socket names; what is made
/// there belongs to `owner`.
///
/// # Errors
/// If there is none, or it does not answer.
pub async fn connect(cx: &Cx, owner: &str) -> Result<Arc<dyn ContainerEngine>> {
    let endpoint = Endpoint::from_env()?;
    Ok(Arc::new(
        Docker::connect(cx, &endpoint, Owner::new(owner)?).await?,
    ))
}

/// What `docker login` and `podman login` left behind for these registries, credential helpers asked
/// too, as an engine wants it.
///
/// # Errors
/// If a file cannot be read or a helper fails.
pub async fn engine_keychain(
    cx: &Cx,
    hosts: impl IntoIterator<Item = &str>,
) -> Result<spec::Keychain> {
    collect(cx, &AuthFiles::from_env(), hosts).await
}

async fn collect(
    cx: &Cx,
    files: &AuthFiles,
    hosts: impl IntoIterator<Item = &str>,
) -> Result<spec::Keychain> {
    let mut keychain = spec::Keychain::default();
    for host in hosts {
        let Some(credentials) = files.credentials(cx, host, None).await? else {
            continue;
        };
        let credentials = match (credentials.as_basic(), credentials.as_identity_token()) {
            (Some((user, password)), _) => spec::Credentials::Password {
                user: user.to_owned(),
                password: password.to_owned(),
            },
            (None, Some(token)) => spec::Credentials::IdentityToken(token.to_owned()),
            // Engines take no tokens of registries.
            (None, None) => continue,
        };
        keychain = keychain.insert(host, credentials);
    }
    Ok(keychain)
}

/// What builds and containers print, on standard error; nothing with `--quiet` or `--json`.
pub fn log(common: Common) -> Log {
    if common.quiet || common.json {
        return Log::discard();
    }
    Log::to(|event| {
        let line = match event {
            Event::Step { instruction, .. } => format!("step: {instruction}\n"),
            Event::Cached { instruction } => format!("cached: {instruction}\n"),
            Event::Stdout(text) | Event::Stderr(text) => text,
            Event::Message(text) => text + "\n",
            _ => return,
        };
        // Where standard error is gone, there is nobody to tell.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    })
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<grocker::Error> for Failure {
    fn from(error: grocker::Error) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn an_engine_gets_what_the_clients_files_know() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        // `me:secret`
        let json = r#"{"auths":{"a.example":{"auth":"bWU6c2VjcmV0"}}}"#;
        fs::write(&config, json).unwrap();
        let files = AuthFiles::new([config]);
        let keychain = collect(&Cx::default(), &files, ["a.example", "b.example"])
            .await
            .unwrap();
        let password = spec::Credentials::Password {
            user: "me".into(),
            password: "secret".into(),
        };
        assert_eq!(keychain.find("a.example"), Some(&password));
        assert_eq!(keychain.find("b.example"), None);
    }
}
