//! Pulling through: what the server does not have comes from an upstream registry, and stays.
//!
//! A local image always wins, for upstreams are asked on a miss only. Tags of an upstream are kept
//! apart from local ones and asked for again after a while. A blob is fetched once, however many
//! wait for it, and is visible only when it is whole and verified.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use ocicore::{
    Class, Cx, Descriptor, Digest, ImageStore, Name, Repositories, Repository, RepositoryPath,
};

use crate::{
    Error, Result,
    links::Links,
    upload::{Chunk, Session},
};

/// How long an upstream's tag is taken to stay where it is.
const FRESH: Duration = Duration::from_secs(300);
/// How long what an upstream does not have is not asked for again.
const MISSING: Duration = Duration::from_secs(60);
/// Missing things that are remembered at most.
const MOST_MISSING: usize = 4096;
/// The registry whose images are not under its name (distribution/reference, `defaultDomain`).
const DEFAULT: &str = "docker.io";

/// Registries behind the server.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    upstreams: HashMap<String, Arc<dyn Repositories>>,
    flights: Mutex<HashMap<(RepositoryPath, Digest), Flight>>,
    missing: Mutex<HashMap<(RepositoryPath, Name), SystemTime>>,
}

/// Waited for by all who want the same blob.
type Flight = Shared<BoxFuture<'static, Result<u64, Arc<Error>>>>;

/// Where to look for what a request names.
#[derive(Debug)]
pub(crate) struct Route {
    /// In the server's own storage.
    pub(crate) local: RepositoryPath,
    upstream: Option<(Arc<dyn Repositories>, Repository)>,
}

impl Proxy {
    pub(crate) fn add(&mut self, host: &str, upstream: Arc<dyn Repositories>) -> Result<()> {
        if host.contains('/') || host.parse::<RepositoryPath>().is_err() {
            return Err(Error::Setting {
                what: "upstream",
                value: host.to_owned(),
                fault: "expected a host name that can begin a repository name".to_owned(),
            });
        }
        self.upstreams.insert(host.to_owned(), upstream);
        Ok(())
    }

    /// Reads `namespace`, the `ns` that containerd and BuildKit send to mirrors: the repository is
    /// then one of that registry. Images of `docker.io` are here under their own name, others
    /// under that of their registry.
    pub(crate) async fn route(
        &self,
        links: &Links,
        name: &RepositoryPath,
        namespace: Option<&str>,
    ) -> Result<Route> {
        let Some(host) = namespace.filter(|host| *host != DEFAULT) else {
            return Ok(Route {
                local: name.clone(),
                upstream: self.upstream(name)?,
            });
        };
        if let Ok(inside) = format!("{host}/{name}").parse()
            && (self.upstreams.contains_key(host) || links.exists(&inside).await?)
        {
            let upstream = self.upstream(&inside)?;
            return Ok(Route {
                local: inside,
                upstream,
            });
        }
        // Of a registry that is not known here; never to be had from another one.
        Ok(Route {
            local: name.clone(),
            upstream: None,
        })
    }

    fn upstream(
        &self,
        local: &RepositoryPath,
    ) -> Result<Option<(Arc<dyn Repositories>, Repository)>> {
        let (host, path) = match local.as_str().split_once('/') {
            Some((host, path)) if host != DEFAULT && self.upstreams.contains_key(host) => {
                (host, path.to_owned())
            }
            Some(_) => (DEFAULT, local.to_string()),
            None => (DEFAULT, format!("library/{local}")),
        };
        let Some(upstream) = self.upstreams.get(host) else {
            return Ok(None);
        };
        let repository = Repository::new(host, path.parse()?)?;
        Ok(Some((Arc::clone(upstream), repository)))
    }

    /// Descriptor of a manifest that is not here; after this, its bytes are.
    pub(crate) async fn manifest(
        &self,
        cx: &Cx,
        links: &Links,
        route: &Route,
        name: &Name,
    ) -> Result<Option<Descriptor>> {
        let Some((upstream, repository)) = &route.upstream else {
            return Ok(None);
        };
        let kept = match name {
            Name::Tag(tag) => links.upstream_tag(&route.local, tag).await?,
            Name::Digest(_) => None,
        };
        let kept = match kept {
            // Garbage collection may have taken the manifest.
            Some((descriptor, asked)) => {
                let by_digest = Name::Digest(*descriptor.digest());
                let here = links.resolve(&route.local, &by_digest).await?;
                here.map(|here| (here, asked))
            }
            None => None,
        };
        if let Some((descriptor, asked)) = &kept
            && cx.now().duration_since(*asked).is_ok_and(|age| age < FRESH)
        {
            return Ok(Some(descriptor.clone()));
        }
        let asked = (route.local.clone(), name.clone());
        if self.is_missing(cx, &asked) {
            return Ok(None);
        }
        let store = upstream.repository(repository)?;
        match self.ask(cx, links, route, &*store, name).await {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(error) => match (error.class(), kept) {
                // Registries answer so to who may not know whether it is there.
                (Class::NotFound | Class::Denied, _) => {
                    self.remember_missing(cx, asked);
                    Ok(None)
                }
                // Better what was there some minutes ago than nothing.
                (_, Some((descriptor, _))) => {
                    tracing::warn!(%error, %repository, %name, "serving what was cached");
                    Ok(Some(descriptor))
                }
                (_, None) => Err(failed(repository, error)),
            },
        }
    }

