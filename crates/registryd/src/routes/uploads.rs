use std::sync::{Arc, atomic::Ordering};

use axum::{
    body::Body,
    http::{HeaderName, Response, StatusCode, header},
};
use ocicore::{Algorithm, Digest, RepositoryPath};

use super::{App, Call, DIGEST, UPLOAD_ID, digest_parameter, empty, incoming, range, set};
use crate::{
    Error, Noun, Result,
    auth::Access,
    slots::Slot,
    storage::UploadId,
    upload::{Chunk, Session},
};

/// `POST`: a mount, a blob in one request, or the beginning of an upload
/// (distribution-spec §Pushing blobs).
pub(super) async fn post(
    app: &Arc<App>,
    call: Call,
    repository: &RepositoryPath,
    body: Body,
) -> Result<Response<Body>> {
    if let Some(text) = call.parameter("mount") {
        let digest = super::endpoint::parse_digest(&text)?;
        let mounted = match call.parameter("from").filter(|from| !from.is_empty()) {
            Some(from) => {
                let from = from
                    .parse()
                    .map_err(|fault| super::endpoint::malformed(Noun::Repository, fault))?;
                call.identity.allows(&from, Access::Read)
                    && app.links.mount(repository, &from, &digest).await?
            }
            // Else a digest were enough to read from a repository that one may not.
            None => {
                call.identity.allows_all(Access::Read)
                    && app.links.mount_any(repository, &digest).await?
            }
        };
        if mounted {
            return created(repository, &digest);
        }
    }
    if let Some(digest) = digest_parameter(&call)? {
        let last = Last::new(app, &call, digest)?;
        let session = Session::begin(&app.links, repository, digest.algorithm()).await?;
        return finish(app, last, session, body).await;
    }
    let algorithm = match call.parameter("digest-algorithm") {
        None => Algorithm::Sha256,
        Some(text) => text
            .parse()
            .map_err(|fault| super::endpoint::malformed(Noun::Digest, fault))?,
    };
    let mut session = Session::begin(&app.links, repository, algorithm).await?;
    session.save().await?;
    accepted(StatusCode::ACCEPTED, repository, session.id(), 0)
}

/// `PATCH`: the next chunk (distribution-spec §Pushing a blob in chunks), or all of the blob as a
/// stream.
pub(super) async fn patch(
    app: &Arc<App>,
    call: Call,
    repository: &RepositoryPath,
    id: &UploadId,
    body: Body,
) -> Result<Response<Body>> {
    let mut session = Session::take(&app.links, repository, id).await?;
    let chunk = chunk(&call)?;
    let slot = app.slots.take(call.client, app.limits.uploads)?;
    let app = Arc::clone(app);
    let session = detached(async move {
        let _slot = slot;
        append(&app, &mut session, chunk, body).await?;
        session.save().await?;
        Ok(session)
    })
    .await?;
    accepted(
        StatusCode::ACCEPTED,
        repository,
        session.id(),
        session.offset(),
    )
}

/// `PUT`: the end of an upload, perhaps with its last chunk.
pub(super) async fn put(
    app: &Arc<App>,
    call: Call,
    repository: &RepositoryPath,
    id: &UploadId,
    body: Body,
) -> Result<Response<Body>> {
    let digest = digest_parameter(&call)?.ok_or_else(|| Error::Parameter {
        what: "digest",
        value: String::new(),
        expected: "the digest of the blob",
    })?;
    let last = Last::new(app, &call, digest)?;
    let mut session = Session::take(&app.links, repository, id).await?;
    session.expect(digest.algorithm());
    finish(app, last, session, body).await
}

/// `GET`: how far it is.
pub(super) async fn status(
    app: &App,
    repository: &RepositoryPath,
    id: &UploadId,
) -> Result<Response<Body>> {
    let session = Session::resume(&app.links, repository, id).await?;
    accepted(StatusCode::NO_CONTENT, repository, id, session.offset())
}

