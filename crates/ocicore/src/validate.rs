//! Recomputes every digest and size of an image, and lists all faults.
//!
//! ```
//! use ocicore::{Cx, Memory, validate};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use ocicore::{ImageSink, MediaType, Place, RawManifest};
//! # let (cx, store) = (Cx::default(), Memory::default());
//! # let manifest = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
//! # store.put_manifest(&cx, &manifest, Place::Root(&["v1".parse()?])).await?;
//! let report = validate::check(&cx, &store, &"v1".parse()?).await?;
//! assert!(report.faults.is_empty());
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeSet, fmt};

use futures_util::TryStreamExt;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Class, Cx, Descriptor, Digest, Error, ImageSource, Name, RawManifest, Result, in_one_line,
};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Way from the root, for example `index > manifest 2 > layer 1`; counted from 1.
    pub at: String,
    /// Digest under which it was looked for.
    pub digest: Digest,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
#[non_exhaustive]
pub enum FaultKind {
    /// It is not there.
    Missing,
    /// Its content has another digest.
    Digest {
        /// The digest of the content.
        actual: Digest,
    },
    /// It has another size.
    Size {
        /// Bytes that its descriptor says.
        expected: u64,
        /// Bytes that there are.
        actual: u64,
    },
    /// It is stored under another media type than its descriptor says.
    MediaType {
        /// That of the descriptor.
        expected: String,
        /// That of the store.
        actual: String,
    },
    /// It cannot be read as what it is said to be.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The config has another number of `diff_ids` than the manifest has layers.
    Layers {
        /// Layers of the manifest.
        layers: usize,
        /// `diff_ids` of the config.
        diff_ids: usize,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` ", self.at, self.digest)?;
        match &self.kind {
            FaultKind::Missing => f.write_str("is missing"),
            FaultKind::Digest { actual } => write!(f, "has the digest `{actual}`"),
            FaultKind::Size { expected, actual } => {
                write!(f, "has {actual} bytes, its descriptor says {expected}")
            }
            FaultKind::MediaType { expected, actual } => {
                write!(
                    f,
                    "is stored as `{actual}`, its descriptor says `{expected}`"
                )
            }
            FaultKind::Unreadable { reason } => write!(f, "cannot be read: {reason}"),
            FaultKind::Layers { layers, diff_ids } => {
                write!(f, "has {diff_ids} diff_ids for {layers} layers")
            }
        }
    }
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Manifests read.
    pub manifests: u64,
    /// Configs and layers read.
    pub blobs: u64,
    /// Bytes read, of both.
    pub bytes: u64,
    /// Everything that is wrong; empty for a valid image.
    pub faults: Vec<Fault>,
}

/// Reads everything below `name`. Content that is wrong is a fault in the report, not an error.
///
/// # Errors
/// If the root is not there, or a store fails otherwise than by missing or wrong content.
pub async fn check(cx: &Cx, source: &dyn ImageSource, name: &Name) -> Result<Report> {
    let mut walk = Walk {
        source,
        report: Report::default(),
        seen: BTreeSet::new(),
    };
    let root = match source.resolve(cx, name).await {
        // The bytes may still say what is wrong with them.
        Err(error) if error.class() != Class::Invalid => return Err(error),
        other => other,
    };
    match (root, name) {
        (Ok(root), _) => walk.manifest(cx, String::new(), &root, 0).await?,
        (Err(error), Name::Digest(digest)) => walk.fault("root", *digest, unreadable(&error)),
        (Err(error), Name::Tag(_)) => return Err(error),
    }
    Ok(walk.report)
}

/// Indexes in indexes are followed so deep; real ones have one level, some two.
const DEEPEST: usize = 32;

struct Walk<'a> {
    source: &'a dyn ImageSource,
    report: Report,
    seen: BTreeSet<Digest>,
}

impl Walk<'_> {
    async fn manifest(
        &mut self,
        cx: &Cx,
        path: String,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<()> {
        if !self.seen.insert(*descriptor.digest()) {
            return Ok(());
        }
        let kind = if descriptor.media_type().is_index() {
            "index"
        } else {
            "manifest"
        };
        let at = if path.is_empty() {
            kind.to_owned()
        } else {
            path
        };
        // Each level is a level of the stack, too.
        if depth > DEEPEST {
            let reason = format!("it is nested in more than {DEEPEST} indexes");
            self.fault(&at, *descriptor.digest(), FaultKind::Unreadable { reason });
            return Ok(());
        }
        let name = Name::Digest(*descriptor.digest());
        let manifest = match self.source.manifest(cx, &name).await {
            Ok(manifest) => manifest,
            Err(error) => return self.content_fault(&at, descriptor, error),
        };
        self.report.manifests += 1;
        self.report.bytes += manifest.descriptor().size();
        self.compare(&at, descriptor, &manifest);
        let links = match manifest.links() {
            Ok(links) => links,
            Err(error) => {
                self.fault(&at, *descriptor.digest(), unreadable(&error));
                return Ok(());
            }
        };
        let mut diff_ids = None;
        if let Some(config) = &links.config {
            let bytes = self
                .blob(cx, format!("{at} > config"), config, Keep::Content)
                .await?;
            diff_ids = bytes
                .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
                .and_then(|config| config["rootfs"]["diff_ids"].as_array().map(Vec::len));
        }
        for (n, layer) in links.layers.iter().enumerate() {
            self.blob(cx, format!("{at} > layer {}", n + 1), layer, Keep::Nothing)
                .await?;
        }
        if let Some(diff_ids) = diff_ids
            && diff_ids != links.layers.len()
        {
            let layers = links.layers.len();
            self.fault(
                &at,
                *descriptor.digest(),
                FaultKind::Layers { layers, diff_ids },
            );
        }
        for (n, child) in links.manifests.iter().enumerate() {
            let path = format!("{at} > manifest {}", n + 1);
            Box::pin(self.manifest(cx, path, child, depth + 1)).await?;
        }
        Ok(())
    }

    fn compare(&mut self, at: &str, expected: &Descriptor, manifest: &RawManifest) {
        let actual = manifest.descriptor();
        if expected.size() != actual.size() {
            let kind = FaultKind::Size {
                expected: expected.size(),
                actual: actual.size(),
            };
            self.fault(at, *expected.digest(), kind);
        }
        if expected.media_type() != actual.media_type() {
            let kind = FaultKind::MediaType {
                expected: expected.media_type().to_string(),
                actual: actual.media_type().to_string(),
            };
            self.fault(at, *expected.digest(), kind);
        }
    }

    /// Reads a blob, and returns its bytes if they are wanted and right.
    async fn blob(
        &mut self,
        cx: &Cx,
        at: String,
        descriptor: &Descriptor,
        keep: Keep,
    ) -> Result<Option<Vec<u8>>> {
        if descriptor.media_type().is_nondistributable() && !descriptor.urls().is_empty() {
            return Ok(None);
        }
        if !self.seen.insert(*descriptor.digest()) && keep == Keep::Nothing {
            return Ok(None);
        }
        let task = cx.task("validate", Some(descriptor.size()));
        let mut content = self.source.blob(descriptor).open(0..descriptor.size());
        let mut hasher = descriptor.digest().algorithm().hasher();
        let (mut size, mut kept) = (0u64, Vec::new());
        loop {
            match content.try_next().await {
                Ok(Some(chunk)) => {
                    hasher.update(&chunk);
                    size += chunk.len() as u64;
                    task.add(chunk.len() as u64)?;
                    if keep == Keep::Content && size <= 16 << 20 {
                        kept.extend_from_slice(&chunk);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.content_fault(&at, descriptor, error)?;
                    return Ok(None);
                }
            }
        }
        self.report.blobs += 1;
        self.report.bytes += size;
        if size != descriptor.size() {
            let kind = FaultKind::Size {
                expected: descriptor.size(),
                actual: size,
            };
            self.fault(&at, *descriptor.digest(), kind);
            return Ok(None);
        }
        let actual = hasher.finish();
        if actual != *descriptor.digest() {
            self.fault(&at, *descriptor.digest(), FaultKind::Digest { actual });
            return Ok(None);
        }
        Ok(Some(kept))
    }

    /// What is missing or wrong is a fault; anything else is an error.
    fn content_fault(&mut self, at: &str, descriptor: &Descriptor, error: Error) -> Result<()> {
        let kind = match (&error, error.class()) {
            (_, Class::NotFound) => FaultKind::Missing,
            (Error::Digest { actual, .. }, _) => FaultKind::Digest { actual: **actual },
            (_, Class::Invalid | Class::Exhausted) => unreadable(&error),
            _ => return Err(error),
        };
        self.fault(at, *descriptor.digest(), kind);
        Ok(())
    }

    fn fault(&mut self, at: &str, digest: Digest, kind: FaultKind) {
        self.report.faults.push(Fault {
            at: at.to_owned(),
            digest,
            kind,
        });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Content,
    Nothing,
}

fn unreadable(error: &Error) -> FaultKind {
    FaultKind::Unreadable {
        reason: in_one_line(error),
    }
}

#[cfg(test)]
#[cfg(all(feature = "conformance", feature = "fs"))]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Blob, ImageSink, Layout, Place, conformance::Fixture};

    #[tokio::test]
    async fn all_faults_are_listed() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let fixture = Fixture::index();
        fixture.fill(&cx, &layout).await.unwrap();
        let name = Name::Digest(*fixture.root().digest());
        let good = check(&cx, &layout, &name).await.unwrap();
        assert_eq!((good.manifests, good.blobs, good.faults.len()), (3, 5, 0));

        // The fixture's blobs are config, base and own layer of the one, then of the other image.
        let path = |n: usize| {
            let descriptor = fixture.blobs()[n].descriptor();
            directory
                .path()
                .join(format!("blobs/sha256/{}", descriptor.digest().hex()))
        };
        fs::write(path(0), "x").unwrap();
        let mut bytes = fs::read(path(1)).unwrap();
        bytes[100] ^= 1;
        fs::write(path(1), bytes).unwrap();
        fs::remove_file(path(5)).unwrap();
        let report = check(&cx, &layout, &name).await.unwrap();
        let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(faults.join("\n"));
    }

    #[tokio::test]
    async fn indexes_in_indexes_end() {
        let (cx, store) = (Cx::default(), crate::Memory::default());
        let mut below: Vec<Descriptor> = Vec::new();
        for _ in 0..10_000 {
            let json = serde_json::json!({"schemaVersion": 2, "manifests": below});
            let raw = RawManifest::new(crate::MediaType::OCI_INDEX, json.to_string());
            store.put_manifest(&cx, &raw, Place::Child).await.unwrap();
            below = vec![raw.descriptor().clone()];
        }
        let root = Name::Digest(*below[0].digest());
        let report = check(&cx, &store, &root).await.unwrap();
        assert_eq!((report.manifests, report.faults.len()), (33, 1));
        let fault = report.faults[0].to_string();
        assert!(
            fault.ends_with("cannot be read: it is nested in more than 32 indexes"),
            "{fault}"
        );
    }

    #[tokio::test]
    async fn a_missing_root_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let cx = Cx::default();
        let error = check(&cx, &layout, &"v1".parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
        let fixture = Fixture::image();
        let root = fixture.root();
        layout
            .put_manifest(&cx, root, Place::Root(&["v1".parse().unwrap()]))
            .await
            .unwrap();
        let report = check(&cx, &layout, &"v1".parse().unwrap()).await.unwrap();
        assert_eq!(report.faults.len(), 3, "config and layers are missing");
    }
}
