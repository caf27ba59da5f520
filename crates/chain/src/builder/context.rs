//! Build contexts: a directory as a tar, read once for all images that share it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ocicore::{Blob, Cx, FileBlob};
use repack::{
    Entry, EntryPath, Ignore, Metadata, SizeLimits, Tree,
    dir::{self, Attributes},
    layer::{self, Compression},
};
use tokio::sync::OnceCell;

use crate::{Error, Result};

/// Largest context in bytes, before it is spooled; what engines get by default.
const LIMIT: u64 = 4 << 30;
/// Largest Dockerfile or ignore file in bytes.
const TEXT_LIMIT: u64 = 4 << 20;
/// What a Dockerfile from outside of the context is called in it.
const OUTSIDE: &str = ".imgchain.Dockerfile";

/// A context and the path of the Dockerfile in it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) blob: Arc<dyn Blob>,
    pub(super) dockerfile: String,
}

/// Contexts by their directories, relative to a root.
#[derive(Debug)]
pub(super) struct Contexts {
    root: PathBuf,
    trees: Cache<TreeKey, Arc<Tree>>,
    blobs: Cache<BlobKey, Arc<dyn Blob>>,
}

/// The directory, and the ignore file that a Dockerfile has for itself.
type TreeKey = (PathBuf, Option<PathBuf>);
/// As above, and the Dockerfile that was added.
type BlobKey = (TreeKey, Option<PathBuf>);

impl Contexts {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            trees: Cache::default(),
            blobs: Cache::default(),
        }
    }

    /// The context of an image. Docker always has the Dockerfile in it, even if it is ignored.
    pub(super) async fn get(&self, cx: &Cx, directory: &Path, file: &Path) -> Result<Context> {
        let failed = |source: repack::Error| match source {
            repack::Error::Cancelled => Error::Cancelled,
            source => Error::Context {
                path: directory.to_owned(),
                source: Box::new(source),
            },
        };
        let [absolute, file] = [directory, file].map(|path| self.root.join(path));
        let mut ignore = file.clone().into_os_string();
        ignore.push(".dockerignore");
        let ignore = Some(PathBuf::from(ignore)).filter(|ignore| ignore.is_file());
        let key = (absolute.clone(), ignore.clone());
        let read = cx.blocking(move |cx| read(&cx, &absolute, ignore.as_deref()));
        let read = async { Ok(Arc::new(read.await?)) };
        let tree = self.trees.get(key.clone(), read).await.map_err(failed)?;

        let inside = file
            .strip_prefix(&key.0)
            .ok()
            .and_then(Path::to_str)
            .map(str::to_owned);
        let name = inside.unwrap_or_else(|| OUTSIDE.to_owned());
        let path: EntryPath = name.parse().map_err(failed)?;
        let added = (!tree.contains(&path)).then(|| file.clone());
        let key = (key, added.clone());
        let write = async {
            let added = added.map(|file| (path, file));
            let blob = cx.blocking(move |cx| write(&cx, &tree, added)).await?;
            Ok(Arc::new(blob) as Arc<dyn Blob>)
        };
        let blob = self.blobs.get(key, write).await.map_err(failed)?;
        Ok(Context {
            blob,
            dockerfile: name,
        })
    }
}

/// Reads a directory without what its `.dockerignore` keeps out, or `ignore` instead of that.
/// Modes are those of the disk, for images inherit them; owner and times are of no matter.
fn read(cx: &Cx, root: &Path, ignore: Option<&Path>) -> repack::Result<Tree> {
    let usual = root.join(".dockerignore");
    let ignore = match text(ignore.unwrap_or(&usual)) {
        Err(repack::Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ignore::default()
        }
        text => Ignore::parse(&text?)?,
    };
    let options = dir::Options::default()
        .with_ignore(ignore)
        .with_attributes(Attributes::OfDisk);
    let limits = SizeLimits::default().with_unpacked(LIMIT);
    let mut tree = dir::open(cx, root, &options, &limits)?;
    tree.for_each_metadata(|_, _, metadata| {
        let mode = metadata.mode;
        *metadata = Metadata::default();
        metadata.mode = mode;
    });
    Ok(tree)
}

