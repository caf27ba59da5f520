mod disk;
mod index;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use self::{
    disk::{is_temporary, read_limited, starts_like_json},
    index::{entries, list_root, ref_name},
};
use crate::{
    Blob, BoxStream, Cx, Descriptor, Digest, Error, ImageSink, ImageSource, MediaType, Name, Place,
    RawManifest, Result, SizeLimits, Stored, Tag, Verifier, blob::failed, file::read_file,
    sniff_media_type,
};

pub(crate) use disk::{directory_of, persist};

/// Annotation of a root's name (image-spec annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Bytes of content that is kept in memory until all of it is there.
const SMALL: u64 = 128 << 10;

/// An OCI image layout on disk (image-spec image-layout.md).
///
/// Content is written to a temporary file, synced and renamed; `index.json` is replaced as a whole
/// under a lock on the directory, so that several processes may write. A kill at any
/// moment leaves the old state or the new one. What earlier writers left behind is removed by
/// [`Layout::open_or_create`].
///
/// Roots are listed in `index.json`. Manifests that are [`Place::Child`] are not: referrers are
/// found by reading what is JSON among the blobs.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    limits: SizeLimits,
}

impl Layout {
    /// Opens a layout that is there.
    ///
    /// # Errors
    /// [`Error::Format`] if the directory is no layout of version 1.0.0.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self {
            root: root.into(),
            limits: SizeLimits::default(),
        };
        let path = layout.root.join("oci-layout");
        let fault = |fault: &str| Error::Format {
            path: path.display().to_string(),
            fault: fault.to_owned(),
        };
        let bytes = match read_limited(&path, 4096) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(fault(
                    "no such file, so the directory is no OCI image layout",
                ));
            }
            other => other.map_err(|error| layout.io("open", &path, error))?,
        };
        let marker: Value = serde_json::from_slice(&bytes).map_err(|_| fault("it is no JSON"))?;
        match marker["imageLayoutVersion"].as_str() {
            Some("1.0.0") => Ok(layout),
            _ => Err(fault("expected imageLayoutVersion 1.0.0")),
        }
    }

    /// Opens a layout, or makes one in a directory that is empty or not there.
    ///
    /// # Errors
    /// [`Error::Format`] if the directory holds something else.
    pub fn open_or_create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        if root.join("oci-layout").exists() {
            let layout = Self::open(root)?;
            layout.sweep()?;
            return Ok(layout);
        }
        let layout = Self {
            root,
            limits: SizeLimits::default(),
        };
        let create = || {
            fs::create_dir_all(&layout.root)?;
            let guard = layout.guard()?;
            guard.lock()?;
            // Somebody else may have made it meanwhile.
            if layout.root.join("oci-layout").exists() {
                return Ok(());
            }
            if fs::read_dir(&layout.root)?.any(|entry| {
                entry.is_ok_and(|e| {
                    let name = e.file_name();
                    name != "blobs" && name != "index.json" && !is_temporary(&e.path())
                })
            }) {
                return Err(io::Error::from(Error::Format {
                    path: layout.root.display().to_string(),
                    fault: "the directory is neither empty nor an OCI image layout".to_owned(),
                }));
            }
            fs::create_dir_all(layout.root.join("blobs/sha256"))?;
            if !layout.root.join("index.json").exists() {
                let index = json!({
                    "manifests": [], "mediaType": MediaType::OCI_INDEX, "schemaVersion": 2,
                });
                layout.replace("index.json", index.to_string().as_bytes())?;
            }
            // Last, for it is what makes the directory a layout.
            layout.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        };
        create().map_err(|error| layout.io("create", &layout.root, error))?;
        Ok(layout)
    }

    /// With other limits for foreign documents.
    pub fn with_limits(mut self, limits: SizeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// All roots with their names, in the order of `index.json`. A name is any text: tools write
    /// tags there, and whole references, too.
    ///
    /// # Errors
    /// If `index.json` cannot be read.
    pub fn roots(&self) -> Result<Vec<(Option<String>, Descriptor)>> {
        let index = self.read_index()?;
        entries(&index)
            .iter()
            .map(|entry| {
                let descriptor: Descriptor = serde_json::from_value(entry.clone())
                    .map_err(|error| self.bad_index(&error.to_string()))?;
                let name = descriptor.annotations().get(REF_NAME).cloned();
                Ok((name, plain(&descriptor)))
            })
            .collect()
    }

    /// The root that is called `name`, which need be no valid tag.
    ///
    /// # Errors
    /// Of class `NotFound` if there is none.
    pub fn root(&self, name: &str) -> Result<Descriptor> {
        let mut roots = self.roots()?.into_iter();
        let found = roots.find(|(known, _)| known.as_deref() == Some(name));
        found
            .map(|(_, root)| root)
            .ok_or_else(|| Error::not_found("resolve", name, self))
    }

    /// Where content of this digest lies or would lie.
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root
            .join(format!("blobs/{}/{}", digest.algorithm(), digest.hex()))
    }

    fn read_manifest(&self, name: &Name) -> Result<RawManifest> {
        let root = self.listed(name)?;
        let digest = root
            .as_ref()
            .map(|root| *root.digest())
            .or(name.digest().copied());
        let digest = digest.ok_or_else(|| Error::not_found("read", name, self))?;
        let path = self.blob_path(&digest);
        let bytes =
            read_limited(&path, self.limits.manifest()).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::not_found("read", name, self),
                _ => self.io("read", &path, error),
            })?;
        let media_type = match &root {
            Some(root) => root.media_type().clone(),
            // A layer by its digest is no manifest.
            None => sniff_media_type(&bytes).map_err(|_| Error::not_found("read", name, self))?,
        };
        RawManifest::verified(media_type, bytes, &digest)
    }

    /// The root that `name` means, if it is listed.
    fn listed(&self, name: &Name) -> Result<Option<Descriptor>> {
        let hit = |(known, root): &(Option<String>, Descriptor)| match name {
            Name::Tag(tag) => known.as_deref() == Some(tag.as_str()),
            Name::Digest(digest) => root.digest() == digest,
        };
        Ok(self.roots()?.into_iter().find(hit).map(|(_, root)| root))
    }

    /// All manifests of the layout, listed or not: small JSON files among the blobs.
    fn all_manifests(&self, cx: &Cx) -> Result<Vec<RawManifest>> {
        let mut found = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let directory = self.root.join("blobs").join(algorithm);
            let listing = match fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| self.io("list", &directory, error))?,
            };
            for entry in listing {
                cx.check()?;
                let entry = entry.map_err(|error| self.io("list", &directory, error))?;
                let name = entry.file_name();
                let digest = format!("{algorithm}:{}", name.to_string_lossy()).parse::<Digest>();
                let Ok(digest) = digest else { continue };
                if starts_like_json(&entry.path(), self.limits.manifest()) {
                    match self.read_manifest(&Name::Digest(digest)) {
                        Ok(manifest) => found.push(manifest),
                        Err(error) => tracing::debug!(%digest, %error, "no manifest"),
                    }
                }
            }
        }
        found.sort_by_key(|manifest| *manifest.digest());
        Ok(found)
    }

    fn delete_name(&self, cx: &Cx, name: &Name) -> Result<()> {
        let missing = || Error::not_found("delete", name, self);
        match name {
            Name::Tag(tag) => self.edit_index(|entries| {
                let before = entries.clone();
                entries.retain(|entry| ref_name(entry) != Some(tag.as_str()));
                let Some(removed) = before.iter().find(|e| ref_name(e) == Some(tag.as_str()))
                else {
                    return Err(missing());
                };
                // The manifest stays a root, without a name.
                if !entries
                    .iter()
                    .any(|entry| entry["digest"] == removed["digest"])
                {
                    let mut unnamed = removed.clone();
                    if let Some(Value::Object(annotations)) = unnamed.get_mut("annotations") {
                        annotations.remove(REF_NAME);
                    }
                    entries.push(unnamed);
                }
                Ok(())
            }),
            Name::Digest(digest) => {
                let text = digest.to_string();
                self.read_manifest(name)?;
                self.edit_index(|entries| {
                    entries.retain(|entry| entry["digest"].as_str() != Some(&text));
                    Ok(())
                })?;
                let path = self.blob_path(digest);
                cx.check()?;
                fs::remove_file(&path).map_err(|error| self.io("delete", &path, error))
            }
        }
    }

    fn io(&self, action: &'static str, path: &Path, error: io::Error) -> Error {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        Error::io(action, path.display(), self, error)
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oci:{}", self.root.display())
    }
}

