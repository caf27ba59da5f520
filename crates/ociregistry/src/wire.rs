//! One HTTP exchange: redirects, bodies as streams, and a timeout for what does not move.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::future::{self, Either};
use ocicore::{Blob, Class, in_one_line};
use reqwest::{
    Method, StatusCode,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue,
        LOCATION, RETRY_AFTER,
    },
};
use url::Url;

use crate::{
    Answer, Error, RateLimit, Result, answer,
    auth::Secret,
    body::{Activity, StreamBody},
    endpoint,
    hosts::Clients,
    recent::Recent,
    retry,
};

/// Most redirects of one request, as curl and reqwest have it.
const MOST_REDIRECTS: usize = 10;
/// Bytes that are progress of a body: a server that sends one now and then has stalled.
const PROGRESS: u64 = 4 << 10;

/// Sends requests and follows redirects. Knows no credentials but those of the request.
#[derive(Debug)]
pub(crate) struct Wire {
    clients: Clients,
    stall: Duration,
    rate_limits: Mutex<Recent<String, RateLimit>>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Host and repository, for errors.
    pub(crate) place: String,
    pub(crate) headers: HeaderMap,
    /// Goes to the origin of `url` alone.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) payload: Payload<'a>,
}

/// What a request carries; all of it can be sent again.
#[derive(Clone, Debug)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(Bytes),
    /// A form with a secret, which goes to the origin of the request alone.
    Secret(Secret),
    Blob(&'a dyn Blob, Range<u64>),
}

impl Outgoing<'_> {
    /// Host and repository, and who was asked in their place, for errors.
    fn place_at(&self, url: &Url) -> String {
        match endpoint::is_same_origin(url, &self.url) {
            true => self.place.clone(),
            false => format!("{} at {}", self.place, endpoint::authority(url)),
        }
    }

    pub(crate) fn new(method: Method, url: Url, place: String) -> Self {
        Self {
            method,
            url,
            place,
            headers: HeaderMap::new(),
            authorization: None,
            payload: Payload::None,
        }
    }
}

impl Wire {
    pub(crate) fn new(clients: Clients, stall: Duration) -> Self {
        Self {
            clients,
            stall,
            rate_limits: Mutex::default(),
        }
    }

    /// Refuses an address without TLS, unless the options of its host allow that.
    pub(crate) fn refuse_plain(&self, place: &str, url: &Url) -> Result<()> {
        if url.scheme() == "https" || self.clients.allow_plain(url) {
            return Ok(());
        }
        Err(redirect(place, url, "it has no TLS"))
    }

    /// The last limits that this host told.
    pub(crate) fn rate_limit(&self, host: &str) -> Option<RateLimit> {
        let limits = self.rate_limits.lock();
        limits.unwrap_or_else(PoisonError::into_inner).get(host)
    }

    /// Sends a request; any status is an answer.
    pub(crate) async fn send(&self, outgoing: &Outgoing<'_>) -> Result<Incoming> {
        let mut url = outgoing.url.clone();
        let mut authorization = outgoing.authorization.as_ref();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.exchange(outgoing, &url, authorization).await?;
            let is_safe = matches!(outgoing.method, Method::GET | Method::HEAD);
            let follows = match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                    is_safe
                }
                _ => false,
            };
            if !follows {
                return Ok(Incoming {
                    response,
                    place: outgoing.place_at(&url),
                    url,
                    method: outgoing.method.clone(),
                    stall: self.stall,
                    waited: Duration::ZERO,
                    moved: 0,
                    progress: PROGRESS,
                });
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|l| l.to_str().ok());
            let next = endpoint::join(&url, location.unwrap_or_default())
                .map_err(|fault| Error::protocol(outgoing.place_at(&url), fault))?;
            if url.scheme() == "https" {
                self.refuse_plain(&outgoing.place, &next)?;
            }
            if !endpoint::is_same_origin(&next, &url) {
                if matches!(outgoing.payload, Payload::Secret(_)) {
                    let reason = "it would be sent a secret";
                    return Err(redirect(&outgoing.place, &next, reason));
                }
                authorization = None;
            }
            url = next;
        }
        let reason = "there were 10 redirects before it";
        Err(redirect(&outgoing.place, &url, reason))
    }

    async fn exchange(
        &self,
        outgoing: &Outgoing<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response> {
        let (place, method) = (&outgoing.place_at(url), &outgoing.method);
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = outgoing.headers.clone();
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        if let Some(authorization) = authorization {
            request
                .headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        let activity = Activity::new();
        let fault = Arc::new(Mutex::new(None));
        match &outgoing.payload {
            Payload::None if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) => {}
            Payload::None => *request.body_mut() = Some(Bytes::new().into()),
            Payload::Bytes(bytes) => *request.body_mut() = Some(bytes.clone().into()),
            Payload::Secret(form) => *request.body_mut() = Some(form.expose().to_owned().into()),
            Payload::Blob(blob, range) => {
                let body = StreamBody::new(*blob, range.clone(), activity.clone(), fault.clone());
                *request.body_mut() = Some(reqwest::Body::wrap(body));
            }
        }
        if let Some(body) = request.body().and_then(reqwest::Body::as_bytes) {
            let length = HeaderValue::from(body.len());
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        tracing::debug!(%method, url = %endpoint::redacted(url), "request");
        let exchange = self.clients.get(url)?.execute(request);
        let result = self.unless_stalled(place, &activity, exchange).await?;
        // The error of a source that failed hides behind that of the connection it broke.
        if let Some(error) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Error::Store(error));
        }
        let response = result.map_err(|error| transport(place, method, error))?;
        tracing::debug!(status = response.status().as_u16(), "answer");
        if let Some(limit) = RateLimit::of(response.headers()) {
            let mut limits = self
                .rate_limits
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            limits.insert(endpoint::authority(url), limit);
        }
        Ok(response)
    }

    /// Awaits `work` as long as bytes move.
    async fn unless_stalled<T>(
        &self,
        place: &str,
        activity: &Activity,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = activity.last() + self.stall;
            let sleep = std::pin::pin!(tokio::time::sleep_until(deadline));
            match future::select(work.as_mut(), sleep).await {
                Either::Left((done, _)) => return Ok(done),
                Either::Right(_) if activity.last() + self.stall > deadline => {}
                Either::Right(_) => {
                    return Err(Error::Stalled {
                        place: place.to_owned(),
                        after: self.stall,
                    });
                }
            }
        }
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Incoming {
    response: reqwest::Response,
    /// Where it came from after redirects.
    pub(crate) url: Url,
    pub(crate) place: String,
    method: Method,
    stall: Duration,
    /// How long the body was waited for since its last progress, and what came meanwhile.
    waited: Duration,
    moved: u64,
    progress: u64,
}