/// `DELETE`: the client gives up.
pub(super) async fn cancel(
    app: &App,
    repository: &RepositoryPath,
    id: &UploadId,
) -> Result<Response<Body>> {
    Session::take(&app.links, repository, id)
        .await?
        .abort()
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The request that ends an upload. It is checked before anything is begun for it.
struct Last {
    digest: Digest,
    chunk: Chunk,
    is_empty: bool,
    slot: Slot,
}

impl Last {
    fn new(app: &Arc<App>, call: &Call, digest: Digest) -> Result<Self> {
        Ok(Self {
            digest,
            chunk: chunk(call)?,
            is_empty: call.content_length() == Some(0),
            slot: app.slots.take(call.client, app.limits.uploads)?,
        })
    }
}

async fn finish(
    app: &Arc<App>,
    last: Last,
    mut session: Session,
    body: Body,
) -> Result<Response<Body>> {
    let (owned, digest) = (Arc::clone(app), last.digest);
    let repository = detached(async move {
        let _slot = last.slot;
        if !last.is_empty
            && let Err(error) = append(&owned, &mut session, last.chunk, body).await
        {
            // Nobody else knows of it.
            if !session.is_saved()
                && let Err(error) = session.abort().await
            {
                tracing::warn!(%error, "an upload is left");
            }
            return Err(error);
        }
        let repository = session.repository().clone();
        session.finish(&owned.links, &digest).await?;
        Ok(repository)
    })
    .await?;
    created(&repository, &digest)
}

async fn append(app: &App, session: &mut Session, chunk: Chunk, body: Body) -> Result<()> {
    let before = session.offset();
    let appended = session
        .append(chunk, incoming(app, body), app.limits.blob)
        .await;
    let received = session.offset().saturating_sub(before);
    app.metrics.received.fetch_add(received, Ordering::Relaxed);
    appended
}

/// Goes on when the client goes away, so that what came is kept and the upload is released in
/// good order.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is being shut down.
        Err(_) => Err(ocicore::Error::Cancelled.into()),
    }
}

fn chunk(call: &Call) -> Result<Chunk> {
    const CONTENT_RANGE: HeaderName = header::CONTENT_RANGE;
    let Some(value) = call.header(&CONTENT_RANGE) else {
        return Ok(Chunk::Stream);
    };
    let range = range::parse_chunk(value).ok_or_else(|| Error::Parameter {
        what: "Content-Range",
        value: value.chars().take(256).collect(),
        expected: "`<start>-<end>`",
    })?;
    let len = range.end - range.start;
    match call.content_length() {
        Some(actual) if actual != len => Err(Error::SizeMismatch {
            what: "chunk".to_owned(),
            expected: len,
            actual,
        }),
        _ => Ok(Chunk::Range {
            start: range.start,
            len,
        }),
    }
}

fn created(repository: &RepositoryPath, digest: &Digest) -> Result<Response<Body>> {
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{repository}/blobs/{digest}");
    set(&mut response, header::LOCATION, location)?;
    set(&mut response, header::CONTENT_LENGTH, 0)?;
    set(&mut response, DIGEST, digest)?;
    Ok(response)
}

fn accepted(
    status: StatusCode,
    repository: &RepositoryPath,
    id: &UploadId,
    offset: u64,
) -> Result<Response<Body>> {
    let mut response = empty(status);
    let location = format!("/v2/{repository}/blobs/uploads/{id}");
    set(&mut response, header::LOCATION, location)?;
    // Both ends are included, so that nothing and one byte look the same.
    set(
        &mut response,
        header::RANGE,
        format!("0-{}", offset.saturating_sub(1)),
    )?;
    if status != StatusCode::NO_CONTENT {
        set(&mut response, header::CONTENT_LENGTH, 0)?;
    }
    set(&mut response, UPLOAD_ID, id)?;
    Ok(response)
}
