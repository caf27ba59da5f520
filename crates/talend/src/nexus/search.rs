//! The search of Nexus 3 (help.sonatype.com/en/search-api.html).

use std::collections::BTreeMap;

use ocicore::Cx;
use serde::Deserialize;
use url::Url;

use super::{
    Client, Error, Result,
    address::{self, below, place},
    checksum::{Checksum, ChecksumAlgorithm},
    layout::{self, Artifact},
    locate::Located,
    repository::SearchServer,
};

/// Most pages of one search.
const MOST_PAGES: usize = 100;

/// What a search finds, a page of it (§Search Assets).
#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    items: Vec<Asset>,
    #[serde(rename = "continuationToken")]
    continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asset {
    download_url: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    checksum: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    maven2: Option<MavenAttributes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MavenAttributes {
    extension: Option<String>,
    classifier: Option<String>,
}

/// Finds the newest file of an artifact.
pub(super) async fn locate(
    cx: &Cx,
    client: &Client,
    server: &SearchServer,
    artifact: &Artifact<'_>,
) -> Result<Option<Located>> {
    let url = question(server, artifact);
    let mut token: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let mut url = url.clone();
        if let Some(token) = &token {
            url.query_pairs_mut()
                .append_pair("continuationToken", token);
        }
        let Some(bytes) = client.document(cx, &url).await? else {
            // A search that finds nothing answers with an empty page.
            let fault = "it is no Nexus 3: there is no search at this address";
            return Err(Error::protocol(&place(&url), fault));
        };
        let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
            let fault = format!("it does not answer as the search of a Nexus 3: {error}");
            Error::protocol(&place(&url), fault)
        })?;
        // Sorted by version, the newest first.
        if let Some(asset) = page.items.iter().find(|asset| asset.fits(artifact)) {
            return located(server, asset).map(Some);
        }
        match page.continuation_token {
            Some(next) if Some(&next) != token.as_ref() => token = Some(next),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// `GET /service/rest/v1/search/assets`. An empty classifier means none at all, since 3.57
/// (§Empty Values); what older servers find beside that is passed over.
fn question(server: &SearchServer, artifact: &Artifact<'_>) -> Url {
    let coordinates = artifact.coordinates;
    let mut url = below(&server.base, "service/rest/v1/search/assets");
    let mut query = url.query_pairs_mut();
    query
        .append_pair("sort", "version")
        .append_pair("direction", "desc");
    if let Some(repository) = &server.repository {
        query.append_pair("repository", repository);
    }
    query
        .append_pair("maven.groupId", &coordinates.group)
        .append_pair("maven.artifactId", &coordinates.artifact)
        .append_pair("maven.extension", artifact.extension)
        .append_pair(
            "maven.classifier",
            coordinates.classifier.as_deref().unwrap_or_default(),
        );
    match coordinates.version.as_str() {
        "LATEST" => {}
        "RELEASE" => {
            query.append_pair("prerelease", "false");
        }
        version => {
            query.append_pair("maven.baseVersion", &layout::base_version(version));
            // One build of a snapshot.
            if layout::base_version(version) != version {
                query.append_pair("version", version);
            }
        }
    }
    drop(query);
    url
}

impl Asset {
    /// Whether it is the file itself, not its checksum, and not one with another classifier.
    fn fits(&self, artifact: &Artifact<'_>) -> bool {
        let is_file = self.path.ends_with(&format!(".{}", artifact.extension));
        let wanted = artifact.coordinates.classifier.as_deref();
        let attributes = self.maven2.as_ref().is_none_or(|maven| {
            maven.classifier.as_deref().filter(|c| !c.is_empty()) == wanted
                && maven
                    .extension
                    .as_deref()
                    .is_none_or(|extension| extension == artifact.extension)
        });
        is_file && attributes
    }
}

fn located(server: &SearchServer, asset: &Asset) -> Result<Located> {
    let error = || {
        let fault = "it finds a file without an address";
        Error::protocol(&place(&server.base), fault)
    };
    let url = server.base.join(&asset.download_url).map_err(|_| error())?;
    let url = address::parse(url.as_str()).map_err(|_| error())?;
    let checksums = ChecksumAlgorithm::ALL.into_iter().filter_map(|algorithm| {
        let digits = asset.checksum.get(algorithm.extension())?.as_str()?;
        Checksum::new(algorithm, digits)
    });
    Ok(Located {
        file_name: asset.path.rsplit('/').next().unwrap_or_default().to_owned(),
        checksums: checksums.collect(),
        has_neighbors: true,
        url,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_those_of_the_api() {
        let mut shown = String::new();
        for (coordinates, repository) in [
            ("org.example:load:0.1.0", Some("releases")),
            ("org.example:load:0.1.0-SNAPSHOT:dist", None),
            ("org.example:load:0.1.0-20180620.090617-2", None),
            ("org.example:load:RELEASE", None),
            ("org.example:load:LATEST", None),
        ] {
            let server = SearchServer {
                base: address::base("https://h.io/nexus").unwrap(),
                repository: repository.map(str::to_owned),
            };
            let coordinates = coordinates.parse().unwrap();
            shown += &format!("{}\n", question(&server, &Artifact::job(&coordinates)));
        }
        insta::assert_snapshot!(shown);
    }
}
