use axum::{
    body::Body,
    http::{Method, Response, StatusCode, header},
};
use ocicore::{Digest, RepositoryPath};

use super::{
    App, Call, DIGEST, empty,
    range::{self, Wanted},
    set,
};
use crate::{
    Error, Result,
    links::blob_unknown,
    proxy::{Arrival, Until},
};

/// `GET` and `HEAD` of a blob (distribution-spec §Pulling blobs).
pub(super) async fn get(
    app: &App,
    call: &Call,
    repository: &RepositoryPath,
    digest: &Digest,
) -> Result<Response<Body>> {
    let head = call.method == Method::HEAD;
    let route = super::route(app, call, repository).await?;
    let here = if head {
        // Who asks this is about to skip an upload.
        app.links.use_blob(&route.local, digest).await?
    } else {
        app.links.blob(&route.local, digest).await?
    };
    let content = match here {
        Some(size) => Some(Arrival::Landed(size)),
        None => {
            let until = if head { Until::Landed } else { Until::Begun };
            let proxy = &app.proxy;
            proxy
                .blob(&app.cx, &app.links, &route, digest, until)
                .await?
        }
    };
    let content = content.ok_or_else(|| blob_unknown(repository, digest))?;
    let size = match &content {
        Arrival::Landed(size) => *size,
        Arrival::Coming(flight) => flight.size(),
    };
    // Of `GET` only (RFC 9110 §14.2).
    let asked = call.header(&header::RANGE).filter(|_| !head);
    let wanted = range::parse(asked, size);
    let (status, range) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Unsatisfiable => {
            return Err(Error::Range {
                range: call.header(&header::RANGE).unwrap_or_default().to_owned(),
                size,
            });
        }
    };
    let mut response = if call.has_etag(digest) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = empty(status);
        set(
            &mut response,
            header::CONTENT_LENGTH,
            range.end - range.start,
        )?;
        set(
            &mut response,
            header::CONTENT_TYPE,
            "application/octet-stream",
        )?;
        if status == StatusCode::PARTIAL_CONTENT {
            let (first, last) = (range.start, range.end - 1);
            let value = format!("bytes {first}-{last}/{size}");
            set(&mut response, header::CONTENT_RANGE, value)?;
        }
        if !head {
            let content = match content {
                Arrival::Landed(_) => {
                    let links = &app.links;
                    links.open_blob(&route.local, digest, size, range).await?
                }
                Arrival::Coming(flight) => flight.read(range),
            };
            *response.body_mut() = Body::from_stream(content);
        }
        response
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes")?;
    set(&mut response, header::ETAG, format!("\"{digest}\""))?;
    set(&mut response, DIGEST, digest)?;
    Ok(response)
}

/// `DELETE` of a blob (distribution-spec §Deleting blobs).
pub(super) async fn delete(
    app: &App,
    repository: &RepositoryPath,
    digest: &Digest,
) -> Result<Response<Body>> {
    if app.links.delete_blob(repository, digest).await? {
        Ok(empty(StatusCode::ACCEPTED))
    } else {
        Err(blob_unknown(repository, digest))
    }
}
