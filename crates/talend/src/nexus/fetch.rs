use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use futures_util::{StreamExt, stream};
use ocicore::{Cx, Digest, Reader, Task};

use super::{
    Cache, Client, Error, Failure, Repository, Result,
    address::place,
    cache::{self, Partial},
    checksum::{Checksum, ChecksumAlgorithm, Sums},
    download::Download,
    layout::Artifact,
    locate::{self, Located},
    options::Checksums,
    retry,
};
use crate::manifest::{Coordinates, Source};

/// Bytes that are written and hashed at once.
const CHUNK: usize = 256 << 10;

/// A built job that was fetched. The file belongs to the [`Cache`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Fetched {
    /// The file, in the cache.
    pub path: PathBuf,
    /// What the repository calls it, which says what job it is.
    pub file_name: String,
    /// Where it came from.
    pub place: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Digest,
    /// With what the repository's checksum was made that it was compared with; none if there is no
    /// checksum.
    pub verified: Option<ChecksumAlgorithm>,
    /// How it was had.
    pub origin: Origin,
}

/// How a file was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// It was in the cache: the repository was asked for its checksum only.
    Cache,
    /// It was downloaded from its byte `from` on; what is before that was there from an attempt
    /// that was cut short.
    Downloaded {
        /// The first byte that was asked for; 0 if there was nothing.
        from: u64,
    },
}

/// Fetches built jobs, several at the same time, and returns them in the order of `sources`.
/// Coordinates are looked up in the repositories in their order.
///
/// # Errors
/// [`Error::Several`] with all that cannot be had, after everything was tried. What could be had is
/// in the cache.
pub async fn fetch_all(
    cx: &Cx,
    client: &Client,
    sources: &[Source],
    repositories: &[Repository],
    cache: &Cache,
) -> Result<Vec<Fetched>> {
    let downloads = sources
        .iter()
        .map(|source| fetch(cx, client, source, repositories, cache));
    let results: Vec<_> = stream::iter(downloads)
        .buffered(client.options().parallel)
        .collect()
        .await;
    let (mut fetched, mut failures) = (Vec::new(), Vec::new());
    for (index, (source, result)) in sources.iter().zip(results).enumerate() {
        match result {
            Ok(one) => fetched.push(one),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => failures.push(Failure::new(index, locate::name(source), error)),
        }
    }
    if failures.is_empty() {
        return Ok(fetched);
    }
    Err(Error::Several {
        total: sources.len(),
        failures,
    })
}

/// Fetches one built job. Nothing is downloaded if the cache has what the repository's checksum
/// says; what an earlier attempt left is completed.
///
/// # Errors
/// Those of the repository and of the cache. The cache stays as it was, but for what a later
/// attempt can go on with.
pub async fn fetch(
    cx: &Cx,
    client: &Client,
    source: &Source,
    repositories: &[Repository],
    cache: &Cache,
) -> Result<Fetched> {
    match source {
        Source::Url(text) => {
            let located = locate::at_url(cx, client, text).await?;
            file(cx, client, located, cache).await
        }
        Source::Coordinates(coordinates) => {
            artifact(cx, client, coordinates, repositories, cache).await
        }
        Source::File(path) => Err(Error::Name {
            what: "source of a download",
            value: path.clone(),
            expected: "expected an address or coordinates: this is a local file",
        }),
    }
}

