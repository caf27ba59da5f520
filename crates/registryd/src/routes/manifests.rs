use axum::{
    body::Body,
    http::{Method, Response, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use ocicore::{Algorithm, MediaType, Name, RawManifest, RepositoryPath, Tag, sniff_media_type};

use super::{App, Call, DIGEST, SUBJECT, TAG, empty, endpoint::malformed, incoming, set};
use crate::{Error, Noun, Result};

/// Tags that one request may set, besides the one in its path.
const MOST_TAGS: usize = 64;

/// `GET` and `HEAD` of a manifest (distribution-spec §Pulling manifests). Always the bytes as
/// stored, whatever `Accept` says: other bytes would have another digest.
pub(super) async fn get(
    app: &App,
    call: &Call,
    repository: &RepositoryPath,
    name: &Name,
) -> Result<Response<Body>> {
    let route = super::route(app, call, repository).await?;
    let found = match app.links.resolve(&route.local, name).await? {
        Some(found) => Some(found),
        None => {
            app.proxy
                .manifest(&app.cx, &app.links, &route, name)
                .await?
        }
    };
    let descriptor = found.ok_or_else(|| unknown(repository, name))?;
    let digest = descriptor.digest();
    let mut response = if call.has_etag(digest) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = empty(StatusCode::OK);
        set(&mut response, header::CONTENT_LENGTH, descriptor.size())?;
        set(&mut response, header::CONTENT_TYPE, descriptor.media_type())?;
        if call.method != Method::HEAD {
            let bytes = app.links.manifest(&route.local, &descriptor).await?;
            *response.body_mut() = Body::from(bytes);
        }
        response
    };
    set(&mut response, header::ETAG, format!("\"{digest}\""))?;
    set(&mut response, DIGEST, digest)?;
    Ok(response)
}

/// `PUT` of a manifest (distribution-spec §Pushing manifests).
pub(super) async fn put(
    app: &App,
    call: &Call,
    repository: &RepositoryPath,
    name: &Name,
    body: Body,
) -> Result<Response<Body>> {
    let mut tags: Vec<Tag> = name.tag().cloned().into_iter().collect();
    if name.digest().is_some() {
        for text in call.parameters("tag").take(MOST_TAGS) {
            let tag = text.parse().map_err(|fault| malformed(Noun::Tag, fault))?;
            tags.push(tag);
        }
    }
    // Many large ones at once would take much memory.
    let room = call.content_length().unwrap_or(app.limits.manifest);
    let room = room.min(app.limits.manifest).div_ceil(1024).max(1);
    let _room = app
        .manifests
        .acquire_many(u32::try_from(room).unwrap_or(u32::MAX))
        .await;
    let bytes = tokio::time::timeout(app.limits.header_time, read(app, call, body))
        .await
        .unwrap_or_else(|_| {
            let took = app.limits.header_time.as_secs_f64();
            Err(Error::Body {
                source: format!("it took longer than {took} s").into(),
            })
        })?;
    let manifest = describe(call, name, bytes)?;
    let subject = app.links.put_manifest(repository, &manifest, &tags).await?;
    let digest = manifest.digest();
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{repository}/manifests/{digest}");
    set(&mut response, header::LOCATION, location)?;
    set(&mut response, header::CONTENT_LENGTH, 0)?;
    set(&mut response, DIGEST, digest)?;
    if let Some(subject) = subject {
        set(&mut response, SUBJECT, subject)?;
    }
    if name.digest().is_some() {
        for tag in &tags {
            set(&mut response, TAG, tag)?;
        }
    }
    Ok(response)
}

/// `DELETE` of a tag or manifest (distribution-spec §Content Management).
pub(super) async fn delete(
    app: &App,
    repository: &RepositoryPath,
    name: &Name,
) -> Result<Response<Body>> {
    let there = match name {
        Name::Tag(tag) => app.links.delete_tag(repository, tag).await?,
        Name::Digest(digest) => app.links.delete_manifest(repository, digest).await?,
    };
    if there {
        Ok(empty(StatusCode::ACCEPTED))
    } else {
        Err(unknown(repository, name))
    }
}

pub(super) fn unknown(repository: &RepositoryPath, name: &Name) -> Error {
    Error::ManifestUnknown {
        repository: repository.to_string(),
        name: name.to_string(),
    }
}

async fn read(app: &App, call: &Call, body: Body) -> Result<Bytes> {
    let limit = app.limits.manifest;
    let too_large = || Error::TooLarge {
        what: "manifest",
        limit,
    };
    if call.content_length().is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let mut body = incoming(app, body);
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.try_next().await.map_err(|source| Error::Body {
        source: source.into(),
    })? {
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Media type and digest of what came. Parameters of the media type do not count.
fn describe(call: &Call, name: &Name, bytes: Bytes) -> Result<RawManifest> {
    let invalid = |error: ocicore::Error| Error::ManifestInvalid {
        source: error.into(),
    };
    let media_type: MediaType = match call.header(&header::CONTENT_TYPE) {
        Some(value) => value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .parse()
            .map_err(invalid)?,
        None => sniff_media_type(&bytes).map_err(invalid)?,
    };
    let expected = match name {
        Name::Digest(digest) => Some(*digest),
        Name::Tag(_) => super::digest_parameter(call)?,
    };
    match expected {
        None => Ok(RawManifest::with_algorithm(
            media_type,
            bytes,
            Algorithm::Sha256,
        )),
        Some(digest) => {
            RawManifest::verified(media_type, bytes, &digest).map_err(|error| match error {
                ocicore::Error::Digest { expected, actual } => {
                    Error::DigestMismatch { expected, actual }
                }
                other => other.into(),
            })
        }
    }
}
