//! The endpoints of the distribution specification over HTTP.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ocicore::{BoxStream, Class, Cx, Digest, RepositoryPath, in_one_line};
use tokio::sync::Semaphore;

pub(crate) use self::endpoint::Endpoint;
use crate::{
    Error, Limits, Result,
    auth::{Access, Auth, Identity, Need},
    links::Links,
    metrics::Metrics,
    proxy::{Proxy, Route},
    server::Transport,
    slots::Slots,
};

mod blobs;
mod endpoint;
mod lists;
mod manifests;
mod range;
mod token;
mod uploads;

pub(crate) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) links: Arc<Links>,
    pub(crate) limits: Limits,
    pub(crate) auth: Auth,
    pub(crate) cx: Cx,
    pub(crate) transport: Transport,
    pub(crate) slots: Arc<Slots>,
    /// KiB of manifests that may be read now.
    pub(crate) manifests: Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) proxy: Arc<Proxy>,
}

/// A request, as far as its head goes.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// `https://HOST` as the client calls this server.
    pub(crate) origin: String,
    pub(crate) identity: Identity,
    pub(crate) client: IpAddr,
}

impl Call {
    /// The first value of a parameter, decoded.
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).next()
    }

    fn parameters(&self, name: &str) -> impl Iterator<Item = String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The registry that a client means when it asks a mirror.
    fn namespace(&self) -> Option<String> {
        self.parameter("ns")
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the client says to have that content (RFC 9110 §13.1.2).
    fn has_etag(&self, digest: &Digest) -> bool {
        self.header(&header::IF_NONE_MATCH)
            .is_some_and(|value| value.contains(&format!("\"{digest}\"")))
    }

    /// Length of the body, if it was announced.
    fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }
}

/// Answers one request, counts it and logs it.
pub(crate) async fn handle(
    app: Arc<App>,
    client: IpAddr,
    request: Request<Body>,
) -> Response<Body> {
    let begin = Instant::now();
    let (parts, body) = request.into_parts();
    let host = parts.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let call = Call {
        origin: format!("{}://{host}", app.transport.scheme()),
        identity: app.auth.identify(&app.cx, &parts.headers).await,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        method: parts.method,
        headers: parts.headers,
        client,
    };
    let (method, path) = (call.method.clone(), call.path.clone());
    let user = call.identity.name.clone();
    let response = match dispatch(&app, call, body).await {
        Ok(response) => response,
        Err(error) => refuse(error),
    };
    let (status, took) = (response.status().as_u16(), begin.elapsed());
    let bytes = response.headers().get(header::CONTENT_LENGTH);
    let bytes = bytes.and_then(|bytes| bytes.to_str().ok()?.parse().ok());
    let bytes: u64 = match method {
        Method::HEAD => 0,
        _ => bytes.unwrap_or_default(),
    };
    app.metrics.request(method.as_str(), status, took);
    app.metrics.sent.fetch_add(bytes, Ordering::Relaxed);
    tracing::info!(
        target: "registryd::access",
        %client,
        user,
        %method,
        path,
        status,
        bytes,
        // Wider integers are text to most subscribers.
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    );
    response
}

