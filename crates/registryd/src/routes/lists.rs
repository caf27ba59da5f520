use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use ocicore::{Descriptor, Digest, MediaType, RepositoryPath, Tag};
use serde::Serialize;
use serde_json::json;

use super::{App, Call, FILTERS_APPLIED, json_answer, set};
use crate::{Error, Result, auth::Access, proxy};

/// Entries of a page where the client names no number.
const PAGE: usize = 1000;
/// Entries of a page at most.
const LARGEST_PAGE: usize = 10_000;

/// `GET /v2/_catalog`, as Docker's registry has it.
pub(super) async fn catalog(app: &App, call: &Call) -> Result<Response<Body>> {
    let limit = limit(call)?;
    let last = call.parameter("last").unwrap_or_default();
    let mut all = app.links.catalog().await?;
    if !call.identity.lists_all() {
        all.retain(|name| call.identity.allows(name, Access::Read));
    }
    let mut names = all.iter().filter(|name| name.as_str() > last.as_str());
    let items: Vec<_> = names.by_ref().take(limit).collect();
    let more = limit > 0 && names.next().is_some();
    let mut response = answer(&json!({ "repositories": items }));
    if let (true, Some(last)) = (more, items.last()) {
        let query = [("n", items.len().to_string()), ("last", last.to_string())];
        link(&mut response, "/v2/_catalog", query.into())?;
    }
    Ok(response)
}

/// `GET` of the tags (distribution-spec §Listing tags).
pub(super) async fn tags(
    app: &App,
    call: &Call,
    repository: &RepositoryPath,
) -> Result<Response<Body>> {
    let limit = limit(call)?;
    let last = call.parameter("last").filter(|last| !last.is_empty());
    let route = super::route(app, call, repository).await?;
    let local = &route.local;
    let page = match last.as_ref().map(|last| (last, last.parse::<Tag>())) {
        None => app.links.tags(local, None, limit).await?,
        Some((_, Ok(tag))) => app.links.tags(local, Some(&tag), limit).await?,
        // It need not be a tag to have a place among them.
        Some((last, Err(_))) => {
            let mut all = app.links.tags(local, None, usize::MAX).await?;
            all.items.retain(|tag| tag.as_str() > last.as_str());
            all.more = all.items.len() > limit;
            all.items.truncate(limit);
            all
        }
    };
    if page.items.is_empty() && !app.links.exists(local).await? {
        return Err(Error::RepositoryUnknown {
            repository: repository.to_string(),
        });
    }
    let mut response = answer(&json!({ "name": repository, "tags": page.items }));
    if let (true, Some(last)) = (page.more, page.items.last()) {
        let mut query = vec![("n", limit.to_string()), ("last", last.to_string())];
        query.extend(call.namespace().map(|host| ("ns", host)));
        let path = format!("/v2/{repository}/tags/list");
        link(&mut response, &path, query)?;
    }
    Ok(response)
}

/// `GET` of the referrers (distribution-spec §Listing Referrers): an index, never a 404.
pub(super) async fn referrers(
    app: &App,
    call: &Call,
    repository: &RepositoryPath,
    subject: &Digest,
) -> Result<Response<Body>> {
    let limit = limit(call)?.max(1);
    let after = call.parameter("last").and_then(|last| last.parse().ok());
    let filter = call.parameter("artifactType");
    let wanted: Option<MediaType> = match &filter {
        Some(text) => Some(text.parse().map_err(|_| Error::Parameter {
            what: "artifactType",
            value: text.chars().take(256).collect(),
            expected: "a media type",
        })?),
        None => None,
    };
    let route = super::route(app, call, repository).await?;
    let (wanted, after) = (wanted.as_ref(), after.as_ref());
    let here = app
        .links
        .referrers(&route.local, subject, wanted, after, limit)
        .await?;
    let there = app.proxy.referrers(&app.cx, &route, subject).await;
    let page = proxy::merge(here, there, wanted, after, limit);
    let mut response = answer(&Index {
        schema_version: 2,
        media_type: MediaType::OCI_INDEX,
        manifests: &page.items,
    });
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.oci.image.index.v1+json"),
    );
    if filter.is_some() {
        set(&mut response, FILTERS_APPLIED, "artifactType")?;
    }
    if let (true, Some(last)) = (page.more, page.items.last()) {
        let mut query = vec![
            ("n", limit.to_string()),
            ("last", last.digest().to_string()),
        ];
        query.extend(filter.map(|filter| ("artifactType", filter)));
        query.extend(call.namespace().map(|host| ("ns", host)));
        let path = format!("/v2/{repository}/referrers/{subject}");
        link(&mut response, &path, query)?;
    }
    Ok(response)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: MediaType,
    manifests: &'a [Descriptor],
}

fn answer(document: &impl Serialize) -> Response<Body> {
    // None of the documents here can fail to be written: they hold strings and lists only.
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    json_answer(StatusCode::OK, bytes.into())
}

fn limit(call: &Call) -> Result<usize> {
    match call.parameter("n") {
        None => Ok(PAGE),
        Some(value) => match value.parse::<usize>() {
            Ok(n) => Ok(n.min(LARGEST_PAGE)),
            Err(_) => Err(Error::Parameter {
                what: "n",
                value: value.chars().take(256).collect(),
                expected: "a number",
            }),
        },
    }
}

/// The next page (RFC 8288).
fn link(response: &mut Response<Body>, path: &str, query: Vec<(&str, String)>) -> Result<()> {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    set(
        response,
        header::LINK,
        format!("<{path}?{query}>; rel=\"next\""),
    )
}
