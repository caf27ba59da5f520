//! The port on Docker's API, as Docker and Podman offer it.
//!
//! bollard knows the API's types and makes most of the requests, over a transport of ours, which
//! keeps errors typed. What it cannot do goes over the same transport without it: answers that are
//! streams of JSON, for it overlooks errors that Podman tells; and BuildKit's sessions, for its own
//! serve no secrets.

mod build;
#[cfg(feature = "buildkit")]
mod buildkit;
mod container;
mod dockerfile;
mod endpoint;
mod engine;
mod events;
mod fault;
mod files;
mod http;
mod image;
mod leftover;
mod narration;
mod output;
mod podman_secrets;
mod running;
#[cfg(feature = "buildkit")]
mod ssh_agent;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "buildkit")]
mod trace;
mod undo;
mod volume;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bollard::BollardRequest;
use futures_util::future::{self, Either};
use hyper::Request;
use ocicore::{Cx, Platform};
use serde::Deserialize;

pub use endpoint::Endpoint;

use self::{
    fault::Deed,
    http::{Failure, Http},
};
use crate::{EngineKind, Error, Owner, Result, Version};

/// Oldest version of the API that is enough: that of Docker 20.10.
const OLDEST_API: (u32, u32) = (1, 41);
/// Newest version that this crate knows.
const NEWEST_API: (u32, u32) = (1, 53);
/// How long an engine may take to say its version.
const PATIENCE: Duration = Duration::from_secs(30);
/// bollard wants a limit for the time until an answer begins; the port's callers cancel instead.
const NO_LIMIT: u64 = 365 * 24 * 60 * 60;

/// An engine behind Docker's API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Docker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: Http,
    api: bollard::Docker,
    owner: Owner,
    version: Version,
}

impl Docker {
    /// Connects to an engine and agrees on a version of the API. What it makes will be `owner`'s.
    ///
    /// # Errors
    /// [`Error::NoSocket`], [`Error::SocketDenied`], [`Error::Unreachable`],
    /// [`Error::ApiTooOld`].
    pub async fn connect(cx: &Cx, endpoint: &Endpoint, owner: Owner) -> Result<Self> {
        let http = Http::new(endpoint.clone())?;
        let version = cancellable(cx, ask_version(&http)).await?;
        let http = http.with_api(&version.api);
        let transport = http.clone();
        let api = bollard::Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let transport = transport.clone();
                async move { transport.send(request).await.map_err(into_bollard) }
            },
            Some("http://engine"),
            NO_LIMIT,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| Deed::new("connect to", "engine", endpoint).bollard(error))?;
        tracing::debug!(%endpoint, ?version, "connected");
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                api,
                owner,
                version,
            }),
        })
    }

    /// Where the engine listens.
    pub fn endpoint(&self) -> &Endpoint {
        self.inner.http.endpoint()
    }

    fn http(&self) -> &Http {
        &self.inner.http
    }

    fn api(&self) -> &bollard::Docker {
        &self.inner.api
    }

    fn is_podman(&self) -> bool {
        self.inner.version.kind == EngineKind::Podman
    }

    #[cfg(not(feature = "buildkit"))]
    async fn session(&self, _: &crate::spec::BuildSpec) -> Result<NoSession> {
        Err(Error::Unsupported {
            engine: "this build".to_owned(),
            what: "use BuildKit; it needs the feature `buildkit` of the crate `engine`".to_owned(),
        })
    }

    fn unsupported(&self, what: impl Into<String>) -> Error {
        let Version { kind, version, .. } = &self.inner.version;
        Error::Unsupported {
            engine: format!("{kind} {version}"),
            what: what.into(),
        }
    }
}

/// There is none without the feature `buildkit`.
#[cfg(not(feature = "buildkit"))]
enum NoSession {}

#[cfg(not(feature = "buildkit"))]
impl NoSession {
    fn id(&self) -> &str {
        match *self {}
    }
}

/// Our errors travel through bollard as they are.
fn into_bollard(failure: Failure) -> bollard::errors::Error {
    bollard::errors::Error::IOError {
        err: std::io::Error::other(failure),
    }
}

/// Awaits work, or fails as soon as cancelled, dropping it.
async fn cancellable<T>(cx: &Cx, work: impl Future<Output = Result<T>>) -> Result<T> {
    cx.check()?;
    match future::select(pin!(cx.cancelled()), pin!(work)).await {
        Either::Left(((), _)) => Err(Error::Cancelled),
        Either::Right((result, _)) => result,
    }
}

/// A request without content.
fn get(path: &str) -> Result<Request<http_body_util::Empty<bytes::Bytes>>, hyper::http::Error> {
    Request::get(path).body(http_body_util::Empty::new())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawVersion {
    version: String,
    api_version: String,
    os: String,
    arch: String,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
}

async fn ask_version(http: &Http) -> Result<Version> {
    let deed = Deed::new("ask for the version of", "engine", http.endpoint());
    let work = async {
        let request = get("/version").map_err(|error| deed.garbled(error))?;
        let answer = http
            .ask(request)
            .await
            .map_err(|failure| deed.failed(failure))?;
        let body = http_body_util::Limited::new(answer.into_body(), 1 << 20);
        http_body_util::BodyExt::collect(body)
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| deed.failed(Failure::Broken(error)))
    };
    let body = match tokio::time::timeout(PATIENCE, work).await {
        Ok(body) => body?,
        Err(elapsed) => {
            return Err(Error::Unreachable {
                endpoint: http.endpoint().to_string(),
                source: elapsed.into(),
            });
        }
    };
    let raw: RawVersion = serde_json::from_slice(&body).map_err(|error| deed.garbled(error))?;
    agreed(raw, &http.endpoint().to_string())
}

/// Takes the newest version of the API that both know.
fn agreed(raw: RawVersion, endpoint: &str) -> Result<Version> {
    let newest = raw
        .api_version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    let Some(newest) = newest.filter(|newest| *newest >= OLDEST_API) else {
        return Err(Error::ApiTooOld {
            endpoint: endpoint.to_owned(),
            version: raw.api_version,
            needed: "1.41 (Docker 20.10, Podman 4)",
        });
    };
    let (major, minor) = newest.min(NEWEST_API);
    let podman = raw
        .components
        .iter()
        .any(|component| component.name == "Podman Engine");
    Ok(Version {
        kind: if podman {
            EngineKind::Podman
        } else {
            EngineKind::Docker
        },
        version: raw.version,
        api: format!("{major}.{minor}"),
        platform: Platform::new(raw.os, raw.arch),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_agreed_on() {
        let check = |api: &str, component: &str| {
            let text = format!(
                r#"{{"Version":"1","ApiVersion":"{api}","Os":"linux","Arch":"amd64","Components":[{{"Name":"{component}"}}]}}"#
            );
            agreed(serde_json::from_str(&text).unwrap(), "unix:///x")
                .map(|version| format!("{} {}", version.kind, version.api))
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("1.41", "Engine").as_deref(), Ok("Docker 1.41"));
        assert_eq!(check("1.41", "Podman Engine").as_deref(), Ok("Podman 1.41"));
        assert_eq!(check("1.99", "Engine").as_deref(), Ok("Docker 1.53"));
        assert_eq!(check("2.0", "Engine").as_deref(), Ok("Docker 1.53"));
        assert_eq!(
            check("1.24", "Engine").unwrap_err(),
            "engine at `unix:///x` speaks API 1.24, at least 1.41 (Docker 20.10, Podman 4) is needed"
        );
        assert!(check("new", "Engine").is_err());
    }
}
