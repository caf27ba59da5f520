//! Archives that hold images: what `docker save` and `podman save` write (docker-archive) and OCI
//! layouts in a tar (oci-archive). Formats, not stores: [`open`] gives an [`ImageSource`],
//! [`write_docker`] and [`write_oci`] write one as a whole.
//!
//! ```
//! use std::sync::Arc;
//! use ocicore::{Cx, SizeLimits, archive};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use ocicore::{ImageBuilder, Platform};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("image.tar");
//! # let platform = Platform::new("linux", "amd64");
//! # let cx = Cx::default();
//! let image = ImageBuilder::scratch(&platform).build()?;
//! let root = archive::Root::new(*image.digest(), ["example.org/app:1"]);
//! let file = archive::AtomicFile::create(&path)?;
//! archive::write_docker(&cx, Arc::new(image), &[root], &platform, file).await?.commit()?;
//!
//! let archive = archive::open(&cx, &path, &SizeLimits::default()).await?;
//! assert_eq!(archive.roots()[0].0.as_deref(), Some("example.org/app:1"));
//! # Ok(())
//! # }
//! ```

mod docker;
mod index;
mod oci;
mod write;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{
    Blob, BoxStream, BytesBlob, Cx, Descriptor, Digest, Error, ImageSource, Name, RawManifest,
    Reference, Result, SizeLimits, Tag, blob::failed, file::read_file,
};

pub use write::{AtomicFile, Root, write_docker, write_oci};

/// Opens an archive of either format; one that is both (as Docker writes since version 25) is read
/// as an OCI archive. Layers are not read, but for those of a docker-archive that are compressed,
/// since only their content tells their digest.
///
/// # Errors
/// [`Error::Format`] if it is neither, or damaged; [`Error::Limit`] if it holds more or larger
/// entries than `limits` allow.
pub async fn open(cx: &Cx, path: impl AsRef<Path>, limits: &SizeLimits) -> Result<Archive> {
    let (path, limits) = (path.as_ref().to_owned(), limits.clone());
    cx.blocking(move |cx| {
        let index = index::Index::read(&cx, &path, limits)?;
        if index.has("oci-layout") {
            oci::read(&index)
        } else if index.has("manifest.json") {
            docker::read(&cx, &index)
        } else {
            Err(index.fault("it holds neither `oci-layout` nor `manifest.json`"))
        }
    })
    .await
}

/// An archive of images, opened for reading.
#[derive(Clone, Debug)]
pub struct Archive {
    path: PathBuf,
    roots: Vec<(Option<String>, Descriptor)>,
    manifests: BTreeMap<Digest, RawManifest>,
    /// Ranges of the file.
    blobs: BTreeMap<Digest, Range<u64>>,
    /// Content that is not in the file as it is.
    made: BTreeMap<Digest, Bytes>,
}

impl Archive {
    /// The images with their names, in the order of the archive. Names of a docker-archive are
    /// references, those of an oci-archive any text.
    pub fn roots(&self) -> &[(Option<String>, Descriptor)] {
        &self.roots
    }

    /// The image that is called `name`; a reference need not be written as in the archive.
    ///
    /// # Errors
    /// Of class `NotFound` if there is none.
    pub fn root(&self, name: &str) -> Result<&Descriptor> {
        let reference = name.parse::<Reference>().ok();
        let called = |known: &str| {
            known == name || (reference.is_some() && known.parse::<Reference>().ok() == reference)
        };
        let mut roots = self.roots.iter();
        let found = roots.find(|(known, _)| known.as_deref().is_some_and(called));
        found
            .map(|(_, root)| root)
            .ok_or_else(|| self.missing("resolve", name))
    }

    fn find(&self, action: &'static str, name: &Name) -> Result<RawManifest> {
        let digest = match name {
            Name::Digest(digest) => *digest,
            Name::Tag(tag) => self.tagged(action, tag)?,
        };
        self.manifests
            .get(&digest)
            .cloned()
            .ok_or_else(|| self.missing(action, name))
    }

    /// The one root with this tag, whatever its repository.
    fn tagged(&self, action: &'static str, tag: &Tag) -> Result<Digest> {
        let mut hits = self
            .roots
            .iter()
            .filter(|(name, _)| name.as_deref().and_then(tag_of).as_ref() == Some(tag));
        let (_, root) = hits.next().ok_or_else(|| self.missing(action, tag))?;
        if hits.any(|(_, other)| other.digest() != root.digest()) {
            return Err(Error::Format {
                path: self.path.display().to_string(),
                fault: format!("several images have the tag `{tag}`: name one in full"),
            });
        }
        Ok(*root.digest())
    }

    fn missing(&self, action: &'static str, subject: impl ToString) -> Error {
        Error::not_found(action, subject, self.path.display())
    }
}

#[async_trait]
impl ImageSource for Archive {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        cx.check()?;
        Ok(self.find("resolve", name)?.descriptor().clone())
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        cx.check()?;
        self.find("read", name)
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        if let Some(bytes) = self.made.get(descriptor.digest()) {
            return Arc::new(BytesBlob::described(descriptor.clone(), bytes.clone()));
        }
        Arc::new(Part {
            descriptor: descriptor.clone(),
            path: self.path.clone(),
            at: self.blobs.get(descriptor.digest()).cloned(),
        })
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        cx.check()?;
        Ok(self
            .manifests
            .values()
            .filter_map(|raw| raw.as_referrer_of(subject))
            .collect())
    }

    fn tags(&self, _: &Cx) -> BoxStream<Tag> {
        let names = self
            .roots
            .iter()
            .filter_map(|(name, _)| tag_of(name.as_deref()?));
        let tags: std::collections::BTreeSet<Tag> = names.collect();
        stream::iter(tags.into_iter().map(Ok)).boxed()
    }
}