#[async_trait]
impl ImageSource for Layout {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        Ok(self.manifest(cx, name).await?.descriptor().clone())
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        let (layout, name) = (self.clone(), name.clone());
        cx.check()?;
        cx.blocking(move |_| layout.read_manifest(&name)).await
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        let path = self.blob_path(descriptor.digest());
        Arc::new(LayoutBlob {
            layout: self.clone(),
            descriptor: descriptor.clone(),
            path,
        })
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        let (layout, subject) = (self.clone(), *subject);
        cx.blocking(move |cx| {
            let manifests = layout.all_manifests(&cx)?;
            Ok(manifests
                .iter()
                .filter_map(|raw| raw.as_referrer_of(&subject))
                .collect())
        })
        .await
    }

    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        let (layout, cx) = (self.clone(), cx.clone());
        let list = async move {
            cx.check()?;
            let roots = cx.blocking(move |_| layout.roots()).await?;
            let names = roots.into_iter().filter_map(|(name, _)| name?.parse().ok());
            let tags: std::collections::BTreeSet<Tag> = names.collect();
            Ok::<_, Error>(stream::iter(tags.into_iter().map(Ok)))
        };
        stream::once(list).try_flatten().boxed()
    }
}

#[async_trait]
impl ImageSink for Layout {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        cx.check()?;
        let path = self.blob_path(descriptor.digest());
        match cx.blocking(move |_| fs::metadata(&path)).await {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == descriptor.size()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("find", descriptor.digest(), self, error)),
        }
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        let descriptor = blob.descriptor().clone();
        if self.has_blob(cx, &descriptor).await? {
            return Ok(Stored::Present);
        }
        let content = match blob.file() {
            Some(file) => Content::File(file.to_owned()),
            None if descriptor.size() <= SMALL => {
                let stream = blob.open(0..descriptor.size());
                let arrived = cx.or_cancelled(arrived(stream, descriptor.size()));
                Content::Stream(
                    arrived
                        .await
                        .map_err(|error| error.blamed_on(blob.origin()))?,
                )
            }
            None => Content::Stream(blob.open(0..descriptor.size())),
        };
        let layout = self.clone();
        let written = cx.blocking(move |cx| {
            let path = layout.blob_path(descriptor.digest());
            let write = || {
                let mut file = layout.temporary()?;
                let mut verifier = Verifier::new(&descriptor);
                let mut take = |bytes: &[u8]| {
                    cx.check().map_err(Error::from)?;
                    verifier.update(bytes)?;
                    file.write_all(bytes)
                };
                match content {
                    Content::File(source) => {
                        let (mut source, mut buffer) = (File::open(source)?, vec![0; 256 << 10]);
                        while let n @ 1.. = source.read(&mut buffer)? {
                            take(&buffer[..n])?;
                        }
                    }
                    Content::Stream(stream) => {
                        let mut source = crate::Reader::new(&cx, stream);
                        while let Some(chunk) = source.chunk()? {
                            take(&chunk)?;
                        }
                    }
                }
                verifier.finish()?;
                persist(file, &path)
            };
            write().map_err(|error| layout.io("write", &path, error))?;
            Ok(Stored::Written)
        });
        written
            .await
            .map_err(|error: Error| error.blamed_on(blob.origin()))
    }

    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        cx.check()?;
        let (layout, manifest) = (self.clone(), manifest.clone());
        let tags = match place {
            Place::Child => None,
            Place::Root(tags) => Some(tags.to_vec()),
        };
        cx.blocking(move |_| {
            layout.write_blob(manifest.digest(), manifest.bytes())?;
            let Some(tags) = tags else { return Ok(()) };
            layout.edit_index(|entries| {
                list_root(entries, manifest.descriptor(), &tags);
                Ok(())
            })
        })
        .await
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        cx.check()?;
        let (layout, name) = (self.clone(), name.clone());
        cx.blocking(move |cx| layout.delete_name(&cx, &name)).await
    }
}

