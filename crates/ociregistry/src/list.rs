//! Lists that come page by page (distribution-spec §Listing Tags; distribution, "Listing
//! Repositories").

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{BoxStream, Class, Cx, Repository, RepositoryPath, Tag};
use reqwest::{
    Method,
    header::{HeaderMap, LINK},
};
use serde::Deserialize;
use url::Url;

use crate::{
    Error, Registry, Result,
    auth::Scopes,
    call::Call,
    client::Inner,
    endpoint::{self, Endpoint},
    hosts::Site,
    store::RegistryStore,
    wire::{Incoming, Payload},
};

/// Most pages without an entry in a row: a list that never ends nor says anything is no list.
const MOST_EMPTY_PAGES: usize = 100;
/// What a page counts as at least, in bytes.
pub(crate) const SMALLEST_PAGE: u64 = 1 << 10;

/// The tags of a repository. One that does not exist yet has none.
pub(crate) fn tags(store: RegistryStore, cx: Cx) -> BoxStream<Tag> {
    let Site {
        endpoint,
        host,
        path,
        ..
    } = store.home;
    let place = endpoint::place(&host, Some(&path));
    let pages = Pages {
        what: "tags",
        next: Some(endpoint.tags(&path)),
        scopes: Scopes::pull(&path),
        empty: 0,
        room: store.registry.0.limits.documents(),
        registry: store.registry,
        endpoint,
        cx,
        host,
        path: Some(path),
    };
    pages
        .stream()
        .and_then(move |tag| {
            let bad = |error| Error::content(&place, error).into_port("list", "tags", &place);
            std::future::ready(tag.parse::<Tag>().map_err(bad))
        })
        .boxed()
}

/// The repositories of a host.
pub(crate) fn catalog(registry: Registry, cx: Cx, host: String) -> BoxStream<Repository> {
    let endpoint = match registry.0.hosts.endpoint(&host) {
        Ok(endpoint) => endpoint,
        Err(error) => return failed(error.into_port("list", "repositories", host)),
    };
    let pages = Pages {
        what: "repositories",
        next: Some(endpoint.catalog()),
        scopes: Scopes::catalog(),
        empty: 0,
        room: registry.0.limits.documents(),
        registry,
        endpoint,
        cx,
        host: host.clone(),
        path: None,
    };
    let repository = move |path: String| {
        let parsed = path.parse().and_then(|path| Repository::new(&host, path));
        let bad = |error| Error::content(&host, error).into_port("list", "repositories", &host);
        parsed.map_err(bad)
    };
    pages
        .stream()
        .and_then(move |path| std::future::ready(repository(path)))
        .boxed()
}

/// The repositories of all hosts that are known by name.
pub(crate) fn catalogs(registry: Registry, cx: Cx) -> BoxStream<Repository> {
    let hosts: Vec<_> = registry.0.names.iter().cloned().collect();
    if hosts.is_empty() {
        return failed(ocicore::Error::store(
            "list",
            "repositories",
            "all registries",
            Class::Unsupported,
            "no host was named to the client",
        ));
    }
    stream::iter(hosts)
        .map(move |host| catalog(registry.clone(), cx.clone(), host))
        .flatten()
        .boxed()
}

/// A page of a list, and where the next one is.
pub(crate) async fn read_page(
    inner: &Inner,
    cx: &Cx,
    call: &Call<'_>,
    limit: u64,
) -> Result<(Option<Url>, Bytes)> {
    let next = |incoming: &Incoming| {
        next_page(call.endpoint, &incoming.url, incoming.headers())
            .map_err(|fault| Error::protocol(&incoming.place, fault))
    };
    inner.document(cx, call, ("the list", limit), next).await
}

