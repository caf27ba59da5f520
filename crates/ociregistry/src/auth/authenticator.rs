use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ocicore::{Class, Cx, RepositoryPath};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use tokio::time::Instant;
use url::Url;

use super::{
    Credentials, Kind, Logins, Scopes, Secret,
    challenge::{self, Challenge},
    token::Token,
};
use crate::{
    Error, Login, Result, endpoint,
    recent::Recent,
    wire::{Outgoing, Payload, Wire},
};

/// Most bytes of a token service's answer.
const TOKEN_LIMIT: u64 = 64 << 10;

/// Answers the challenges of registries, and remembers what they want: after the first one, a
/// request goes out with its token.
#[derive(Debug)]
pub(crate) struct Authenticator {
    logins: Logins,
    hosts: Mutex<Recent<String, Arc<Host>>>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: Option<&'a RepositoryPath>,
    pub(crate) scopes: &'a Scopes,
}

/// What a request carries, so that it can be told from what replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) header: HeaderValue,
    token: Option<Secret>,
}

/// A value that one task gets while others wait for it.
type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;

#[derive(Debug, Default)]
struct Host {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wants: Option<Wants>,
    credentials: Recent<Option<RepositoryPath>, Slot<Option<Credentials>>>,
    tokens: Recent<Scopes, Slot<Token>>,
    /// Scopes that turned out not to be enough, and what the registry wanted.
    widened: Recent<Scopes, Scopes>,
}

#[derive(Clone, Debug)]
enum Wants {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

impl Authenticator {
    pub(crate) fn new(logins: Logins) -> Self {
        Self {
            logins,
            hosts: Mutex::default(),
        }
    }

    /// What to send along, if the registry is known to want it.
    pub(crate) async fn authorization(
        &self,
        cx: &Cx,
        wire: &Wire,
        target: Target<'_>,
    ) -> Result<Option<Sent>> {
        let host = self.host(target.host);
        let wants = host.lock(|state| state.wants.clone());
        match wants {
            None => Ok(None),
            Some(Wants::Basic) => self.basic(cx, &host, target, None).await,
            Some(Wants::Bearer { realm, service }) => {
                let wider = host.lock(|state| state.widened.get(target.scopes));
                let scopes = wider.as_ref().unwrap_or(target.scopes);
                let target = Target { scopes, ..target };
                self.bearer(cx, wire, &host, target, (&realm, service.as_deref()), None)
                    .await
            }
        }
    }

    /// Who one is for this server; none if it never asked.
    pub(crate) fn login(&self, target: Target<'_>) -> Option<Login> {
        let host = self.host(target.host);
        let slot = host.lock(|state| {
            state.wants.as_ref()?;
            state.credentials.get(&target.path.cloned())
        })?;
        // Who is asked for anew right now is not known.
        let known = slot.try_lock().ok()?;
        Some(login(known.as_ref()?.as_ref()))
    }

    /// What to send instead of `sent`, which was answered with 401 from `url`; none if there is
    /// nothing better.
    pub(crate) async fn answer(
        &self,
        cx: &Cx,
        wire: &Wire,
        target: Target<'_>,
        (url, headers): (&Url, &HeaderMap),
        sent: Option<&Sent>,
    ) -> Result<Option<Sent>> {
        let host = self.host(target.host);
        let fields = headers.get_all(WWW_AUTHENTICATE).iter();
        match challenge::best(fields.filter_map(|field| field.to_str().ok())) {
            None => Ok(None),
            Some(Challenge::Basic) => {
                host.lock(|state| state.wants = Some(Wants::Basic));
                self.basic(cx, &host, target, sent).await
            }
            Some(Challenge::Bearer {
                realm,
                service,
                scopes,
            }) => {
                let realm = safe_realm(url, &realm, target.host)?;
                let all = target.scopes.clone().and(&scopes);
                host.lock(|state| {
                    state.wants = Some(Wants::Bearer {
                        realm: realm.clone(),
                        service: service.clone(),
                    });
                    if all != *target.scopes {
                        state.widened.insert(target.scopes.clone(), all.clone());
                    }
                });
                let target = Target {
                    scopes: &all,
                    ..target
                };
                let sent = sent.and_then(|sent| sent.token.as_ref());
                self.bearer(cx, wire, &host, target, (&realm, service.as_deref()), sent)
                    .await
            }
        }
    }

    async fn basic(
        &self,
        cx: &Cx,
        host: &Host,
        target: Target<'_>,
        refused: Option<&Sent>,
    ) -> Result<Option<Sent>> {
        let mut again = refused.is_some();
        let (mut found, _) = self.credentials(cx, host, target).await?;
        loop {
            let sent = match found.as_ref().map(|credentials| &credentials.0) {
                Some(Kind::Basic { username, password }) => {
                    Some(basic_header(username, password, target.host)?)
                }
                Some(Kind::Bearer(token)) => Some(bearer_header(token, target.host)?),
                // An identity token is for a token service, and there is none.
                Some(Kind::Identity(_) | Kind::Nobody) | None => None,
            };
            if sent.as_ref() != refused {
                return Ok(sent);
            }
            // They may have been changed since: a helper's passwords live for some hours.
            if !std::mem::take(&mut again) {
                return Ok(None);
            }
            self.forget(host, target).await;
            (found, _) = self.credentials(cx, host, target).await?;
        }
    }