    async fn ask(
        &self,
        cx: &Cx,
        links: &Links,
        route: &Route,
        store: &dyn ImageStore,
        name: &Name,
    ) -> Result<Descriptor> {
        let descriptor = store.resolve(cx, name).await?;
        let by_digest = Name::Digest(*descriptor.digest());
        let here = links.resolve(&route.local, &by_digest).await?;
        let descriptor = match here {
            Some(here) => here,
            None => {
                let manifest = store.manifest(cx, &by_digest).await?;
                links.cache_manifest(&route.local, &manifest).await?;
                manifest.descriptor().clone()
            }
        };
        if let Name::Tag(tag) = name {
            links
                .keep_upstream_tag(&route.local, tag, &descriptor)
                .await?;
        }
        Ok(descriptor)
    }

    /// Size of a blob that is not here; after this, it is. Only what a manifest from an upstream
    /// names is asked for.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        cx: &Cx,
        links: &Arc<Links>,
        route: &Route,
        digest: &Digest,
    ) -> Result<Option<u64>> {
        let Some((upstream, repository)) = &route.upstream else {
            return Ok(None);
        };
        let Some(expected) = links.expected(&route.local, digest).await? else {
            return Ok(None);
        };
        let key = (route.local.clone(), *digest);
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let joined = flights.get(&key).cloned();
            match joined {
                Some(flight) => flight,
                None => {
                    let store = upstream.repository(repository)?;
                    let fetch = fetch(
                        cx.clone(),
                        Arc::clone(links),
                        store,
                        key.0.clone(),
                        expected,
                    );
                    let (own, landed) = (Arc::clone(self), key.clone());
                    // Goes on when the one who asked first goes away.
                    let task = tokio::spawn(async move {
                        let result = fetch.await.map_err(Arc::new);
                        let mut flights =
                            own.flights.lock().unwrap_or_else(PoisonError::into_inner);
                        flights.remove(&landed);
                        result
                    });
                    let flight = task
                        .map(|joined| match joined {
                            Ok(result) => result,
                            Err(_) => Err(Arc::new(ocicore::Error::Cancelled.into())),
                        })
                        .boxed()
                        .shared();
                    flights.insert(key, flight.clone());
                    flight
                }
            }
        };
        match flight.await {
            Ok(size) => Ok(Some(size)),
            Err(error) => match error.class() {
                Class::NotFound | Class::Denied => Ok(None),
                _ => Err(failed(repository, error)),
            },
        }
    }

    fn is_missing(&self, cx: &Cx, asked: &(RepositoryPath, Name)) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(asked).is_some_and(|since| {
            cx.now()
                .duration_since(*since)
                .is_ok_and(|age| age < MISSING)
        })
    }

    fn remember_missing(&self, cx: &Cx, asked: (RepositoryPath, Name)) {
        let now = cx.now();
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.len() >= MOST_MISSING {
            missing.retain(|_, since| now.duration_since(*since).is_ok_and(|age| age < MISSING));
        }
        if missing.len() < MOST_MISSING {
            missing.insert(asked, now);
        }
    }
}

/// Brings a blob here, whole and verified, or nothing of it.
async fn fetch(
    cx: Cx,
    links: Arc<Links>,
    store: Arc<dyn ImageStore>,
    local: RepositoryPath,
    descriptor: Descriptor,
) -> Result<u64> {
    let digest = *descriptor.digest();
    let blob = store.blob(&descriptor);
    let content = ocicore::verified(blob.open(0..descriptor.size()), &descriptor);
    let mut session = Session::begin(&links, &local, digest.algorithm()).await?;
    let limit = descriptor.size();
    match session.append(Chunk::Stream, content, limit).await {
        Ok(()) => {}
        Err(error) => {
            session.abort().await?;
            return Err(match error {
                Error::Body { source } => match source.downcast::<ocicore::Error>() {
                    Ok(error) => Error::Storage(*error),
                    Err(source) => Error::Body { source },
                },
                error => error,
            });
        }
    }
    cx.check().map_err(ocicore::Error::from)?;
    session.finish(&links, &digest).await?;
    Ok(descriptor.size())
}

fn failed(
    repository: &Repository,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Upstream {
        repository: repository.to_string(),
        source: error.into(),
    }
}