/// The next page of a list, if there is one: on the same server, and another than this one.
fn next_page(endpoint: &Endpoint, url: &Url, headers: &HeaderMap) -> Result<Option<Url>, String> {
    let fields = headers.get_all(LINK).iter();
    let Some(link) = endpoint::next_link(fields.filter_map(|field| field.to_str().ok())) else {
        return Ok(None);
    };
    let next = endpoint::join(url, &link)?;
    if !endpoint::is_same_origin(&next, endpoint.base()) {
        let shown = endpoint::redacted(&next);
        return Err(format!(
            "the next page of its list is elsewhere, at `{shown}`"
        ));
    }
    if next == *url {
        return Err("the next page of its list is the same again".to_owned());
    }
    Ok(Some(next))
}

#[derive(Debug)]
struct Pages {
    registry: Registry,
    cx: Cx,
    endpoint: Endpoint,
    host: String,
    path: Option<RepositoryPath>,
    what: &'static str,
    scopes: Scopes,
    next: Option<Url>,
    empty: usize,
    /// Bytes that further pages may have.
    room: u64,
}

/// A page of either list; Go programs write an empty one as `null`.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl Pages {
    fn stream(self) -> BoxStream<String> {
        stream::try_unfold(
            (self, VecDeque::new()),
            |(mut pages, mut left)| async move {
                while left.is_empty() && pages.next.is_some() {
                    let cx = pages.cx.clone();
                    let page = async {
                        pages.page().await.map_err(|error| {
                            let place = endpoint::place(&pages.host, pages.path.as_ref());
                            error.into_port("list", pages.what, place)
                        })
                    };
                    left.extend(cx.or_cancelled(page).await?);
                }
                Ok(left.pop_front().map(|entry| (entry, (pages, left))))
            },
        )
        .boxed()
    }

    async fn page(&mut self) -> Result<Vec<String>> {
        let Some(url) = self.next.take() else {
            return Ok(Vec::new());
        };
        let call = Call {
            method: Method::GET,
            url,
            endpoint: &self.endpoint,
            host: &self.host,
            path: self.path.as_ref(),
            scopes: self.scopes.clone(),
            headers: HeaderMap::new(),
            payload: Payload::None,
            retry: &self.registry.0.retry,
            expected: &[200],
        };
        let inner = &self.registry.0;
        let place = endpoint::place(&self.host, self.path.as_ref());
        let (next, body) = match read_page(inner, &self.cx, &call, inner.limits.config()).await {
            // A repository that was never written to has no tags.
            Err(Error::Answer(answer)) if answer.is_missing() && self.path.is_some() => {
                return Ok(Vec::new());
            }
            page => page?,
        };
        // Who collects a list without an end would collect for ever.
        let taken = (body.len() as u64).max(SMALLEST_PAGE);
        self.room = self.room.checked_sub(taken).ok_or_else(|| {
            let (what, limit) = (self.what, inner.limits.documents());
            let what = format!("the list of {what} of `{place}`");
            Error::Store(ocicore::Error::Limit { what, limit })
        })?;
        let page: Page = serde_json::from_slice(&body).map_err(|error| {
            let fault = match body.trim_ascii_start().first() {
                Some(b'<') => "it sent a page for people, and may be no registry".to_owned(),
                _ => format!("its list cannot be read: {error}"),
            };
            Error::protocol(&place, fault)
        })?;
        // Pages come in lexical order, but what is in one may not: docker-registry sends all tags
        // at once as they come.
        let mut entries = page.tags.or(page.repositories).unwrap_or_default();
        entries.sort();
        self.empty = if entries.is_empty() {
            self.empty + 1
        } else {
            0
        };
        if self.empty > MOST_EMPTY_PAGES {
            let fault = format!("its list has {MOST_EMPTY_PAGES} empty pages in a row");
            return Err(Error::protocol(&place, fault));
        }
        self.next = next;
        Ok(entries)
    }
}

fn failed<T: Send + 'static>(error: ocicore::Error) -> BoxStream<T> {
    stream::once(std::future::ready(Err(error))).boxed()
}
