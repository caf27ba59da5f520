use std::{fs::File, io::BufWriter, path::Path};

use ocicore::Cx;

use crate::{
    Error, Result, Tree,
    layer::{self, Options, Written},
};

/// Writes a tree as a layer to a file, which is there whole or not at all: a temporary file beside
/// it is renamed when all content is verified and on disk. What was at `path` before stays there
/// until then.
///
/// ```
/// use repack::{Cx, Entry, Tree, into_layer, layer::Options};
///
/// let dir = tempfile::tempdir()?;
/// let mut tree = Tree::new();
/// tree.insert("hello".parse()?, Entry::file("world"))?;
/// let path = dir.path().join("layer.tar.gz");
/// let written = into_layer(&Cx::default(), &tree, &Options::default(), &path)?;
/// assert_eq!(std::fs::metadata(&path)?.len(), written.size);
/// assert_eq!(written.descriptor().digest(), &written.digest);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`layer::write`], and [`Error::File`].
pub fn into_layer(
    cx: &Cx,
    tree: &Tree,
    options: &Options,
    path: impl AsRef<Path>,
) -> Result<Written> {
    let path = path.as_ref();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Opened first, to make the rename durable in the end.
    let opened = File::open(directory).map_err(Error::file("open", directory))?;
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".layer-");
    // As for any other file that is created: the umask says who may read it.
    #[cfg(unix)]
    temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = temporary
        .tempfile_in(directory)
        // The error itself has the temporary name in it.
        .map_err(|error| Error::file("create a file in", directory)(error.kind().into()))?;
    let mut writer = BufWriter::with_capacity(256 << 10, temporary.as_file());
    let written = layer::write(cx, tree, options, &mut writer)?;
    drop(writer);
    let failed = |error| Error::file("write", path)(error);
    temporary.as_file().sync_all().map_err(failed)?;
    temporary
        .persist(path)
        .map_err(|error| Error::file("rename", path)(error.error))?;
    if cfg!(unix) {
        opened
            .sync_all()
            .map_err(|error| Error::file("write", path)(error))?;
    }
    Ok(written)
}
