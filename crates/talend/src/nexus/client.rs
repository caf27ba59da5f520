use std::{
    fmt,
    future::Future,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{self, Either},
};
use ocicore::{Attempts, Blob, Class, Cx, Descriptor, Digest, FileBlob, MediaType, Retry, Task};
use reqwest::{
    Method, StatusCode,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
        LOCATION, RETRY_AFTER,
    },
    redirect,
};
use url::Url;

use super::{
    Error, Result,
    address::{self, place},
    answer,
    options::{ClientOptions, Proxies},
    retry,
};

/// Most redirects of one request, as curl and reqwest have it.
const MOST_REDIRECTS: usize = 10;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Largest document that is read whole: metadata, checksums, answers of the API.
const DOCUMENT_LIMIT: usize = 8 << 20;

/// Speaks HTTP with repositories. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    options: ClientOptions,
    /// Without and with TLS, each made when it is first needed: plain HTTP needs no authorities.
    made: Mutex<[Option<reqwest::Client>; 2]>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.options).finish()
    }
}

/// A request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload<'a>,
    pub(super) redirects: Redirects,
}

/// Whether redirects are followed. Closed: they are or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    Follow,
    Return,
}

/// What a request carries; all of it can be sent again.
#[derive(Clone, Debug)]
pub(super) enum Payload<'a> {
    None,
    Bytes(Bytes),
    File {
        path: &'a Path,
        size: u64,
        task: &'a Task,
    },
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, url: &'a Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::None,
            redirects: Redirects::Follow,
        }
    }
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: reqwest::Response,
    /// The address that was asked for.
    pub(super) place: String,
    stall: Duration,
    method: Method,
}

