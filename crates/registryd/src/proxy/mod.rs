//! Pulling through: what the server does not have comes from an upstream registry, and stays.
//!
//! A local image always wins, for upstreams are asked on a miss only. Tags of an upstream are kept
//! apart from local ones and asked for again after a while. A blob is fetched once, however many
//! want it, who read it while it comes; it is kept only when it is whole and verified.
//!
//! Referrers of an upstream are listed with those that are here, for clients take the list to be
//! whole. The catalog and lists of tags name only what was pushed here: who cleans up by them, or
//! asks which images a change made, means those.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use ocicore::{
    Class, Cx, Descriptor, Digest, ImageStore, Name, Repositories, Repository, RepositoryPath,
};

pub(crate) use self::{flight::Flight, referrers::merge};
use crate::{Error, Result, links::Links};

mod flight;
mod referrers;

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
    /// By what their names begin with here.
    upstreams: HashMap<String, Upstream>,
    flights: Mutex<HashMap<(RepositoryPath, Digest), Flight>>,
    missing: Mutex<HashMap<(RepositoryPath, Asked), SystemTime>>,
}

/// What an upstream may not have.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Asked {
    Manifest(Name),
    Referrers(Digest),
}

/// A registry that is asked.
#[derive(Debug)]
struct Upstream {
    host: String,
    registry: Arc<dyn Repositories>,
}

/// Takes a flight out of the list at its end.
struct Landing {
    proxy: Arc<Proxy>,
    key: (RepositoryPath, Digest),
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.proxy.flights().remove(&self.key);
    }
}

/// A blob that was not here.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Of that size; it is by now.
    Landed(u64),
    Coming(Box<Flight>),
}

/// What who asks for a blob waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The first bytes are here.
    Begun,
    /// All of it is here.
    Landed,
}

/// Where to look for what a request names.
#[derive(Debug)]
pub(crate) struct Route {
    /// In the server's own storage.
    pub(crate) local: RepositoryPath,
    upstream: Option<(Arc<dyn Repositories>, Repository)>,
}

impl Proxy {
    pub(crate) fn add(&mut self, host: &str, upstream: Arc<dyn Repositories>) -> Result<()> {
        let prefix = prefix(host);
        if host.contains(['/', '_']) || prefix.parse::<RepositoryPath>().is_err() {
            return Err(Error::Setting {
                what: "upstream",
                value: host.to_owned(),
                fault: "expected a host name, perhaps with a port, in lower case".to_owned(),
            });
        }
        let host = host.to_owned();
        self.upstreams.insert(
            prefix,
            Upstream {
                host,
                registry: upstream,
            },
        );
        Ok(())
    }

    /// Reads `namespace`, the `ns` that containerd and BuildKit send to mirrors: the repository is
    /// then one of that registry. Images of `docker.io` are here under their own name, others
    /// under that of their registry, which a client may name twice, as containerd does with
    /// `override_path`.
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
        let prefix = prefix(host);
        let is_known = self.upstreams.contains_key(&prefix);
        let first = name.as_str().split_once('/').map(|(first, _)| first);
        let is_twice = first == Some(&prefix);
        let inside = match is_twice {
            true => Ok(name.clone()),
            false => format!("{prefix}/{name}").parse(),
        };
        if let Ok(inside) = inside
            && (is_known || !is_twice && links.exists(&inside).await?)
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
        let (prefix, path) = match local.as_str().split_once('/') {
            Some((prefix, path)) if prefix != DEFAULT && self.upstreams.contains_key(prefix) => {
                (prefix, path.to_owned())
            }
            Some(_) => (DEFAULT, local.to_string()),
            None => (DEFAULT, format!("library/{local}")),
        };
        let Some(upstream) = self.upstreams.get(prefix) else {
            return Ok(None);
        };
        let repository = Repository::new(&upstream.host, path.parse()?)?;
        Ok(Some((Arc::clone(&upstream.registry), repository)))
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
        let asked = (route.local.clone(), Asked::Manifest(name.clone()));
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

    /// Fetches a blob that is not here. Only what a manifest from an upstream names is asked for.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        cx: &Cx,
        links: &Arc<Links>,
        route: &Route,
        digest: &Digest,
        until: Until,
    ) -> Result<Option<Arrival>> {
        let Some((upstream, repository)) = &route.upstream else {
            return Ok(None);
        };
        let Some(expected) = links.expected(&route.local, digest).await? else {
            return Ok(None);
        };
        let key = (route.local.clone(), *digest);
        let flying = self.flights().get(&key).cloned();
        let flight = match flying {
            Some(flight) => flight,
            None => {
                // It may have landed since somebody looked.
                if let Some(size) = links.blob(&route.local, digest).await? {
                    return Ok(Some(Arrival::Landed(size)));
                }
                let store = upstream.repository(repository)?;
                self.depart(cx, links, store, key, expected)
            }
        };
        let waited = match until {
            Until::Begun => flight.begun().await,
            Until::Landed => flight.landed().await,
        };
        match waited {
            Ok(()) => Ok(Some(Arrival::Coming(flight.into()))),
            Err(error) => match error.class() {
                Class::NotFound | Class::Denied => Ok(None),
                _ => Err(failed(repository, error)),
            },
        }
    }

    fn depart(
        self: &Arc<Self>,
        cx: &Cx,
        links: &Arc<Links>,
        store: Arc<dyn ImageStore>,
        key: (RepositoryPath, Digest),
        expected: Descriptor,
    ) -> Flight {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let landing = Landing {
            proxy: Arc::clone(self),
            key: key.clone(),
        };
        let flight = Flight::depart(cx, links, store, &key.0, expected, landing);
        flights.insert(key, flight.clone());
        flight
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<(RepositoryPath, Digest), Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_missing(&self, cx: &Cx, asked: &(RepositoryPath, Asked)) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(asked).is_some_and(|since| {
            cx.now()
                .duration_since(*since)
                .is_ok_and(|age| age < MISSING)
        })
    }

    fn remember_missing(&self, cx: &Cx, asked: (RepositoryPath, Asked)) {
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

/// What the names of a registry's images begin with here. No name can hold a colon, and no host an
/// underscore.
fn prefix(host: &str) -> String {
    host.replace(':', "_")
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