impl Incoming {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// Bytes that the body will have, if the server said so.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Fails unless the status is one of these.
    pub(crate) async fn expect(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status()) {
            Ok(self)
        } else {
            Err(Error::Answer(Box::new(self.into_answer().await)))
        }
    }

    /// The next piece of the body; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let (began, left) = (Instant::now(), self.stall.saturating_sub(self.waited));
        match tokio::time::timeout(left, self.response.chunk()).await {
            Ok(Ok(chunk)) => {
                self.waited += began.elapsed();
                self.moved += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                if self.moved >= self.progress {
                    (self.waited, self.moved) = (Duration::ZERO, 0);
                }
                Ok(chunk)
            }
            Ok(Err(error)) => Err(transport(&self.place, &self.method, error)),
            Err(_) => Err(Error::Stalled {
                place: self.place.clone(),
                after: self.stall,
            }),
        }
    }

    /// The whole body, if it has no more than `limit` bytes.
    pub(crate) async fn read(mut self, what: &str, limit: u64) -> Result<Bytes> {
        self.refuse_encoding()?;
        let too_large = || {
            Error::Store(ocicore::Error::Limit {
                what: format!("{what} of `{}`", self.place),
                limit,
            })
        };
        let announced = self.announced();
        if announced.is_some_and(|announced| announced > limit) {
            return Err(too_large());
        }
        let too_large = too_large();
        self.progress = u64::MAX;
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (whole.len() + chunk.len()) as u64 > limit {
                return Err(too_large);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// A body that was encoded on the way has other bytes than its digest says, and nobody asked
    /// for that.
    pub(crate) fn refuse_encoding(&self) -> Result<()> {
        match self.headers().get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                let shown: String = String::from_utf8_lossy(encoding.as_bytes())
                    .chars()
                    .take(40)
                    .collect();
                let fault = format!(
                    "its answer has the content encoding `{}`, asked for none",
                    shown.escape_debug()
                );
                Err(Error::protocol(&self.place, fault))
            }
            _ => Ok(()),
        }
    }

    /// The error that this answer is. What of its body cannot be read is left out: the status says
    /// enough.
    pub(crate) async fn into_answer(mut self) -> Answer {
        self.progress = u64::MAX;
        let mut body = Vec::new();
        while body.len() < answer::BODY_LIMIT {
            match self.chunk().await {
                Ok(Some(chunk)) => {
                    let room = answer::BODY_LIMIT - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "the body of an error was cut");
                    break;
                }
            }
        }
        let wait = self
            .headers()
            .get(RETRY_AFTER)
            .and_then(|wait| wait.to_str().ok());
        Answer {
            status: self.status(),
            faults: answer::faults(&body),
            retry_after: wait.and_then(|wait| retry::retry_after(wait, SystemTime::now())),
            method: self.method.to_string(),
            place: self.place,
        }
    }
}

fn redirect(place: &str, target: &Url, reason: &'static str) -> Error {
    Error::Redirect {
        place: place.to_owned(),
        target: endpoint::redacted(target),
        reason,
    }
}

/// An error of the connection, without its address, whose query may hold a signature.
fn transport(place: &str, method: &Method, error: reqwest::Error) -> Error {
    let scheme = error.url().map(|url| url.scheme().to_owned());
    let error = error.without_url();
    Error::Transport {
        place: place.to_owned(),
        method: method.to_string(),
        class: if error.is_builder() || is_untrusted(&error) {
            Class::Other
        } else {
            Class::Transient
        },
        advice: advice(&scheme.unwrap_or_default(), &error),
        source: error.into(),
    }
}

/// What may be wrong with how the server was asked.
fn advice(scheme: &str, error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let text = in_one_line(error);
    match scheme {
        "http" if text.contains("invalid HTTP version") => {
            Some("it was asked in plain HTTP, and may speak TLS")
        }
        "https" if text.contains("InvalidContentType") => {
            Some("it was asked by TLS, and may speak plain HTTP")
        }
        "https" if text.contains("UnknownIssuer") => {
            Some("its certificate is of no authority that is trusted here")
        }
        _ => None,
    }
}

/// What TLS refuses is refused again: rustls puts its errors into `InvalidData`, and the layers
/// above put that into another I/O error, whose source it is not.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = match error.downcast_ref::<io::Error>() {
        Some(io) if io.kind() == io::ErrorKind::InvalidData => return true,
        Some(io) => io.get_ref().map(|inner| inner as _),
        None => None,
    };
    inner.or(error.source()).is_some_and(is_untrusted)
}
