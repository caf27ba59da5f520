//! One request to a registry's API: with credentials, and tried again.

use bytes::Bytes;
use ocicore::{Class, Cx, RepositoryPath};
use reqwest::{Method, StatusCode, header::HeaderMap};
use url::Url;

use crate::{
    Error, Result, Retry,
    auth::{Scopes, Target},
    client::Inner,
    endpoint::{self, Endpoint},
    retry::Attempts,
    wire::{Incoming, Outgoing, Payload},
};

/// A request to the API of `host`.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) host: &'a str,
    pub(crate) path: Option<&'a RepositoryPath>,
    pub(crate) scopes: Scopes,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) retry: &'a Retry,
    /// Statuses that are no errors.
    pub(crate) expected: &'a [u16],
}

impl Inner {
    /// Sends a request that does the same when it is sent twice, until it has an expected answer.
    pub(crate) async fn call(&self, cx: &Cx, call: &Call<'_>) -> Result<Incoming> {
        let mut attempts = Attempts::new(call.retry);
        loop {
            let error = match self.call_once(cx, call).await {
                Ok(incoming) => return Ok(incoming),
                Err(error) => error,
            };
            self.pause(cx, &mut attempts, error).await?;
        }
    }

    /// Sends a request until its answer is there as a whole: what `head` makes of the answer's
    /// head, and its body, `what`, of at most `limit` bytes.
    pub(crate) async fn document<T>(
        &self,
        cx: &Cx,
        call: &Call<'_>,
        (what, limit): (&str, u64),
        head: impl Fn(&Incoming) -> Result<T>,
    ) -> Result<(T, Bytes)> {
        let mut attempts = Attempts::new(call.retry);
        loop {
            let read = Box::pin(async {
                let incoming = self.call_once(cx, call).await?;
                let head = head(&incoming)?;
                Ok((head, incoming.read(what, limit).await?))
            });
            match read.await {
                Ok(document) => return Ok(document),
                Err(error) => self.pause(cx, &mut attempts, error).await?,
            }
        }
    }

    /// Waits before the next attempt, or fails with `error` if there is none.
    pub(crate) async fn pause(&self, cx: &Cx, attempts: &mut Attempts, error: Error) -> Result<()> {
        self.pause_as(error.class(), cx, attempts, error).await
    }

    /// The same for an error that counts as one of `class` here.
    pub(crate) async fn pause_as(
        &self,
        class: Class,
        cx: &Cx,
        attempts: &mut Attempts,
        error: Error,
    ) -> Result<()> {
        let asked = error.answer().and_then(crate::Answer::retry_after);
        let Some(pause) = attempts.pause(class, asked) else {
            return Err(error);
        };
        tracing::debug!(%error, ?pause, "trying again");
        cx.or_cancelled(async {
            tokio::time::sleep(pause).await;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Sends a request once, or twice if the registry asks for credentials or for others.
    pub(crate) async fn call_once(&self, cx: &Cx, call: &Call<'_>) -> Result<Incoming> {
        // The state of an exchange is large, and many futures hold one.
        Box::pin(self.exchange(cx, call)).await
    }

    async fn exchange(&self, cx: &Cx, call: &Call<'_>) -> Result<Incoming> {
        let mut place = endpoint::place(call.host, call.path);
        // An upload's location may be elsewhere, where credentials do not belong, nor without TLS
        // what came by it.
        if call.endpoint.base().scheme() == "https" {
            self.wire.refuse_plain(&place, &call.url)?;
        }
        let is_ours = endpoint::is_same_origin(&call.url, call.endpoint.base());
        let target = Target {
            host: call.host,
            path: call.path,
            scopes: &call.scopes,
        };
        let authenticator = &self.authenticator;
        let sent = match is_ours {
            true => authenticator.authorization(cx, &self.wire, target).await?,
            false => None,
        };
        if !is_ours {
            place += &format!(" at {}", endpoint::authority(&call.url));
        }
        let mut outgoing = Outgoing {
            method: call.method.clone(),
            url: call.url.clone(),
            place,
            headers: call.headers.clone(),
            authorization: sent.as_ref().map(|sent| sent.header.clone()),
            payload: call.payload.clone(),
        };
        let mut incoming = self.wire.send(&outgoing).await?;
        // A storage to which it redirects knows no logins.
        let is_theirs = |incoming: &Incoming| {
            is_ours && endpoint::is_same_origin(&incoming.url, call.endpoint.base())
        };
        if incoming.status() == StatusCode::UNAUTHORIZED.as_u16() && is_theirs(&incoming) {
            let asked = (&incoming.url, incoming.headers());
            let better = authenticator.answer(cx, &self.wire, target, asked, sent.as_ref());
            if let Some(better) = better.await? {
                outgoing.authorization = Some(better.header);
                incoming = self.wire.send(&outgoing).await?;
            }
        }
        let by_registry = is_theirs(&incoming);
        let answered = incoming.expect(call.expected).await;
        let login = || by_registry.then(|| authenticator.login(target)).flatten();
        let sent = outgoing.authorization.as_ref();
        let is_token = sent.is_some_and(|sent| sent.as_bytes().starts_with(b"Bearer "));
        answered.map_err(|error| error.with_login(call.host, login(), is_token))
    }
}
