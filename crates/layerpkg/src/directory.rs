//! Stand-in for repack's directory source.
use repack::{Content, Entry, EntryPath, Error, Kind, ReadAt, Result, Tree};
use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        ffi::OsStringExt,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Debug)]
struct Lazy(PathBuf, u64);
impl ReadAt for Lazy {
    fn size(&self) -> io::Result<u64> {
        Ok(self.1)
    }
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(&fs::File::open(&self.0)?, buf, at)
    }
}
pub(crate) fn open(path: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    walk(path, None, &mut tree)?;
    Ok(tree)
}
fn walk(path: &Path, at: Option<&EntryPath>, tree: &mut Tree) -> Result<()> {
    let fail = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = EntryPath::parse(entry.file_name().as_bytes())?;
        let name = match at {
            Some(at) => at.join(&name)?,
            None => name,
        };
        let meta = entry.path().symlink_metadata().map_err(fail)?;
        let kind = if meta.is_dir() {
            Kind::Dir
        } else if meta.is_symlink() {
            Kind::Symlink(
                fs::read_link(entry.path())
                    .map_err(fail)?
                    .into_os_string()
                    .into_vec()
                    .into(),
            )
        } else if meta.is_file() {
            Kind::File(Content::stored(
                Arc::new(Lazy(entry.path(), meta.len())),
                0,
                meta.len(),
                None,
            ))
        } else {
            Kind::Fifo
        };
        let dir = meta.is_dir();
        let mode = if meta.is_symlink() {
            0o777
        } else {
            meta.mode() & 0o7777
        };
        tree.insert(name.clone(), Entry::new(kind).with_mode(mode))?;
        if dir {
            walk(&entry.path(), Some(&name), tree)?;
        }
    }
    Ok(())
}