/// The first repository that has it.
async fn artifact(
    cx: &Cx,
    client: &Client,
    coordinates: &Coordinates,
    repositories: &[Repository],
    cache: &Cache,
) -> Result<Fetched> {
    let wanted = Artifact::job(coordinates);
    let mut places = Vec::new();
    for repository in repositories {
        if let Some(located) = locate::in_repository(cx, client, repository, &wanted).await? {
            match file(cx, client, located, cache).await {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
        }
        places.push(repository.to_string());
    }
    let coordinates = coordinates.to_string();
    Err(match places.is_empty() {
        true => Error::NoRepository { coordinates },
        false => Error::NowhereFound {
            coordinates,
            places,
        },
    })
}

async fn file(cx: &Cx, client: &Client, located: Located, cache: &Cache) -> Result<Fetched> {
    let checksum = locate::checksum(cx, client, &located).await?;
    let verified = checksum.as_ref().map(Checksum::algorithm);
    let done = |path, size, digest, origin| Fetched {
        path,
        file_name: located.file_name.clone(),
        place: place(&located.url),
        size,
        digest,
        verified,
        origin,
    };
    match &checksum {
        Some(checksum) => {
            let (cache, checksum) = (cache.clone(), checksum.clone());
            let found = cx.blocking(move |cx| cache.find(&cx, &checksum)).await?;
            if let Some((path, digest, size)) = found {
                return Ok(done(path, size, digest, Origin::Cache));
            }
        }
        None if client.options().checksums == Checksums::Required => {
            return Err(Error::NoChecksum {
                place: place(&located.url),
            });
        }
        None => {}
    }
    let mut attempts = client.attempts();
    loop {
        let (store, resume) = (cache.clone(), checksum.clone());
        let partial = cx.blocking(move |_| store.partial(resume.as_ref())).await?;
        let from = partial.len()?;
        let download = match Download::open(cx, client, &located.url, from).await {
            // What is there is of other content.
            Err(error @ Error::Protocol { .. }) if from > 0 => {
                tracing::debug!(%error, "beginning again");
                discard(cx, partial).await?;
                continue;
            }
            other => other?,
        };
        let task = cx.task(&format!("download {}", located.file_name), download.total());
        let stream = download.into_stream(cx);
        let wanted = checksum.clone();
        let (store, here) = (cache.clone(), place(&located.url));
        let result = cx
            .blocking(move |cx| {
                let algorithms = wanted.as_ref().map(Checksum::algorithm);
                let algorithms = algorithms.filter(|one| *one != ChecksumAlgorithm::Sha256);
                let mut sums = Sums::new([ChecksumAlgorithm::Sha256].into_iter().chain(algorithms));
                let mut partial = partial;
                let written = write(
                    &cx,
                    &task,
                    &mut partial,
                    Reader::new(&cx, stream),
                    &mut sums,
                );
                let size = written.inspect_err(|error| {
                    if !is_worth_keeping(error) {
                        partial.discard();
                    }
                })?;
                let sums = sums.finish();
                if let Some(expected) = wanted {
                    let same = |sum: &&Checksum| sum.algorithm() == expected.algorithm();
                    match sums.iter().find(same) {
                        Some(actual) if *actual != expected => {
                            partial.discard();
                            return Err(Error::Checksum {
                                place: here,
                                expected: Box::new(expected),
                                actual: Box::new(actual.clone()),
                            });
                        }
                        _ => {}
                    }
                }
                let path = store.commit(partial, &sums)?;
                let sha256 = sums
                    .iter()
                    .find(|sum| sum.algorithm() == ChecksumAlgorithm::Sha256);
                let digest = sha256.map(cache::digest);
                Ok((path, size, digest))
            })
            .await;
        match result {
            Ok((path, size, digest)) => {
                let digest = digest.unwrap_or_else(|| Digest::of(b""));
                return Ok(done(path, size, digest, Origin::Downloaded { from }));
            }
            // The beginning may be of an older file: once more, from the start.
            Err(Error::Checksum { .. }) if from > 0 => {}
            Err(error @ Error::Changed { .. }) => retry::wait(cx, &mut attempts, error).await?,
            Err(error) => return Err(error),
        }
    }
}

async fn discard(cx: &Cx, mut partial: Partial) -> Result<()> {
    cx.blocking(move |_| partial.clear()).await
}

/// What is there of a file is kept unless it is of no use, or in the way.
fn is_worth_keeping(error: &Error) -> bool {
    match error {
        Error::File { source, .. } => !matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ),
        Error::Changed { .. } | Error::NotAnArchive { .. } | Error::TooLarge { .. } => false,
        _ => true,
    }
}

/// Writes content behind what is there; returns the size of all of it.
fn write(
    cx: &Cx,
    task: &Task,
    partial: &mut Partial,
    mut reader: Reader,
    sums: &mut Sums,
) -> Result<u64> {
    let mut size = partial.hash(cx, task, sums)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(n) => n,
            Err(error) => return Err(own(error, partial)),
        };
        let bytes = &buffer[..n];
        let written = partial.file.write_all(bytes);
        written.map_err(Error::file("write", partial.path()))?;
        sums.update(bytes);
        size += n as u64;
        task.add(n as u64)?;
    }
}

/// Gets back an error of this module that travelled through the port and through I/O.
fn own(error: io::Error, partial: &Partial) -> Error {
    match error.downcast::<ocicore::Error>() {
        Ok(ocicore::Error::Cancelled) => Error::Cancelled,
        Ok(ocicore::Error::Store {
            source: Some(source),
            action,
            subject,
            store,
            class,
        }) => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(source) => {
                let error = ocicore::Error::store(action, subject, store, class, source);
                Error::file("write", partial.path())(error.into())
            }
        },
        Ok(error) => Error::file("write", partial.path())(error.into()),
        Err(error) => Error::file("write", partial.path())(error),
    }
}
