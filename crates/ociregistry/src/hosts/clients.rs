use std::{
    collections::BTreeMap,
    error::Error as StdError,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};
use url::Url;

use super::options::{HostOptions, Trust};
use crate::{Error, Result, endpoint, endpoint::Scheme};

/// HTTP clients by host, each made when it is first needed: whoever speaks plain HTTP needs no
/// certificate authorities.
#[derive(Debug)]
pub(crate) struct Clients {
    hosts: BTreeMap<String, HostOptions>,
    made: Mutex<BTreeMap<Key, Client>>,
    settings: Settings,
}

/// What all clients have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) user_agent: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) proxies: Proxies,
}

/// Closed: proxies are the environment's or there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxies {
    None,
    FromEnvironment,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Plain,
    Default,
    Host(String),
}

impl Clients {
    /// `hosts` as [`of_url`](super::of_url) wants them.
    pub(crate) fn new(hosts: BTreeMap<String, HostOptions>, settings: Settings) -> Self {
        Self {
            hosts,
            made: Mutex::default(),
            settings,
        }
    }

    /// Whether the options of its host allow to speak plain HTTP with this address.
    pub(crate) fn allow_plain(&self, url: &Url) -> bool {
        let host = endpoint::authority(url);
        HostOptions::scheme_of(super::of_url(&self.hosts, url), &host) == Scheme::Http
    }

    /// The client for an address.
    pub(crate) fn get(&self, url: &Url) -> Result<Client> {
        let host = endpoint::authority(url);
        let options = super::of_url(&self.hosts, url);
        let key = match (url.scheme(), options) {
            ("http", _) => Key::Plain,
            (_, Some(_)) => Key::Host(host.clone()),
            (_, None) => Key::Default,
        };
        let failed = |source: Box<dyn StdError + Send + Sync>| Error::Tls {
            host: host.clone(),
            source,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client = match &key {
            // Without authorities there is nothing to load.
            Key::Plain => self.builder().tls_certs_only([]).build(),
            Key::Default => self.builder().build(),
            Key::Host(_) => options
                .cloned()
                .unwrap_or_default()
                .apply(self.builder())
                .map_err(failed)?
                .build(),
        }
        .map_err(|error| failed(error.without_url().into()))?;
        made.insert(key, client.clone());
        Ok(client)
    }

    fn builder(&self) -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(&self.settings.user_agent)
            .connect_timeout(self.settings.connect_timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60));
        match self.settings.proxies {
            Proxies::None => builder.no_proxy(),
            Proxies::FromEnvironment => builder,
        }
    }
}

impl HostOptions {
    fn apply(
        &self,
        mut builder: ClientBuilder,
    ) -> Result<ClientBuilder, Box<dyn StdError + Send + Sync>> {
        for pem in &self.ca {
            let certificates = Certificate::from_pem_bundle(pem)?;
            // What has no certificate at all is read without an error.
            if certificates.is_empty() {
                return Err("there is no certificate in PEM among its authorities".into());
            }
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(Identity::from_pem(identity.expose().as_bytes())?);
        }
        if self.trust == Trust::Anything {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        Ok(builder)
    }
}
