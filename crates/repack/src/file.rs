use std::{
    fs::File,
    io::{self, BufWriter, Write},
    panic,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use ocicore::Cx;

use crate::{
    Error, Result, Tree,
    layer::{self, Options, Written},
};

/// After so many bytes the disk may begin to write.
const STEP: usize = 16 << 20;

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
    let file = temporary.as_file();
    let (sender, receiver) = sync_channel(1);
    let (written, synced) = thread::scope(|scope| {
        let syncing = scope.spawn(move || sync(file, &receiver));
        let to = Synced {
            file,
            left: STEP,
            sync: sender,
        };
        let mut writer = BufWriter::with_capacity(256 << 10, to);
        let written = layer::write(cx, tree, options, &mut writer);
        drop(writer);
        let synced = syncing.join();
        (
            written,
            synced.unwrap_or_else(|cause| panic::resume_unwind(cause)),
        )
    });
    let written = written?;
    let failed = |error| Error::file("write", path)(error);
    // A fault of the disk is told once only.
    synced.and_then(|()| file.sync_all()).map_err(failed)?;
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

/// A file that is brought to the disk while it is written, so that little is left to do in the end.
struct Synced<'f> {
    file: &'f File,
    left: usize,
    sync: SyncSender<()>,
}

fn sync(file: &File, asked: &Receiver<()>) -> io::Result<()> {
    asked.iter().try_for_each(|()| file.sync_data())
}

impl Write for Synced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.left = self.left.saturating_sub(n);
        if self.left == 0 {
            self.left = STEP;
            // If it is still at the last step, or has failed, this is for later.
            let _ = self.sync.try_send(());
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
