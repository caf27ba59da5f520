//! HTTP with an engine: one connection for each request, so that a dropped answer is a closed
//! connection, by which the engine learns that nobody waits any more.

use std::{error::Error as StdError, io, pin::Pin, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Body, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{Endpoint, fault::Refusal};
use crate::{Error, Result};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest text of an error that is read.
const ERROR_LIMIT: usize = 1 << 20;

pub(super) type Answer = Response<Incoming>;

/// What a request can fail by.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no connection")]
    Connect(#[source] Error),
    #[error("the connection broke")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the engine refused")]
    Refused(Refusal),
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A client for one engine.
#[derive(Clone, Debug)]
pub(super) struct Http {
    endpoint: Endpoint,
    /// `/v1.41`, or empty before it is known.
    prefix: String,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

impl Http {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self> {
        #[cfg(not(feature = "tls"))]
        if matches!(endpoint, Endpoint::Tls { .. }) {
            return Err(Error::Unsupported {
                engine: "this build".to_owned(),
                what: "do TLS; it needs the feature `tls` of the crate `engine`".to_owned(),
            });
        }
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: match &endpoint {
                Endpoint::Tls { certificates, .. } => Some(super::tls::config(certificates)?),
                _ => None,
            },
            endpoint,
            prefix: String::new(),
        })
    }

    pub(super) fn with_api(mut self, version: &str) -> Self {
        self.prefix = format!("/v{version}");
        self
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and gives the answer's head, whatever its status.
    pub(super) async fn send<B>(&self, mut request: Request<B>) -> Result<Answer, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let target = format!("{}{path}", self.prefix);
        *request.uri_mut() = target
            .parse::<Uri>()
            .map_err(|error| Failure::Broken(error.into()))?;
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("engine"));
        let io = match tokio::time::timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected.map_err(Failure::Connect)?,
            Err(elapsed) => return Err(Failure::Connect(self.unreachable(elapsed))),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|error| Failure::Broken(error.into()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                // Whoever reads the answer gets this, too.
                tracing::debug!(%error, "connection with the engine");
            }
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| Failure::Broken(error.into()))
    }

    /// Sends a request and gives the answer if it is a success or an upgrade.
    pub(super) async fn ask<B>(&self, request: Request<B>) -> Result<Answer, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let answer = self.send(request).await?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let body = Limited::new(answer.into_body(), ERROR_LIMIT);
        let text = body.collect().await.map_err(Failure::Broken)?.to_bytes();
        Err(Failure::Refused(Refusal::new(
            status.as_u16(),
            message(&text),
        )))
    }

    async fn connect(&self) -> Result<Pin<Box<dyn Io>>> {
        match &self.endpoint {
            Endpoint::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::pin(stream)),
                Err(error) => Err(self.refused(error)),
            },
            Endpoint::Tcp(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::pin(stream)),
                Err(error) => Err(self.refused(error)),
            },
            #[cfg(feature = "tls")]
            Endpoint::Tls { address, .. } => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|error| self.refused(error))?;
                match &self.tls {
                    Some(config) => super::tls::connect(config, address, stream)
                        .await
                        .map(|stream| Box::pin(stream) as Pin<Box<dyn Io>>)
                        .map_err(|error| self.unreachable(error)),
                    None => Err(self.unreachable("TLS is not set up")),
                }
            }
            #[cfg(not(feature = "tls"))]
            Endpoint::Tls { .. } => Err(self.unreachable("TLS is not built in")),
        }
    }

    fn refused(&self, error: io::Error) -> Error {
        let endpoint = self.endpoint.to_string();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::SocketDenied {
                endpoint,
                source: error,
            },
            io::ErrorKind::NotFound if matches!(self.endpoint, Endpoint::Unix(_)) => {
                Error::NoSocket { endpoint }
            }
            _ => self.unreachable(error),
        }
    }

    fn unreachable(&self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint.to_string(),
            source: source.into(),
        }
    }
}

/// The text of an error: JSON with `message`, or plain.
fn message(body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Message>(body) {
        Ok(body) => body.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
