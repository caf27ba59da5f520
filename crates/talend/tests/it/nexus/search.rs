//! A server that searches as Nexus 3 does, by the public description of its API: "D" is
//! help.sonatype.com/en/search-api.html, "R" the descriptions of `searchAssets` and
//! `searchAndDownloadAssets` in the server's own `/service/rest/swagger.json`.

use std::collections::BTreeMap;

use ::url::Url;
use ocicore::Digest;
use serde_json::json;
use talend::nexus::{ChecksumAlgorithm, Error, Repository};

use super::{
    archive, client, coordinates, one,
    server::{Answer, Asked, Server},
    url,
};

/// A file of a repository, with what it is searched by.
#[derive(Clone)]
struct Asset {
    repository: &'static str,
    base_version: &'static str,
    version: &'static str,
    classifier: &'static str,
    extension: &'static str,
    content: Vec<u8>,
}

impl Asset {
    fn path(&self) -> String {
        let Self {
            base_version,
            version,
            classifier,
            extension,
            ..
        } = self;
        let classifier = match *classifier {
            "" => String::new(),
            classifier => format!("-{classifier}"),
        };
        format!("org/example/load/{base_version}/load-{version}{classifier}.{extension}")
    }

    /// R: query parameters of both searches. An empty value means that the field is empty
    /// (D, "Empty Values": treated as "specifically empty").
    fn fits(&self, query: &BTreeMap<String, String>) -> bool {
        let fields = [
            ("repository", self.repository),
            ("maven.groupId", "org.example"),
            ("maven.artifactId", "load"),
            ("maven.baseVersion", self.base_version),
            ("version", self.version),
            ("maven.classifier", self.classifier),
            ("maven.extension", self.extension),
        ];
        fields
            .iter()
            .all(|(name, value)| query.get(*name).is_none_or(|wanted| wanted == value))
    }

    /// D, "Search Assets", example response: `downloadUrl`, `path`, `id`, `repository`, `format`,
    /// `checksum` with hexadecimal digits by algorithm; `maven2` with the attributes of the format.
    fn json(&self, base: &str) -> serde_json::Value {
        let (path, sum) = (self.path(), Digest::of(&self.content).hex());
        json!({
            "downloadUrl": format!("{base}/repository/{}/{path}", self.repository),
            "path": path, "id": "x", "repository": self.repository, "format": "maven2",
            "checksum": { "sha256": sum },
            "maven2": {
                "extension": self.extension, "groupId": "org.example", "artifactId": "load",
                "classifier": self.classifier, "version": self.version,
            },
        })
    }
}

fn nexus(assets: &[Asset], asked: &Asked) -> Answer {
    let base = format!("http://{}", asked.header("host").unwrap());
    let asked = Url::parse(&format!("{base}{}", asked.path)).unwrap();
    let query: BTreeMap<_, _> = asked.query_pairs().into_owned().collect();
    let mut found: Vec<_> = assets.iter().filter(|asset| asset.fits(&query)).collect();
    // R, `sort` and `direction`: "If this field is omitted, default direction of 'asc' will be used,
    // unless sorting on version then 'desc' will be used."
    if query.get("sort").map(String::as_str) == Some("version") {
        found.sort_by(|a, b| b.version.cmp(a.version));
    }
    match asked.path() {
        "/service/rest/v1/search/assets" => {
            // D, "Pagination": a page has a `continuationToken`, which is null on the last one, and
            // is passed as a query parameter for the next. Here a page has one item.
            let at: usize = query
                .get("continuationToken")
                .map_or(0, |at| at.parse().unwrap());
            let items: Vec<_> = found
                .iter()
                .skip(at)
                .take(1)
                .map(|one| one.json(&base))
                .collect();
            let next = (at + 1 < found.len()).then(|| (at + 1).to_string());
            Answer::new(
                200,
                json!({"items": items, "continuationToken": next}).to_string(),
            )
        }
        "/service/rest/v1/search/assets/download" => match found.as_slice() {
            // R, responses of `searchAndDownloadAssets`, 404: "Asset search returned no results".
            [] => Answer::new(404, "Asset search returned no results"),
            // R, 400: "Search returned multiple assets, please refine search criteria to find a
            // single asset or use the sort query parameter to retrieve the first result."
            [_, _, ..] if !query.contains_key("sort") => Answer::new(
                400,
                "Search returned multiple assets, please refine search criteria to find a single \
                 asset or use the sort query parameter to retrieve the first result.",
            ),
            // D, "Search and Download Asset": a redirect (302) to the asset's `downloadUrl`.
            [first, ..] => {
                let target = format!("{base}/repository/{}/{}", first.repository, first.path());
                Answer::new(302, "").with("location", target)
            }
        },
        path => {
            let asset = assets
                .iter()
                .find(|asset| path == format!("/repository/{}/{}", asset.repository, asset.path()));
            let sum = assets.iter().find(|asset| {
                path == format!("/repository/{}/{}.sha256", asset.repository, asset.path())
            });
            match (asset, sum) {
                (Some(asset), _) => Answer::new(200, asset.content.clone()),
                (_, Some(asset)) => Answer::new(200, Digest::of(&asset.content).hex()),
                _ => Answer::new(404, ""),
            }
        }
    }
}