fn refuse(error: Error) -> Response<Body> {
    let mut response = fault(&error);
    let extra = match error {
        Error::Range { size, .. } => Some((header::CONTENT_RANGE, format!("bytes */{size}"))),
        Error::Unauthorized { challenge } => Some((header::WWW_AUTHENTICATE, challenge)),
        Error::TooManyUploads { .. } => Some((header::RETRY_AFTER, "1".to_owned())),
        _ => None,
    };
    if let Some((name, value)) = extra
        && let Ok(value) = HeaderValue::try_from(value)
    {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn dispatch(app: &Arc<App>, call: Call, body: Body) -> Result<Response<Body>> {
    match call.path.as_str() {
        "/auth/token" if app.auth.has_tokens() => return token::issue(app, call, body).await,
        "/healthz" => {
            app.links.ping().await?;
            return Ok(text("ok\n"));
        }
        "/metrics" => return Ok(text(&app.metrics.render())),
        _ => {}
    }
    let endpoint = Endpoint::parse(call.method.as_str(), &call.path)?;
    let method = match call.method {
        // The length of what `GET` would give; the connection leaves the body out.
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    // Else `route` finds out which repository is meant, and checks that one.
    if method != Method::GET || call.namespace().is_none() || !endpoint.is_read_by_name() {
        app.auth
            .check(&call.identity, &need(&method, &endpoint), &call.origin)?;
    }
    match (method, &endpoint) {
        (Method::GET, Endpoint::Base) => Ok(json_answer(StatusCode::OK, Bytes::from_static(b"{}"))),
        (Method::GET, Endpoint::Catalog) => lists::catalog(app, &call).await,
        (Method::GET, Endpoint::Tags(name)) => lists::tags(app, &call, name).await,
        (Method::GET, Endpoint::Referrers(name, subject)) => {
            lists::referrers(app, &call, name, subject).await
        }
        (Method::GET, Endpoint::Manifest(name, reference)) => {
            manifests::get(app, &call, name, reference).await
        }
        (Method::PUT, Endpoint::Manifest(name, reference)) => {
            manifests::put(app, &call, name, reference, body).await
        }
        (Method::DELETE, Endpoint::Manifest(name, reference)) => {
            manifests::delete(app, name, reference).await
        }
        (Method::GET, Endpoint::Blob(name, digest)) => blobs::get(app, &call, name, digest).await,
        (Method::DELETE, Endpoint::Blob(name, digest)) => blobs::delete(app, name, digest).await,
        (Method::POST, Endpoint::Uploads(name)) => uploads::post(app, call, name, body).await,
        (Method::GET, Endpoint::Upload(name, id)) => uploads::status(app, name, id).await,
        (Method::PATCH, Endpoint::Upload(name, id)) => {
            uploads::patch(app, call, name, id, body).await
        }
        (Method::PUT, Endpoint::Upload(name, id)) => uploads::put(app, call, name, id, body).await,
        (Method::DELETE, Endpoint::Upload(name, id)) => uploads::cancel(app, name, id).await,
        (Method::OPTIONS, _) => {
            let mut response = empty(StatusCode::NO_CONTENT);
            set(&mut response, header::ALLOW, endpoint.methods())?;
            Ok(response)
        }
        _ => {
            let mut response = fault(&no_endpoint(&call));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            set(&mut response, header::ALLOW, endpoint.methods())?;
            Ok(response)
        }
    }
}

/// Where to look for what a request reads, as far as its sender may.
async fn route(app: &App, call: &Call, name: &RepositoryPath) -> Result<Route> {
    let namespace = call.namespace();
    let route = app
        .proxy
        .route(&app.links, name, namespace.as_deref())
        .await?;
    if namespace.is_some() {
        let need = Need::Repository(&route.local, Access::Read);
        app.auth.check(&call.identity, &need, &call.origin)?;
    }
    Ok(route)
}

/// What somebody must be allowed to do for a request.
fn need<'a>(method: &Method, endpoint: &'a Endpoint) -> Need<'a> {
    match endpoint {
        Endpoint::Base => Need::Login,
        Endpoint::Catalog => Need::Catalog,
        Endpoint::Uploads(name) | Endpoint::Upload(name, _) => {
            Need::Repository(name, Access::Write)
        }
        Endpoint::Tags(name)
        | Endpoint::Manifest(name, _)
        | Endpoint::Blob(name, _)
        | Endpoint::Referrers(name, _) => {
            let access = match *method {
                Method::GET | Method::OPTIONS => Access::Read,
                _ => Access::Write,
            };
            Need::Repository(name, access)
        }
    }
}

fn no_endpoint(call: &Call) -> Error {
    Error::NoEndpoint {
        method: call.method.to_string(),
        path: call.path.chars().take(512).collect(),
    }
}

/// An answer without body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

fn json_answer(status: StatusCode, document: Bytes) -> Response<Body> {
    let mut response = empty(status);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, document.len().into());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    *response.body_mut() = Body::from(document);
    response
}

fn text(text: &str) -> Response<Body> {
    let mut response = json_answer(StatusCode::OK, Bytes::copy_from_slice(text.as_bytes()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

/// Sets a header whose value is made of parsed nouns.
fn set(response: &mut Response<Body>, name: HeaderName, value: impl ToString) -> Result<()> {
    let value = value.to_string();
    let value = HeaderValue::try_from(&value).map_err(|_| Error::Parameter {
        what: "header value",
        value,
        expected: "visible ASCII characters",
    })?;
    response.headers_mut().append(name, value);
    Ok(())
}

/// An error as the specification wants it (§Error codes).
pub(crate) fn fault(error: &Error) -> Response<Body> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut message = error.to_string();
    if status.is_server_error() {
        tracing::error!(error = %in_one_line(error), "a request failed");
        // What lies behind is for the log, as it may name paths.
        if !matches!(error, Error::Upstream { .. }) {
            "the storage failed".clone_into(&mut message);
        }
    } else {
        message = in_one_line(error);
    }
    let document = serde_json::json!({
        "errors": [{ "code": error.code(), "message": message, "detail": null }]
    });
    json_answer(status, document.to_string().into())
}

/// A request's body as the storage takes it. It fails when nothing comes for too long.
fn incoming(app: &App, body: Body) -> BoxStream<Bytes> {
    let silence = app.limits.silence;
    stream::unfold(Some(body.into_data_stream()), move |body| async move {
        let mut body = body?;
        let next = match tokio::time::timeout(silence, body.next()).await {
            Ok(next) => next?.map_err(Box::from),
            Err(_) => Err(format!("nothing came for {} s", silence.as_secs_f64()).into()),
        };
        Some(match next {
            Ok(chunk) => (Ok(chunk), Some(body)),
            Err(error) => (Err(unread(error)), None),
        })
    })
    .boxed()
}

fn unread(error: Box<dyn std::error::Error + Send + Sync>) -> ocicore::Error {
    ocicore::Error::store("read", "body", "the request", Class::Transient, error)
}

fn digest_parameter(call: &Call) -> Result<Option<Digest>> {
    call.parameter("digest")
        .map(|text| endpoint::parse_digest(&text))
        .transpose()
}