    async fn bearer(
        &self,
        cx: &Cx,
        wire: &Wire,
        host: &Host,
        target: Target<'_>,
        (realm, service): (&Url, Option<&str>),
        refused: Option<&Secret>,
    ) -> Result<Option<Sent>> {
        let slot = host.lock(|state| state.tokens.get_or_new(target.scopes));
        // One asks for the token, the others wait for it.
        let mut slot = slot.lock().await;
        let usable = slot.as_ref().filter(|token| {
            token.is_fresh(Instant::now()) && refused.is_none_or(|refused| token.secret != *refused)
        });
        if let Some(token) = usable {
            return bearer_header(&token.secret, target.host).map(Some);
        }
        let (mut credentials, mut again) = self.credentials(cx, host, target).await?;
        loop {
            let got = match &credentials {
                Some(Credentials(Kind::Bearer(token))) => {
                    Ok(Some(token).filter(|token| refused != Some(token)).cloned())
                }
                other => fetch(wire, realm, service, target.scopes, other.as_ref())
                    .await
                    .map(|token| Some(slot.insert(token).secret.clone())),
            };
            let error = match got {
                Ok(Some(secret)) => return bearer_header(&secret, target.host).map(Some),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            // Whoever does not answer says nothing about credentials.
            if error.as_ref().map(Error::class) != Some(Class::Transient) {
                // They may have been changed since: a helper's passwords live for some hours.
                self.forget(host, target).await;
                // Where they cannot be had now, the refusal says more.
                if std::mem::take(&mut again)
                    && let Ok((now, _)) = self.credentials(cx, host, target).await
                    && now != credentials
                {
                    credentials = now;
                    continue;
                }
            }
            return match error {
                None => Ok(None),
                Some(error) => {
                    let who = Some(login(credentials.as_ref()));
                    Err(Error::Token {
                        realm: endpoint::redacted(realm),
                        scope: target.scopes.to_string(),
                        source: error
                            .with_login(&endpoint::authority(realm), who, false)
                            .into(),
                    })
                }
            };
        }
    }

    /// The credentials, and whether they are remembered: else the keychain gave them right now.
    async fn credentials(
        &self,
        cx: &Cx,
        host: &Host,
        target: Target<'_>,
    ) -> Result<(Option<Credentials>, bool)> {
        let slot = host.lock(|state| state.credentials.get_or_new(&target.path.cloned()));
        let mut slot = slot.lock().await;
        if let Some(known) = &*slot {
            return Ok((known.clone(), true));
        }
        let found = self
            .logins
            .credentials(cx, target.host, target.path)
            .await?;
        Ok((slot.insert(found).clone(), false))
    }

    async fn forget(&self, host: &Host, target: Target<'_>) {
        let slot = host.lock(|state| state.credentials.get(&target.path.cloned()));
        if let Some(slot) = slot {
            *slot.lock().await = None;
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get_or_new(name)
    }
}

impl Host {
    fn lock<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A token service gets passwords: a registry that is spoken to by TLS cannot send them in the
/// clear.
fn safe_realm(url: &Url, realm: &str, host: &str) -> Result<Url> {
    let fault = |fault: String| Error::Challenge {
        host: host.to_owned(),
        fault,
    };
    let realm = endpoint::join(url, realm)
        .map_err(|fault_| fault(format!("its token service cannot be found: {fault_}")))?;
    if realm.scheme() == "http"
        && url.scheme() == "https"
        && !endpoint::is_loopback(&endpoint::authority(&realm))
    {
        let shown = endpoint::redacted(&realm);
        return Err(fault(format!("its token service `{shown}` has no TLS")));
    }
    Ok(realm)
}

/// Asks a token service: with an identity token by `POST` (OAuth 2), else by `GET`.
async fn fetch(
    wire: &Wire,
    realm: &Url,
    service: Option<&str>,
    scopes: &Scopes,
    credentials: Option<&Credentials>,
) -> Result<Token> {
    let mut url = realm.clone();
    let mut outgoing = Outgoing::new(Method::GET, realm.clone(), endpoint::authority(realm));
    match credentials.map(|credentials| &credentials.0) {
        Some(Kind::Identity(token)) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", token.expose());
            form.append_pair("client_id", "ociregistry");
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            form.append_pair("scope", &scopes.to_string());
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            outgoing.method = Method::POST;
            outgoing.headers.insert(CONTENT_TYPE, kind);
            outgoing.payload = Payload::Secret(Secret::new(form.finish()));
        }
        other => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            for scope in scopes.iter() {
                query.append_pair("scope", &scope);
            }
            if let Some(Kind::Basic { username, password }) = other {
                query.append_pair("account", username);
                outgoing.authorization =
                    Some(basic_header(username, password, &outgoing.place)?.header);
            }
            drop(query);
            outgoing.url = url;
        }
    }
    let place = outgoing.place.clone();
    let asked = Instant::now();
    let response = wire.send(&outgoing).await?.expect(&[200]).await?;
    let body = response
        .read("the answer of the token service", TOKEN_LIMIT)
        .await?;
    Token::parse(&body, asked).map_err(|fault| Error::protocol(place, fault))
}

fn login(credentials: Option<&Credentials>) -> Login {
    match credentials.map(|credentials| &credentials.0) {
        Some(Kind::Basic { username, .. }) => Login::User(username.clone()),
        Some(Kind::Identity(_) | Kind::Bearer(_)) => Login::Token,
        Some(Kind::Nobody) | None => Login::Nobody,
    }
}

fn basic_header(username: &str, password: &Secret, host: &str) -> Result<Sent> {
    let pair = format!("{username}:{}", password.expose());
    header(format!("Basic {}", STANDARD.encode(pair)), None, host)
}

fn bearer_header(token: &Secret, host: &str) -> Result<Sent> {
    header(
        format!("Bearer {}", token.expose()),
        Some(token.clone()),
        host,
    )
}

fn header(value: String, token: Option<Secret>, host: &str) -> Result<Sent> {
    let mut header = HeaderValue::try_from(value).map_err(|_| Error::Challenge {
        host: host.to_owned(),
        fault: "the credentials have characters that no header may hold".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(Sent { header, token })
}