impl Client {
    /// A client.
    pub fn new(options: ClientOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            made: Mutex::default(),
        }))
    }

    /// How it works.
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    pub(super) fn attempts(&self) -> Attempts {
        let options = self.options();
        let retry = Retry::default()
            .with_attempts(options.attempts)
            .with_pauses(options.pause, LONGEST_PAUSE);
        Attempts::new(&retry)
    }

    /// A document as a whole, with as many attempts as may be; none if it is not there.
    pub(super) async fn document(&self, cx: &Cx, url: &Url) -> Result<Option<Bytes>> {
        let mut attempts = self.attempts();
        loop {
            let read = async {
                let answer = self.send(cx, &Request::new(Method::GET, url)).await?;
                answer.read(cx).await
            };
            match read.await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => retry::wait(cx, &mut attempts, error).await?,
            }
        }
    }

    /// Sends a request once, and follows its redirects; what is no success is an error.
    pub(super) async fn send(&self, cx: &Cx, request: &Request<'_>) -> Result<Answer> {
        let place = place(request.url);
        let credentials = self.options().logins.of(request.url);
        let mut authorization = credentials.map(super::Credentials::basic);
        let mut url = request.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self
                .exchange(cx, request, &url, authorization.as_ref())
                .await?;
            let status = response.status();
            let is_get = matches!(request.method, Method::GET | Method::HEAD);
            let follows = match status {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => is_get,
                _ => false,
            };
            let returned = request.redirects == Redirects::Return && status.is_redirection();
            if status.is_success() || returned {
                return Ok(Answer {
                    response,
                    place,
                    stall: self.options().stall,
                    method: request.method.clone(),
                });
            }
            if !follows {
                let user = match &authorization {
                    Some(_) => credentials.map(|credentials| credentials.user().to_owned()),
                    None => None,
                };
                let stall = self.options().stall;
                return Err(
                    answer::error(response, request.method.clone(), place, user, stall).await,
                );
            }
            let next = location(&url, response.headers())
                .ok_or_else(|| Error::protocol(&place, "it redirects to no address"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(redirect(place, &next, "it has no TLS"));
            }
            if !address::is_same_origin(&url, &next) {
                // For good: whoever redirects back here is not whom we asked.
                authorization = None;
            }
            url = next;
        }
        Err(redirect(place, &url, "there were 10 redirects before it"))
    }

    async fn exchange(
        &self,
        cx: &Cx,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response> {
        let mut outgoing = reqwest::Request::new(request.method.clone(), url.clone());
        let moved = Arc::new(AtomicU64::new(0));
        let length = match &request.payload {
            Payload::None => None,
            Payload::Bytes(bytes) => {
                *outgoing.body_mut() = Some(bytes.clone().into());
                Some(bytes.len() as u64)
            }
            Payload::File { path, size, task } => {
                *outgoing.body_mut() = Some(file_body(path, *size, task, Arc::clone(&moved)));
                Some(*size)
            }
        };
        let headers = outgoing.headers_mut();
        *headers = request.headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            let octets = HeaderValue::from_static("application/octet-stream");
            headers.entry(CONTENT_TYPE).or_insert(octets);
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        tracing::debug!(method = %request.method, url = %place(url), "request");
        let exchange = self.http(url)?.execute(outgoing);
        let stall = self.options().stall;
        let result = unless_cancelled(cx, unless_stalled(exchange, stall, &moved)).await?;
        let response = result
            .ok_or_else(|| Error::Stalled {
                place: place(request.url),
                after: stall,
            })?
            .map_err(|error| transport(&place(request.url), &request.method, error))?;
        tracing::debug!(status = response.status().as_u16(), "answer");
        Ok(response)
    }

    fn http(&self, url: &Url) -> Result<reqwest::Client> {
        let is_tls = url.scheme() == "https";
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut made[usize::from(is_tls)];
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let build = || {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("gantry-talend/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(Duration::from_secs(30))
                .redirect(redirect::Policy::none())
                .referer(false)
                .retry(reqwest::retry::never());
            if self.options().proxies == Proxies::None {
                builder = builder.no_proxy();
            }
            if is_tls {
                for pem in &self.options().authorities {
                    let bundle = reqwest::Certificate::from_pem_bundle(pem)?;
                    builder = builder.tls_certs_merge(bundle);
                }
            } else {
                builder = builder.tls_certs_only([]);
            }
            builder.build()
        };
        let client = build().map_err(|error| Error::Tls {
            source: error.without_url().into(),
        })?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

impl Answer {
    /// The next piece of the body; none at its end.
    pub(super) async fn chunk(&mut self, cx: &Cx) -> Result<Option<Bytes>> {
        let chunk = tokio::time::timeout(self.stall, self.response.chunk());
        match unless_cancelled(cx, chunk).await? {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(transport(&self.place, &self.method, error)),
            Err(_) => Err(Error::Stalled {
                place: self.place.clone(),
                after: self.stall,
            }),
        }
    }

    /// The whole body of a document.
    pub(super) async fn read(mut self, cx: &Cx) -> Result<Bytes> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk(cx).await? {
            if whole.len() + chunk.len() > DOCUMENT_LIMIT {
                return Err(Error::TooLarge {
                    place: self.place,
                    limit: DOCUMENT_LIMIT as u64,
                });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// A header that is text.
    pub(super) fn header(&self, name: reqwest::header::HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

/// Where a redirect leads.
pub(super) fn location(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let url = from.join(location).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// What `Retry-After` asks for.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let field = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry::retry_after(field, SystemTime::now())
}

/// Awaits `work`, or fails as soon as cancelled, dropping it.
pub(super) async fn unless_cancelled<T>(cx: &Cx, work: impl Future<Output = T>) -> Result<T> {
    cx.check()?;
    let (stop, work) = (std::pin::pin!(cx.cancelled()), std::pin::pin!(work));
    match future::select(work, stop).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(Error::Cancelled),
    }
}

/// Awaits `work` as long as `moved` grows; none if it did not.
async fn unless_stalled<T>(
    work: impl Future<Output = T>,
    stall: Duration,
    moved: &AtomicU64,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let before = moved.load(Ordering::Relaxed);
        let sleep = std::pin::pin!(tokio::time::sleep(stall));
        match future::select(work.as_mut(), sleep).await {
            Either::Left((done, _)) => return Some(done),
            Either::Right(_) if moved.load(Ordering::Relaxed) > before => {}
            Either::Right(_) => return None,
        }
    }
}

fn file_body(path: &Path, size: u64, task: &Task, moved: Arc<AtomicU64>) -> reqwest::Body {
    // Only the size counts: the digest is for ports, which name content by it.
    let descriptor = Descriptor::new(MediaType::OCI_LAYER, Digest::of(b""), size);
    let blob = FileBlob::described(descriptor, path);
    let task = task.clone();
    let counted = blob.open(0..size).map(move |chunk| {
        let chunk = chunk?;
        moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        task.add(chunk.len() as u64)?;
        Ok::<_, ocicore::Error>(chunk)
    });
    reqwest::Body::wrap_stream(counted)
}

fn redirect(place: String, target: &Url, reason: &'static str) -> Error {
    Error::Redirect {
        place,
        target: address::place(target),
        reason,
    }
}

/// An error of the connection, without its address, whose query may hold a signature.
fn transport(place: &str, method: &Method, error: reqwest::Error) -> Error {
    let error = error.without_url();
    Error::Transport {
        place: place.to_owned(),
        method: method.to_string(),
        class: match error.is_builder() || is_untrusted(&error) {
            true => Class::Other,
            false => Class::Transient,
        },
        source: error.into(),
    }
}

/// What TLS refuses is refused again: rustls puts its errors into `InvalidData`, and the layers
/// above put that into another I/O error, whose source it is not.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = match error.downcast_ref::<std::io::Error>() {
        Some(io) if io.kind() == std::io::ErrorKind::InvalidData => return true,
        Some(io) => io.get_ref().map(|inner| inner as _),
        None => None,
    };
    inner.or(error.source()).is_some_and(is_untrusted)
}
