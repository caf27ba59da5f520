//! Archives to a repository: first a plan, which is pure, then the requests.

use std::{fs::File, path::Path};

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use ocicore::Cx;
use reqwest::Method;
use url::Url;

use super::{
    Client, Error, Result,
    address::{self, below, place},
    cache,
    checksum::{Checksum, ChecksumAlgorithm, Sums},
    client::{Payload, Request},
    layout::{Artifact, group_path},
    locate,
    metadata::{Metadata, Moment},
    pom::pom,
    retry,
};
use crate::manifest::Coordinates;

/// Checksums that are published beside each file.
const PUBLISHED: [ChecksumAlgorithm; 3] = [
    ChecksumAlgorithm::Md5,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishSpec {
    /// Under what coordinates.
    pub coordinates: Coordinates,
    /// Ending of the file; `tgz`.
    pub extension: String,
    /// Where in the repository.
    pub layout: PublishLayout,
    /// What the pom says of it.
    pub description: Option<String>,
}

/// Where in a repository. Closed: as Maven has it, or as the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishLayout {
    /// `<group>/<artifact>/<version>/<artifact>-<version>.tgz` with pom and metadata, as all tools
    /// expect it.
    #[default]
    Maven,
    /// `<group>/<version>/<artifact>-<version>.tgz` alone, as the original has it: a Maven
    /// repository of Nexus 3 takes this only if its layout policy is permissive.
    Original,
}

/// What is, or would be, written to a repository, in this order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PublishPlan {
    /// The files.
    pub files: Vec<PlannedFile>,
}

/// One file of a plan.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PlannedFile {
    /// Its path in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its content; the archive itself is not in memory.
    #[serde(skip)]
    content: Option<Bytes>,
    /// Its checksums.
    #[serde(skip)]
    checksums: Vec<Checksum>,
    /// Whether it is replaced each time: metadata is, releases are not.
    #[serde(skip)]
    is_replaced: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Published {
    /// The archive's address.
    pub place: String,
    /// Addresses of all files that were written.
    pub written: Vec<String>,
    /// Addresses of files that were there already with the same content.
    pub present: Vec<String>,
}

impl PublishSpec {
    /// An archive under these coordinates, in Maven's layout.
    pub fn new(coordinates: Coordinates) -> Self {
        Self {
            coordinates,
            extension: "tgz".to_owned(),
            layout: PublishLayout::default(),
            description: None,
        }
    }

    /// With another ending.
    pub fn with_extension(mut self, extension: impl Into<String>) -> Self {
        self.extension = extension.into();
        self
    }

    /// With another layout.
    pub fn with_layout(mut self, layout: PublishLayout) -> Self {
        self.layout = layout;
        self
    }

    /// With a description.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    fn artifact(&self) -> Artifact<'_> {
        Artifact {
            coordinates: &self.coordinates,
            extension: &self.extension,
        }
    }
}

/// What a repository has already.
#[derive(Clone, Debug, Default)]
struct Existing {
    /// Metadata of the artifact.
    artifact: Metadata,
    /// Metadata of the snapshot.
    snapshot: Metadata,
}

/// Says what would be written: reads the archive, and the repository's metadata.
///
/// # Errors
/// As [`publish`].
pub async fn plan(
    cx: &Cx,
    client: &Client,
    repository: &str,
    spec: &PublishSpec,
    archive: &Path,
) -> Result<PublishPlan> {
    let base = address::base(repository)?;
    let file = hashed(cx, archive).await?;
    planned(cx, client, &base, spec, file).await
}

/// Writes an archive to a repository by HTTP PUT, with its checksums, and in Maven's layout with a
/// pom and metadata, which comes last: until then nobody finds a file that is not complete. A file
/// that is there with the same content is no error, so that what was cut short can be run again.
///
/// # Errors
/// [`Error::Redeploy`] if the repository has a file with other content and does not let it be
/// replaced; those of the client.
pub async fn publish(
    cx: &Cx,
    client: &Client,
    repository: &str,
    spec: &PublishSpec,
    archive: &Path,
) -> Result<Published> {
    let base = address::base(repository)?;
    let file = hashed(cx, archive).await?;
    let plan = planned(cx, client, &base, spec, file).await?;
    let first = plan
        .files
        .first()
        .map(|file| place(&below(&base, &file.path)));
    let mut published = Published {
        place: first.unwrap_or_default(),
        written: Vec::new(),
        present: Vec::new(),
    };
    for file in &plan.files {
        let url = below(&base, &file.path);
        match put(cx, client, &url, file, archive).await? {
            Put::Written => published.written.push(place(&url)),
            Put::Present => published.present.push(place(&url)),
        }
    }
    Ok(published)
}