/// All of what is small, so that no thread waits for it; no more than tells that it is too long.
async fn arrived(mut stream: BoxStream<Bytes>, size: u64) -> Result<BoxStream<Bytes>> {
    let (mut parts, mut len) = (Vec::new(), 0);
    while len <= size
        && let Some(part) = stream.try_next().await?
    {
        len += part.len() as u64;
        if !part.is_empty() {
            parts.push(Ok(part));
        }
    }
    Ok(stream::iter(parts).boxed())
}

enum Content {
    File(PathBuf),
    Stream(BoxStream<Bytes>),
}

/// A blob that may be missing until it is read.
#[derive(Debug)]
struct LayoutBlob {
    layout: Layout,
    descriptor: Descriptor,
    path: PathBuf,
}

impl Blob for LayoutBlob {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        if !self.path.exists() {
            return failed(Error::not_found(
                "read",
                self.descriptor.digest(),
                &self.layout,
            ));
        }
        read_file(self.path.clone(), range)
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
            .filter(|path| path.exists())
            .map(PathBuf::as_path)
    }
}

/// Without what only `index.json` says of it.
fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(
        descriptor.media_type().clone(),
        *descriptor.digest(),
        descriptor.size(),
    )
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use super::*;
    use crate::conformance::{Fixture, Suite};

    #[tokio::test]
    async fn conforms() {
        let directory = tempfile::tempdir().unwrap();
        let number = std::sync::atomic::AtomicU32::new(0);
        Suite::default()
            .store(async || {
                let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let path = directory.path().join(n.to_string());
                Arc::new(Layout::open_or_create(path).unwrap()) as _
            })
            .await;
    }

    #[tokio::test]
    async fn any_name_is_opened_and_unknown_fields_stay() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let fixture = Fixture::image();
        fixture.fill(&cx, &layout).await.unwrap();
        let path = directory.path().join("index.json");
        let odd = fs::read_to_string(&path)
            .unwrap()
            .replace("\"v1\"", "\"h.io/a b:1\"");
        fs::write(&path, odd.replacen('{', r#"{"x":{"y":[1]},"#, 1)).unwrap();
        assert_eq!(
            layout.root("h.io/a b:1").unwrap(),
            *fixture.root().descriptor()
        );
        assert!(
            layout
                .tags(&cx)
                .try_collect::<Vec<_>>()
                .await
                .unwrap()
                .is_empty()
        );
        Fixture::index().fill(&cx, &layout).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(r#""x":{"y":[1]}"#) && text.contains("h.io/a b:1"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut errors = Vec::new();
        let mut check = |result: Result<Layout>| {
            let text = result.unwrap_err().to_string();
            errors.push(text.replace(&directory.path().display().to_string(), "DIR"));
        };
        check(Layout::open(directory.path()));
        fs::write(directory.path().join("mine.txt"), "x").unwrap();
        check(Layout::open_or_create(directory.path()));
        fs::write(directory.path().join("oci-layout"), "{}").unwrap();
        check(Layout::open(directory.path()));
        fs::write(directory.path().join("oci-layout"), "nope").unwrap();
        check(Layout::open_or_create(directory.path()));
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn leftovers_of_the_dead_are_removed_and_of_the_living_kept() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path()).unwrap();
        let alive = layout.temporary().unwrap();
        let dead = directory.path().join(".tmp-dead");
        fs::write(&dead, "half").unwrap();
        Layout::open_or_create(directory.path()).unwrap();
        assert!(alive.path().exists());
        assert!(!dead.exists());
    }

    /// A blob that says a size, and never ends.
    #[derive(Debug)]
    struct Endless(Descriptor);

    #[deny(clippy::missing_trait_methods)]
    impl Blob for Endless {
        fn descriptor(&self) -> &Descriptor {
            &self.0
        }

        fn open(&self, _: Range<u64>) -> BoxStream<Bytes> {
            let parts = [Bytes::new(), Bytes::from_static(&[0; 1000])];
            stream::iter(parts).cycle().map(Ok).boxed()
        }

        fn origin(&self) -> Option<&crate::Repository> {
            None
        }

        fn file(&self) -> Option<&Path> {
            None
        }
    }

    #[tokio::test]
    async fn content_without_an_end_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path()).unwrap();
        for size in [1, 1000, 2500, SMALL, SMALL + 1] {
            let digest = Digest::of(&vec![0; usize::try_from(size).unwrap()]);
            let blob = Endless(Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, size));
            let put = layout.put_blob(&Cx::default(), &blob).await;
            let expected = format!("its descriptor says {size}");
            let error = put.unwrap_err().to_string();
            assert!(error.contains(&expected), "{error}");
        }
        let blobs = fs::read_dir(directory.path().join("blobs/sha256")).unwrap();
        assert_eq!(blobs.count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_writers_lose_no_tag() {
        let (cx, directory) = (Cx::default(), tempfile::tempdir().unwrap());
        let writes = (0..20).map(|n| {
            let (cx, path) = (cx.clone(), directory.path().to_owned());
            tokio::spawn(async move {
                let layout = Layout::open_or_create(path).unwrap();
                let tag: Tag = format!("t{n}").parse().unwrap();
                let manifest = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
                layout
                    .put_manifest(&cx, &manifest, Place::Root(&[tag]))
                    .await
                    .unwrap();
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
        let layout = Layout::open(directory.path()).unwrap();
        assert_eq!(
            layout
                .tags(&cx)
                .try_collect::<Vec<_>>()
                .await
                .unwrap()
                .len(),
            20
        );
    }
}