async fn start() -> Server {
    let asset = |repository, base_version, version, classifier, extension, size| Asset {
        repository,
        base_version,
        version,
        classifier,
        extension,
        content: archive(size),
    };
    let (older, newer) = ("0.2.0-20260101.000000-1", "0.2.0-20260102.000000-2");
    let assets = [
        asset("releases", "0.1.0", "0.1.0", "", "zip", 1001),
        asset("releases", "0.1.0", "0.1.0", "dist", "zip", 1002),
        asset("releases", "0.1.0", "0.1.0", "", "pom", 1003),
        asset("snapshots", "0.2.0-SNAPSHOT", older, "", "zip", 1004),
        asset("snapshots", "0.2.0-SNAPSHOT", newer, "", "zip", 1005),
    ];
    Server::start(move |asked, _| nexus(&assets, asked)).await
}

#[tokio::test]
async fn coordinates_are_searched_for() {
    let server = start().await;
    let everywhere = Repository::nexus3_search(&server.base, None).unwrap();
    let releases = Repository::nexus3_search(&server.base, Some("releases")).unwrap();
    for (text, repository, size) in [
        ("org.example:load:0.1.0", &releases, 1001),
        ("org.example:load:0.1.0:dist", &releases, 1002),
        ("org.example:load:0.2.0-SNAPSHOT", &everywhere, 1005),
        (
            "org.example:load:0.2.0-20260101.000000-1",
            &everywhere,
            1004,
        ),
        ("org.example:load:LATEST", &everywhere, 1005),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let repositories = std::slice::from_ref(repository);
        let fetched = one(&client(), coordinates(text), repositories, folder.path()).await;
        let fetched = fetched.unwrap();
        assert_eq!(fetched.size, size, "{text}");
        assert_eq!(fetched.verified, Some(ChecksumAlgorithm::Sha256), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let wanted = coordinates("org.example:load:0.2.0-SNAPSHOT");
    let error = one(&client(), wanted, &[releases], folder.path())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NowhereFound { .. }), "{error}");
}

#[tokio::test]
async fn the_download_api_can_be_named_in_a_manifest() {
    let server = start().await;
    let question = |query: &str| {
        url(format!(
            "{}/service/rest/v1/search/assets/download?{query}",
            server.base
        ))
    };
    let folder = tempfile::tempdir().unwrap();
    let newest = question("sort=version&repository=snapshots&maven.extension=zip");
    let fetched = one(&client(), newest, &[], folder.path()).await.unwrap();
    assert_eq!(fetched.file_name, "load-0.2.0-20260102.000000-2.zip");
    assert_eq!(fetched.verified, Some(ChecksumAlgorithm::Sha256));
    let mut shown = String::new();
    for query in ["repository=snapshots", "repository=none"] {
        let error = one(&client(), question(query), &[], folder.path())
            .await
            .unwrap_err();
        shown += &format!("{:?}: {error}\n", error.class());
    }
    insta::assert_snapshot!(shown.replace(&server.base, "http://HOST"));
}

#[tokio::test]
async fn what_does_not_search_is_no_nexus() {
    let mut shown = String::new();
    for answer in [
        Answer::new(404, ""),
        Answer::new(200, "<html>"),
        Answer::new(
            200,
            r#"{"items": [{"downloadUrl": "ftp://h.io/a", "path": "a.zip"}]}"#,
        ),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let repositories = [Repository::nexus3_search(&server.base, None).unwrap()];
        let folder = tempfile::tempdir().unwrap();
        let wanted = coordinates("org.example:load:1");
        let error = one(&client(), wanted, &repositories, folder.path())
            .await
            .unwrap_err();
        shown += &format!("{error}\n").replace(&server.base, "http://HOST");
    }
    insta::assert_snapshot!(shown);
}