/// Size and checksums of the archive.
async fn hashed(cx: &Cx, archive: &Path) -> Result<PlannedFile> {
    let path = archive.to_owned();
    cx.blocking(move |cx| {
        let mut file = File::open(&path).map_err(Error::file("read", &path))?;
        let task = cx.task("hash", file.metadata().ok().map(|metadata| metadata.len()));
        let mut sums = Sums::new(ChecksumAlgorithm::ALL);
        let size = cache::hash(&cx, &task, &mut file, &mut sums);
        Ok(PlannedFile {
            path: String::new(),
            size: size.map_err(cache::read_error(&path))?,
            content: None,
            checksums: sums.finish(),
            is_replaced: false,
        })
    })
    .await
}

async fn planned(
    cx: &Cx,
    client: &Client,
    base: &Url,
    spec: &PublishSpec,
    file: PlannedFile,
) -> Result<PublishPlan> {
    let artifact = spec.artifact();
    let mut existing = Existing::default();
    if spec.layout == PublishLayout::Maven {
        let read = async |directory: String| {
            let url = below(base, &format!("{directory}/maven-metadata.xml"));
            let metadata = locate::metadata(cx, client, &url).await?;
            Ok::<_, Error>(metadata.unwrap_or_default())
        };
        existing.artifact = read(artifact.directory()).await?;
        if artifact.is_snapshot() {
            existing.snapshot = read(artifact.version_directory()).await?;
        }
    }
    let now = Timestamp::try_from(cx.now()).unwrap_or_default();
    let now = now.to_zoned(TimeZone::UTC);
    let moment = Moment {
        timestamp: now.strftime("%Y%m%d.%H%M%S").to_string(),
        updated: now.strftime("%Y%m%d%H%M%S").to_string(),
    };
    Ok(PublishPlan {
        files: files(spec, file, existing, &moment),
    })
}

/// The files of a publication in the order in which they are written. Pure.
fn files(
    spec: &PublishSpec,
    archive: PlannedFile,
    existing: Existing,
    moment: &Moment,
) -> Vec<PlannedFile> {
    let artifact = spec.artifact();
    let Coordinates { group, version, .. } = artifact.coordinates;
    let mut files = Vec::new();
    if spec.layout == PublishLayout::Original {
        let name = artifact.file_name(version);
        let path = format!("{}/{version}/{name}", group_path(group));
        with_checksums(&mut files, PlannedFile { path, ..archive });
        return files;
    }
    let directory = artifact.version_directory();
    let build = match (artifact.is_snapshot(), version.strip_suffix("SNAPSHOT")) {
        (true, Some(base)) => {
            let number = existing.snapshot.next_build();
            format!("{base}{}-{number}", moment.timestamp)
        }
        _ => version.clone(),
    };
    let path = format!("{directory}/{}", artifact.file_name(&build));
    with_checksums(&mut files, PlannedFile { path, ..archive });
    let name = format!("{directory}/{}-{build}.pom", artifact.coordinates.artifact);
    let pom = pom(&artifact, spec.description.as_deref());
    with_checksums(&mut files, PlannedFile::text(name, pom));
    if artifact.is_snapshot() {
        let extensions = [artifact.extension, "pom"];
        let metadata = existing
            .snapshot
            .with_build(&artifact, &extensions, &build, moment);
        let path = format!("{directory}/maven-metadata.xml");
        with_checksums(
            &mut files,
            PlannedFile::text(path, metadata.to_xml()).replaced(),
        );
    }
    let metadata = existing.artifact.with_version(&artifact, moment);
    let path = format!("{}/maven-metadata.xml", artifact.directory());
    with_checksums(
        &mut files,
        PlannedFile::text(path, metadata.to_xml()).replaced(),
    );
    files
}