/// Writes a tree to a temporary file, with one more file from elsewhere.
fn write(cx: &Cx, tree: &Tree, added: Option<(EntryPath, PathBuf)>) -> repack::Result<FileBlob> {
    let with;
    let tree = match added {
        None => tree,
        Some((path, file)) => {
            let mut tree = tree.clone();
            tree.insert(path, Entry::file(text(&file)?))?;
            with = tree;
            &with
        }
    };
    let failed = |source| repack::Error::Io {
        action: "write the build context",
        source,
    };
    let temporary = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut writer = BufWriter::with_capacity(256 << 10, temporary.as_file());
    // Most engines are on the same machine.
    let options = layer::Options::default().with_compression(Compression::None);
    let written = layer::write(cx, tree, &options, &mut writer)?;
    drop(writer);
    let path = temporary.into_temp_path();
    Ok(FileBlob::temporary(written.descriptor(), path))
}

/// A Dockerfile or an ignore file.
fn text(path: &Path) -> repack::Result<String> {
    let failed = |source| repack::Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > TEXT_LIMIT {
        return Err(repack::Error::Limit {
            what: format!("`{}` with {size} bytes", path.display()),
            limit: TEXT_LIMIT,
        });
    }
    fs::read_to_string(path).map_err(failed)
}

/// Values that are made once, also if several ask for them at the same time.
#[derive(Debug)]
struct Cache<K, V>(Mutex<BTreeMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord, V: Clone> Cache<K, V> {
    /// The value of a key; if it could not be made, the next one who asks tries again.
    async fn get(
        &self,
        key: K,
        make: impl Future<Output = repack::Result<V>>,
    ) -> repack::Result<V> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_try_init(|| make).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(context: &Context) -> String {
        let file = context.blob.file().unwrap();
        let tree = repack::tar::open(&Cx::default(), file, &SizeLimits::default()).unwrap();
        let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        names.join(" ")
    }

    #[tokio::test]
    async fn the_dockerfile_is_always_there_and_contexts_are_shared() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("src/.dockerignore", "*.no\n"),
            ("src/Dockerfile", "FROM a"),
            ("src/Dockerfile.b", "FROM b"),
            ("src/Dockerfile.no", "FROM no"),
            ("src/own", "FROM own"),
            ("src/own.dockerignore", "*\n!x\n"),
            ("src/x", "x"),
            ("outside", "FROM outside"),
        ] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        // Keys and the like must stay private in the image.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(root.path().join("src/x"), private).unwrap();
        let contexts = Contexts::new(root.path().to_owned());
        let get = async |file: &str| {
            contexts
                .get(&Cx::default(), "src".as_ref(), file.as_ref())
                .await
                .unwrap()
        };

        let usual = ".dockerignore Dockerfile Dockerfile.b own own.dockerignore x";
        let first = get("src/Dockerfile").await;
        assert_eq!(
            (names(&first), &*first.dockerfile),
            (usual.to_owned(), "Dockerfile")
        );
        let second = get("src/Dockerfile.b").await;
        assert_eq!(second.dockerfile, "Dockerfile.b");
        assert!(
            Arc::ptr_eq(&first.blob, &second.blob),
            "one context for both"
        );

        let ignored = get("src/Dockerfile.no").await;
        assert!(
            names(&ignored).contains("Dockerfile.no"),
            "{}",
            names(&ignored)
        );
        let own = get("src/own").await;
        assert_eq!((names(&own), &*own.dockerfile), ("own x".to_owned(), "own"));
        let file = own.blob.file().unwrap();
        let tree = repack::tar::open(&Cx::default(), file, &SizeLimits::default()).unwrap();
        let x = &tree.get(&"x".parse().unwrap()).unwrap().metadata;
        assert_eq!(
            (x.mode, x.uid, x.mtime),
            (0o600, 0, repack::Mtime::default())
        );
        let outside = get("outside").await;
        assert!(names(&outside).starts_with(".dockerignore .imgchain.Dockerfile "));
        assert_eq!(outside.dockerfile, OUTSIDE);

        // The same content gives the same bytes.
        let again = Contexts::new(root.path().to_owned());
        let again = again
            .get(&Cx::default(), "src".as_ref(), "src/own".as_ref())
            .await
            .unwrap();
        assert_eq!(again.blob.descriptor(), own.blob.descriptor());
    }

    #[tokio::test]
    async fn a_pattern_that_is_none_names_the_context() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".dockerignore"), "a[\n").unwrap();
        fs::write(root.path().join("Dockerfile"), "FROM a").unwrap();
        let contexts = Contexts::new(root.path().to_owned());
        let result = contexts
            .get(&Cx::default(), ".".as_ref(), "Dockerfile".as_ref())
            .await;
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "cannot read the build context `.`");
        assert!(std::error::Error::source(&error).is_some());
    }
}
