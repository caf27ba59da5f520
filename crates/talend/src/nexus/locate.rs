//! From what a manifest says to the address of a file.

use ocicore::Cx;
use reqwest::Method;
use url::Url;

use super::{
    Client, Error, Result,
    address::{self, below, place},
    checksum::{Checksum, ChecksumAlgorithm},
    client::{self, Redirects, Request},
    layout::Artifact,
    metadata::Metadata,
    repository::{Kind, Repository},
    retry, search,
};
use crate::manifest::{Coordinates, Source};

/// Most redirects of a search.
const MOST_REDIRECTS: usize = 10;

/// A file somewhere.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) url: Url,
    pub(super) file_name: String,
    /// What is known of its content, the strongest first.
    pub(super) checksums: Vec<Checksum>,
    /// Whether checksums may lie beside it.
    pub(super) has_neighbors: bool,
}

impl Located {
    fn file(url: Url) -> Self {
        Self {
            file_name: address::file_name(&url),
            url,
            checksums: Vec::new(),
            has_neighbors: true,
        }
    }
}

/// Finds a file in one repository; `None` if it is not there. That it is found does not say that it
/// can be had: a release is only asked for when it is downloaded.
pub(super) async fn in_repository(
    cx: &Cx,
    client: &Client,
    repository: &Repository,
    artifact: &Artifact<'_>,
) -> Result<Option<Located>> {
    let base = match &repository.kind {
        Kind::Search(server) => return search::locate(cx, client, server, artifact).await,
        Kind::Layout(base) => base,
    };
    let words = named_version(cx, client, base, artifact).await?;
    let Some(coordinates) = words else {
        return Ok(None);
    };
    let artifact = Artifact {
        coordinates: &coordinates,
        ..*artifact
    };
    let directory = artifact.version_directory();
    let build = match artifact.is_snapshot() {
        false => coordinates.version.clone(),
        true => {
            let url = below(base, &format!("{directory}/maven-metadata.xml"));
            let newest = match metadata(cx, client, &url).await? {
                Some(metadata) => metadata.newest_build(&artifact),
                None => None,
            };
            newest.unwrap_or_else(|| coordinates.version.clone())
        }
    };
    let url = below(base, &format!("{directory}/{}", artifact.file_name(&build)));
    Ok(Some(Located::file(url)))
}

/// Coordinates whose version is one: not `RELEASE` or `LATEST`.
async fn named_version(
    cx: &Cx,
    client: &Client,
    base: &Url,
    artifact: &Artifact<'_>,
) -> Result<Option<Coordinates>> {
    let mut coordinates = artifact.coordinates.clone();
    if !["RELEASE", "LATEST"].contains(&coordinates.version.as_str()) {
        return Ok(Some(coordinates));
    }
    let url = below(
        base,
        &format!("{}/maven-metadata.xml", artifact.directory()),
    );
    let Some(metadata) = metadata(cx, client, &url).await? else {
        return Ok(None);
    };
    let newest = metadata.newest_version(&coordinates.version);
    Ok(newest.map(|version| {
        coordinates.version = version.to_owned();
        coordinates
    }))
}

/// Reads a file of metadata; none if it is not there.
pub(super) async fn metadata(cx: &Cx, client: &Client, url: &Url) -> Result<Option<Metadata>> {
    let Some(bytes) = client.document(cx, url).await? else {
        return Ok(None);
    };
    let metadata = Metadata::parse(&bytes);
    metadata
        .map(Some)
        .map_err(|fault| Error::protocol(&place(url), fault))
}

/// The file that an address means. One with a query is a question, of the search of Nexus 3, say;
/// the file, with its checksums, is where that leads to.
pub(super) async fn at_url(cx: &Cx, client: &Client, text: &str) -> Result<Located> {
    let asked = address::parse(text)?;
    let mut url = asked.clone();
    for _ in 0..MOST_REDIRECTS {
        if url.query().is_none() {
            return Ok(Located::file(url));
        }
        let mut attempts = client.attempts();
        let answer = loop {
            let mut request = Request::new(Method::GET, &url);
            request.redirects = Redirects::Return;
            match client.send(cx, &request).await {
                Ok(answer) => break answer,
                Err(error) => retry::wait(cx, &mut attempts, error).await?,
            }
        };
        let next = answer.response.status().is_redirection();
        let next = next.then(|| client::location(&url, answer.response.headers()));
        match next.flatten() {
            Some(next) if address::is_same_origin(&url, &next) => url = next,
            // Another host's address, or a file that is made on the way: nothing lies beside it.
            _ => {
                return Ok(Located {
                    has_neighbors: false,
                    ..Located::file(url)
                });
            }
        }
    }
    Err(Error::Redirect {
        place: place(&asked),
        target: place(&url),
        reason: "there were 10 redirects before it",
    })
}

/// The strongest checksum that is known of a file or lies beside it.
pub(super) async fn checksum(
    cx: &Cx,
    client: &Client,
    located: &Located,
) -> Result<Option<Checksum>> {
    if let Some(known) = located.checksums.first() {
        return Ok(Some(known.clone()));
    }
    if !located.has_neighbors {
        return Ok(None);
    }
    for algorithm in ChecksumAlgorithm::ALL {
        let url = address::beside(&located.url, algorithm.extension());
        let bytes = match client.document(cx, &url).await {
            Ok(Some(bytes)) => bytes,
            // Some repositories refuse names that they do not know.
            Ok(None) | Err(Error::Refused { .. } | Error::Forbidden { .. }) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        match Checksum::parse(algorithm, &text) {
            Some(checksum) => return Ok(Some(checksum)),
            None => {
                let fault = format!("it should be a {algorithm} checksum, but is something else");
                return Err(Error::protocol(&place(&url), fault));
            }
        }
    }
    Ok(None)
}

/// What a source is called in messages.
pub(super) fn name(source: &Source) -> String {
    match source {
        Source::Url(text) => text
            .parse()
            .map_or_else(|_| "***".to_owned(), |url| place(&url)),
        other => other.to_string(),
    }
}