/// A file and the files with its checksums. Metadata has no SHA-256: Maven replaces the other two
/// only, so that a third would be that of older metadata.
fn with_checksums(files: &mut Vec<PlannedFile>, file: PlannedFile) {
    let is_stale = |algorithm| file.is_replaced && algorithm == ChecksumAlgorithm::Sha256;
    let sums = PUBLISHED.iter().filter_map(|algorithm| {
        let mut sums = file.checksums.iter();
        let sum = sums.find(|sum| sum.algorithm() == *algorithm && !is_stale(*algorithm))?;
        let path = format!("{}.{}", file.path, algorithm.extension());
        let beside = PlannedFile::text(path, sum.hex().as_bytes().to_vec());
        Some(match file.is_replaced {
            true => beside.replaced(),
            false => beside,
        })
    });
    let sums: Vec<_> = sums.collect();
    files.push(file);
    files.extend(sums);
}

impl PlannedFile {
    fn text(path: String, content: Vec<u8>) -> Self {
        Self {
            path,
            size: content.len() as u64,
            checksums: Sums::of(&content),
            content: Some(content.into()),
            is_replaced: false,
        }
    }

    fn replaced(mut self) -> Self {
        self.is_replaced = true;
        self
    }
}

/// What became of a file.
enum Put {
    Written,
    Present,
}

async fn put(
    cx: &Cx,
    client: &Client,
    url: &Url,
    file: &PlannedFile,
    archive: &Path,
) -> Result<Put> {
    let mut attempts = client.attempts();
    loop {
        let task = match file.content {
            Some(_) => None,
            None => Some(cx.task("publish", Some(file.size))),
        };
        let mut request = Request::new(Method::PUT, url);
        request.payload = match (&file.content, &task) {
            (Some(bytes), _) => Payload::Bytes(bytes.clone()),
            (None, Some(task)) => Payload::File {
                path: archive,
                size: file.size,
                task,
            },
            (None, None) => Payload::None,
        };
        match client.send(cx, &request).await {
            Ok(_) => return Ok(Put::Written),
            Err(error) => match refusal(&error) {
                Some(message) if !file.is_replaced => {
                    return present(cx, client, url, file, message, error).await;
                }
                _ => retry::wait(cx, &mut attempts, error).await?,
            },
        }
    }
}

/// What a server says when it may be that a file is there already: Nexus answers with 400,
/// Artifactory with 403, others with 409 or 405.
fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Refused {
            status: 400 | 405 | 409 | 412,
            message,
            ..
        }
        | Error::Forbidden { message, .. } => Some(message.clone()),
        _ => None,
    }
}

/// A refused file: whether it is there, and whether it is the same.
async fn present(
    cx: &Cx,
    client: &Client,
    url: &Url,
    file: &PlannedFile,
    message: String,
    error: Error,
) -> Result<Put> {
    let redeploy = || Error::Redeploy {
        place: place(url),
        message,
    };
    if let Some(content) = &file.content {
        return match client.document(cx, url).await {
            Ok(Some(there)) if there == *content => Ok(Put::Present),
            Ok(Some(_)) => Err(redeploy()),
            _ => Err(error),
        };
    }
    let head = Request::new(Method::HEAD, url);
    if client.send(cx, &head).await.is_err() {
        return Err(error);
    }
    let located = locate::at_url(cx, client, url.as_str()).await?;
    match locate::checksum(cx, client, &located).await? {
        Some(there) if file.checksums.contains(&there) => Ok(Put::Present),
        _ => Err(redeploy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(coordinates: &str, layout: PublishLayout, existing: &str) -> String {
        let spec = PublishSpec::new(coordinates.parse().unwrap()).with_layout(layout);
        let existing = Metadata::parse(existing.as_bytes()).unwrap();
        let existing = Existing {
            artifact: existing.clone(),
            snapshot: existing,
        };
        let moment = Moment {
            timestamp: "20260102.030405".to_owned(),
            updated: "20260102030405".to_owned(),
        };
        let archive = PlannedFile::text(String::new(), b"archive".to_vec());
        let files = files(&spec, archive, existing, &moment);
        let lines = files.iter().map(|file| format!("{}\n", file.path));
        lines.collect()
    }

    #[test]
    fn plans_have_the_archive_first_and_the_metadata_last() {
        let snapshot = "<metadata><versioning><snapshot><buildNumber>6</buildNumber></snapshot>\
                        </versioning></metadata>";
        let text = [
            check(
                "org.example:orders:1.2",
                PublishLayout::Maven,
                "<metadata/>",
            ),
            check(
                "org.example:orders:1.2-SNAPSHOT:all",
                PublishLayout::Maven,
                snapshot,
            ),
            check(
                "org.example:orders:1.2-SNAPSHOT",
                PublishLayout::Original,
                "<metadata/>",
            ),
        ];
        insta::assert_snapshot!(text.join("\n"));
    }
}
