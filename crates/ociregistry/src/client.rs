use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ocicore::{
    BoxStream, Cx, Descriptor, Digest, ImageStore, MediaType, Reference, Repositories, Repository,
    SizeLimits, Tag,
};

use crate::{
    HostOptions, Hosts, Keychain, RateLimit, Retry,
    auth::{Authenticator, Credentials, Logins, login_name},
    endpoint::authority,
    hosts::{Clients, Proxies, Rest, Settings},
    list,
    store::RegistryStore,
    wire::Wire,
};

/// A client for all registries: cheap to clone, all clones share connections and tokens.
///
/// It is a [`Repositories`]: [`Registry::repository`](Repositories::repository) gives the store of
/// one repository, which the rest of the workspace reads from and writes to.
#[derive(Clone, Debug)]
pub struct Registry(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) wire: Wire,
    pub(crate) authenticator: Authenticator,
    pub(crate) hosts: Hosts,
    pub(crate) retry: Retry,
    /// For mirrors: who does not answer is passed over.
    pub(crate) once: Retry,
    /// Mirrors that did not answer.
    pub(crate) rest: Rest,
    pub(crate) limits: SizeLimits,
    pub(crate) upload: Upload,
    /// Hosts that were named to the builder, as they were named.
    pub(crate) names: BTreeSet<String>,
    /// Held while a list of referrers is changed that the registry does not keep by itself.
    pub(crate) referrers: tokio::sync::Mutex<()>,
}

/// How content goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upload {
    /// In one request, which every registry should take and most take fastest
    /// (distribution-spec §POST then PUT). What is refused as too large goes in chunks.
    Monolithic,
    /// In chunks of so many bytes, of what the registry wants at least, or of less if it refuses
    /// these as too large (distribution-spec §Pushing a blob in chunks). An upload that breaks goes on from where the
    /// registry says that it is. Each chunk is a request: some MiB are usual, and 0 counts as 1.
    Chunked(u64),
}

impl Registry {
    /// A client without credentials and with the defaults of [`RegistryBuilder`].
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Gives a manifest further tags, or a tag to what a digest names: one `GET` and one `PUT` for
    /// each tag, also if it refers to another one. Its bytes and media type stay as they are. No
    /// mirror is asked.
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there; others of [`Error`](crate::Error).
    pub async fn retag(
        &self,
        cx: &Cx,
        reference: &Reference,
        tags: &[Tag],
    ) -> ocicore::Result<Descriptor> {
        let store = self.store(reference.repository())?;
        let manifest = store.manifest_at_home(cx, &reference.name()).await?;
        store.tag(cx, &manifest, tags).await?;
        Ok(manifest.descriptor().clone())
    }

    /// What a reference names now, by one `HEAD`.
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there; others of [`Error`](crate::Error).
    pub async fn resolve(&self, cx: &Cx, reference: &Reference) -> ocicore::Result<Descriptor> {
        let store = self.repository(reference.repository())?;
        store.resolve(cx, &reference.name()).await
    }

    /// Deletes a blob; most registries rather do that themselves. For manifests and tags see
    /// [`ImageSink::delete`](ocicore::ImageSink::delete).
    ///
    /// # Errors
    /// Of class `NotFound` if it is not there, `Unsupported` if the registry deletes no blobs.
    pub async fn delete_blob(
        &self,
        cx: &Cx,
        repository: &Repository,
        digest: &Digest,
    ) -> ocicore::Result<()> {
        self.store(repository)?.delete_blob(cx, digest).await
    }

    /// What of one type refers to `subject`: fewer answers than all its
    /// [`referrers`](ocicore::ImageSource::referrers) where the registry filters.
    ///
    /// # Errors
    /// If they cannot be listed; none is an empty list.
    pub async fn referrers_of_type(
        &self,
        cx: &Cx,
        repository: &Repository,
        subject: &Digest,
        artifact_type: &MediaType,
    ) -> ocicore::Result<Vec<Descriptor>> {
        self.store(repository)?
            .referrers_of_type(cx, subject, Some(artifact_type))
            .await
    }

    /// The repositories of one host, page by page as they are asked for.
    pub fn catalog_of(&self, cx: &Cx, host: &str) -> BoxStream<Repository> {
        list::catalog(self.clone(), cx.clone(), host.to_owned())
    }

    /// How many requests a host still allows, if it told so with its last answer.
    pub fn rate_limit(&self, host: &str) -> Option<RateLimit> {
        let endpoint = self.0.hosts.endpoint(host).ok()?;
        self.0.wire.rate_limit(&authority(endpoint.base()))
    }

    fn store(&self, name: &Repository) -> ocicore::Result<RegistryStore> {
        let sites = self.0.hosts.sites(name);
        let (mirrors, home) =
            sites.map_err(|error| error.into_port("reach", name, "registries"))?;
        Ok(RegistryStore {
            registry: self.clone(),
            name: name.clone(),
            home,
            mirrors,
        })
    }
}

impl Repositories for Registry {
    fn repository(&self, name: &Repository) -> ocicore::Result<Arc<dyn ImageStore>> {
        Ok(Arc::new(self.store(name)?))
    }

