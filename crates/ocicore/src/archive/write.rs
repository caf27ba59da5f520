use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::json;

use crate::{
    Blob, Cx, Digest, Error, Image, ImageSource, MediaType, Memory, Name, Platform, Reader, Result,
    copy, image::canonical, layout::REF_NAME, verified_blob,
};

/// An image to write, and what to call it.
#[derive(Clone, Debug)]
pub struct Root {
    from: Name,
    names: Vec<String>,
}

impl Root {
    /// A root of the source under these names: references for a docker-archive, any text for an
    /// oci-archive.
    pub fn new<T: Into<String>>(from: impl Into<Name>, names: impl IntoIterator<Item = T>) -> Self {
        Self {
            from: from.into(),
            names: names.into_iter().map(Into::into).collect(),
        }
    }
}

/// Writes a docker-archive: for `docker load` and `podman load`. Of an index, the image for
/// `platform`. Layers stay compressed as they are.
///
/// # Errors
/// The source's and the writer's; content is verified on its way.
pub async fn write_docker<W: Write + Send + 'static>(
    cx: &Cx,
    source: Arc<dyn ImageSource>,
    roots: &[Root],
    platform: &Platform,
    to: W,
) -> Result<W> {
    let mut files = Files::default();
    let mut items = Vec::new();
    for root in roots {
        let image = Image::open(cx, &*source, &root.from, platform).await?;
        let config = format!("{}.json", Digest::of(image.config().bytes()).hex());
        files.0.insert(
            config.clone(),
            Content::Bytes(image.config().bytes().clone()),
        );
        let mut layers = Vec::new();
        for layer in image.layers()? {
            let name = format!("{}.tar", layer.blob().descriptor().digest().hex());
            files
                .0
                .insert(name.clone(), Content::Blob(Arc::clone(layer.blob())));
            layers.push(name);
        }
        items.push(json!({"Config": config, "RepoTags": root.names, "Layers": layers}));
    }
    let manifest = canonical(&json!(items));
    files
        .0
        .insert("manifest.json".to_owned(), Content::Bytes(manifest.into()));
    files.write(cx, to).await
}

/// Writes an oci-archive: whole indexes and their referrers, digests unchanged.
///
/// # Errors
/// The source's and the writer's; content is verified on its way.
pub async fn write_oci<W: Write + Send + 'static>(
    cx: &Cx,
    source: Arc<dyn ImageSource>,
    roots: &[Root],
    to: W,
) -> Result<W> {
    let mut files = Files::default();
    let mut entries = Vec::new();
    let mut wanted = Vec::new();
    for root in roots {
        let descriptor = source.resolve(cx, &root.from).await?;
        wanted.push(copy::Root::same(Name::Digest(*descriptor.digest())));
        if root.names.is_empty() {
            entries.push(json!(descriptor));
        }
        for name in &root.names {
            entries.push(json!(descriptor.clone().with_annotation(REF_NAME, name)));
        }
    }
    // Nothing is in the archive yet, as nothing is in an empty store.
    let nothing = Memory::default();
    let plan = copy::plan(cx, &*source, &nothing, &wanted, &copy::Options::default()).await?;
    let path = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    for blob in plan.blobs() {
        files
            .0
            .insert(path(blob.digest()), Content::Blob(source.blob(blob)));
    }
    for manifest in plan.raw_manifests() {
        let bytes = manifest.bytes().clone();
        files
            .0
            .insert(path(manifest.digest()), Content::Bytes(bytes));
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
    });
    files.0.insert(
        "index.json".to_owned(),
        Content::Bytes(canonical(&index).into()),
    );
    let marker = Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#);
    files
        .0
        .insert("oci-layout".to_owned(), Content::Bytes(marker));
    files.write(cx, to).await
}

/// Files of the archive, each once, in the order of their names.
#[derive(Default)]
struct Files(BTreeMap<String, Content>);

enum Content {
    Bytes(Bytes),
    Blob(Arc<dyn Blob>),
}

impl Files {
    async fn write<W: Write + Send + 'static>(self, cx: &Cx, to: W) -> Result<W> {
        cx.blocking(move |cx| {
            let mut builder = tar::Builder::new(to);
            for (name, content) in &self.0 {
                append(&cx, &mut builder, name, content).map_err(|error| io_error(name, error))?;
            }
            let mut to = builder
                .into_inner()
                .map_err(|error| io_error("end", error))?;
            to.flush().map_err(|error| io_error("end", error))?;
            Ok(to)
        })
        .await
    }
}

fn append(
    cx: &Cx,
    builder: &mut tar::Builder<impl Write>,
    name: &str,
    content: &Content,
) -> io::Result<()> {
    cx.check().map_err(Error::from)?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_mtime(1);
    match content {
        Content::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, &bytes[..])
        }
        Content::Blob(blob) => {
            let size = blob.descriptor().size();
            header.set_size(size);
            let task = cx.task("write", Some(size));
            builder.append_data(&mut header, name, Reader::new(cx, verified_blob(&**blob)))?;
            task.add(size).map_err(Error::from)?;
            Ok(())
        }
    }
}

fn io_error(name: &str, error: io::Error) -> Error {
    Error::io("write", name, "an archive", error)
}

/// A file that appears as a whole or not at all: it is written under another name, synced, and
/// renamed by [`AtomicFile::commit`]. Dropped without that, it is gone.
#[derive(Debug)]
pub struct AtomicFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins to write beside `path`, whose directory is made if it is not there.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let directory = crate::layout::directory_of(path);
        let create = || {
            fs::create_dir_all(directory)?;
            tempfile::Builder::new()
                .prefix(".tmp-")
                .tempfile_in(directory)
        };
        let file = create().map_err(|error| file_error(path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// The file as it is being written.
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Makes it the content of the path, durably.
    ///
    /// # Errors
    /// If the disk is full or the path cannot be written; the old file stays.
    pub fn commit(self) -> Result<()> {
        let Self { file, path } = self;
        crate::layout::persist(file, &path).map_err(|error| file_error(&path, error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn file_error(path: &Path, error: io::Error) -> Error {
    Error::io("write", path.display(), "the file system", error)
}