/// The tag that a name is, or that it ends in.
fn tag_of(name: &str) -> Option<Tag> {
    name.parse()
        .ok()
        .or_else(|| name.parse::<Reference>().ok()?.tag().cloned())
}

/// A range of the archive.
#[derive(Debug)]
struct Part {
    descriptor: Descriptor,
    path: PathBuf,
    /// None if the archive does not hold it.
    at: Option<Range<u64>>,
}

impl Blob for Part {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        match &self.at {
            Some(at) => {
                let clamp = |n: u64| at.start.saturating_add(n).min(at.end);
                read_file(self.path.clone(), clamp(range.start)..clamp(range.end))
            }
            None => {
                let digest = self.descriptor.digest();
                failed(Error::not_found("read", digest, self.path.display()))
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use super::*;
    use crate::{
        Memory, Platform,
        conformance::{Fixture, Suite},
    };

    async fn filled(fixture: &Fixture) -> Arc<Memory> {
        let store = Memory::default();
        fixture.fill(&Cx::default(), &store).await.unwrap();
        Arc::new(store)
    }

    #[tokio::test]
    async fn an_oci_archive_is_a_source_and_the_same_twice() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let fixture = Fixture::index();
        let store = filled(&fixture).await;
        let roots = [Root::new(*fixture.root().digest(), ["v1", "latest"])];
        let mut written = Vec::new();
        for name in ["a.tar", "b.tar"] {
            let path = directory.path().join(name);
            let file = AtomicFile::create(&path).unwrap();
            write_oci(&cx, store.clone(), &roots, file)
                .await
                .unwrap()
                .commit()
                .unwrap();
            written.push(std::fs::read(path).unwrap());
        }
        assert!(written[0] == written[1]);
        let path = directory.path().join("a.tar");
        let archive = open(&cx, path, &SizeLimits::default()).await.unwrap();
        Suite::default().source(&archive, &fixture).await;
    }

    #[tokio::test]
    async fn a_docker_archive_is_a_source() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let fixture = Fixture::image();
        let store = filled(&fixture).await;
        let path = directory.path().join("image.tar");
        let roots = [Root::new(*fixture.root().digest(), ["h.io/app:v1"])];
        let file = AtomicFile::create(&path).unwrap();
        write_docker(&cx, store, &roots, &Platform::host(), file)
            .await
            .unwrap()
            .commit()
            .unwrap();
        // Its manifest was not in the archive, and is as the fixture's again.
        let archive = open(&cx, path, &SizeLimits::default()).await.unwrap();
        Suite::default().source(&archive, &fixture).await;
    }

    #[tokio::test]
    async fn a_docker_archive_has_the_platforms_image() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let store = filled(&Fixture::index()).await;
        let path = directory.path().join("image.tar");
        let roots = [Root::new(
            "v1".parse::<Name>().unwrap(),
            ["app:1", "h.io/app:2"],
        )];
        let platform = Platform::new("linux", "arm64");
        let file = AtomicFile::create(&path).unwrap();
        let written = write_docker(&cx, store.clone(), &roots, &platform, file)
            .await
            .unwrap();
        written.commit().unwrap();
        let archive = open(&cx, &path, &SizeLimits::default()).await.unwrap();
        let names: Vec<_> = archive
            .roots()
            .iter()
            .map(|(name, _)| name.clone().unwrap())
            .collect();
        assert_eq!(names, ["app:1", "h.io/app:2"]);
        let root = archive.root("docker.io/library/app:1").unwrap();
        let name = Name::Digest(*root.digest());
        let image = crate::Image::open(&cx, &archive, &name, &platform);
        let image = image.await.unwrap();
        let same = crate::Image::open(&cx, &*store, &"v1".parse().unwrap(), &platform).await;
        assert_eq!(image.config(), same.unwrap().config());
        let report = crate::validate::check(&cx, &archive, &name).await.unwrap();
        assert_eq!((report.blobs, report.faults.len()), (3, 0));
    }

    #[tokio::test]
    async fn what_is_no_archive_is_refused() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let path = directory.path().join("x.tar");
        let mut errors = Vec::new();
        let mut cases: Vec<(&str, Vec<u8>)> = vec![
            ("text", b"no archive at all".repeat(100)),
            ("gzip", [&[0x1f, 0x8b, 8][..], &[0; 1000]].concat()),
            ("nothing", vec![0; 1024]),
        ];
        let tar = |name: &str, content: &str| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
            builder.into_inner().unwrap()
        };
        let layer = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["gone"]}]"#;
        cases.extend([
            ("no manifest", tar("file", "x")),
            ("manifest is no JSON", tar("manifest.json", "nope")),
            ("config is missing", tar("manifest.json", layer)),
            (
                "no index",
                tar("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            ),
            (
                "version",
                tar("oci-layout", r#"{"imageLayoutVersion":"9"}"#),
            ),
            (
                "cut",
                tar("manifest.json", &"x".repeat(9000))[..4000].to_vec(),
            ),
        ]);
        for (case, bytes) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = open(&cx, &path, &SizeLimits::default()).await.unwrap_err();
            let text = error
                .to_string()
                .replace(&path.display().to_string(), "FILE");
            errors.push(format!("{case}: {text}"));
        }
        insta::assert_snapshot!(errors.join("\n"));
    }
}