    /// The repositories of all hosts that the builder was given options or credentials for: a
    /// registry's client cannot know of others. See [`Registry::catalog_of`].
    fn catalog(&self, cx: &Cx) -> BoxStream<Repository> {
        list::catalogs(self.clone(), cx.clone())
    }
}

/// Makes a [`Registry`].
///
/// ```
/// use ociregistry::{Credentials, HostOptions, Registry, Retry};
///
/// let registry = Registry::builder()
///     .credentials("registry.example", Credentials::basic("me", "secret"))
///     .host("10.0.0.1:5000", HostOptions::default().with_plain_http())
///     .retry(Retry::default().with_attempts(3))
///     .build();
/// # drop(registry);
/// ```
#[derive(Debug)]
#[must_use]
pub struct RegistryBuilder {
    logins: Logins,
    hosts: Hosts,
    retry: Retry,
    limits: SizeLimits,
    upload: Upload,
    stall: Duration,
    rest: Duration,
    settings: Settings,
    /// As they were named, by the names under which one logs in.
    names: BTreeMap<String, String>,
}

impl Default for RegistryBuilder {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            logins: Logins::default(),
            hosts: Hosts::default(),
            retry: Retry::default(),
            limits: SizeLimits::default(),
            upload: Upload::Monolithic,
            stall: Duration::from_secs(120),
            rest: Duration::from_secs(60),
            settings: Settings {
                user_agent: concat!("ociregistry/", env!("CARGO_PKG_VERSION")).to_owned(),
                connect_timeout: Duration::from_secs(30),
                proxies: Proxies::None,
            },
        }
    }
}

impl RegistryBuilder {
    /// Logs in to one host, before any keychain is asked. Docker Hub is `docker.io`, or any other
    /// name that `docker login` knows it by; a host is the same with `:443` and in capitals.
    pub fn credentials(mut self, host: impl AsRef<str>, credentials: Credentials) -> Self {
        let host = login_name(host.as_ref());
        self.names.entry(host.clone()).or_insert(host.clone());
        self.logins.by_host.insert(host, credentials);
        self
    }

    /// Asks a keychain for the credentials of hosts, for example
    /// [`AuthFiles::from_env`](crate::AuthFiles::from_env).
    pub fn keychain(mut self, keychain: impl Keychain) -> Self {
        self.logins.others = Some(Arc::new(keychain));
        self
    }

    /// Reaches one host by other ways than the default.
    pub fn host(mut self, host: impl AsRef<str>, options: HostOptions) -> Self {
        let name = host.as_ref().to_owned();
        self.names.insert(login_name(&name), name);
        self.hosts = self.hosts.with_options(host.as_ref(), options);
        self
    }

    /// Reaches hosts as files of configuration say, with mirrors.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = self.hosts.and(hosts);
        self
    }

    /// Tries again in another way than [`Retry::default`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Bounds what registries may send; manifests by [`SizeLimits::manifest`], other documents by
    /// [`SizeLimits::config`], also all referrers of a manifest together; all pages of another
    /// list by [`SizeLimits::documents`].
    pub fn limits(mut self, limits: SizeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sends content in another way than [`Upload::Monolithic`].
    pub fn upload(mut self, upload: Upload) -> Self {
        self.upload = upload;
        self
    }

    /// Gives up an exchange that makes no progress for so long, 2 minutes by default: also the
    /// longest time that a registry may think about an answer. Progress of a download are 4 KiB,
    /// so that who sends a byte now and then does not hold it for ever; documents (manifests,
    /// lists, tokens, errors), which are small, have to come as a whole within this time. There is
    /// no timeout for the whole of a blob.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall = timeout;
        self
    }

    /// Passes over a mirror that did not answer for so long, 1 minute by default, so that not each
    /// request waits for it; then it is asked again.
    pub fn mirror_rest(mut self, time: Duration) -> Self {
        self.rest = time;
        self
    }

    /// Gives up connecting after so long, 30 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Names the program in `User-Agent`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.settings.user_agent = user_agent.into();
        self
    }

    /// Goes through the proxies that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name. By default
    /// there are none, and no environment variable is read.
    pub fn proxies_from_env(mut self) -> Self {
        self.settings.proxies = Proxies::FromEnvironment;
        self
    }

    /// The client. Nothing is sent or read from disk yet.
    pub fn build(self) -> Registry {
        Registry(Arc::new(Inner {
            wire: Wire::new(
                Clients::new(self.hosts.options().clone(), self.settings),
                self.stall,
            ),
            authenticator: Authenticator::new(self.logins),
            hosts: self.hosts,
            retry: self.retry,
            once: Retry::never(),
            rest: Rest::new(self.rest),
            limits: self.limits,
            upload: self.upload,
            names: self.names.into_values().collect(),
            referrers: tokio::sync::Mutex::new(()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_several_names() {
        for name in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://index.docker.io/v1/",
        ] {
            let builder = Registry::builder().credentials(name, Credentials::bearer("t"));
            assert!(builder.logins.by_host.contains_key("docker.io"), "{name}");
        }
    }

    #[test]
    fn a_host_by_several_names_is_one() {
        let registry = Registry::builder()
            .credentials("R.io:443", Credentials::bearer("t"))
            .host("r.io:443", HostOptions::default())
            .credentials("r.io", Credentials::bearer("t"))
            .build();
        assert_eq!(registry.0.names, ["r.io:443".to_owned()].into());
    }
}
