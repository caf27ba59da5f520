//! Directories as trees.

use std::{
    fs::{self, File, FileType, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ocicore::Cx;
use repack::{Content, Entry, EntryPath, ReadAt, Result, Tree};

use super::ignore::Ignore;

/// Largest ignore file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads a directory without what its `.dockerignore` keeps out, or `ignore` instead of that. Only
/// names and metadata are read. Sockets, pipes and devices are left out, as Docker does it.
///
/// # Errors
/// If it cannot be read, or an ignore file has a pattern that is none.
pub(super) fn read(cx: &Cx, root: &Path, ignore: Option<&Path>) -> Result<Tree> {
    let usual = root.join(".dockerignore");
    let text = match read_text(ignore.unwrap_or(&usual)) {
        Err(repack::Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            String::new()
        }
        text => text?,
    };
    let mut walk = Walk {
        cx,
        ignore: Ignore::parse(&text)?,
        tree: Tree::new(),
    };
    walk.directory(root, None)?;
    Ok(walk.tree)
}

/// A regular file as an entry; its content is read when it is needed.
///
/// # Errors
/// If there is none.
pub(super) fn file(path: &Path) -> Result<Entry> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    let size = metadata.len();
    let content = Content::stored(
        Arc::new(OnDisk {
            path: path.to_owned(),
            size,
        }),
        0,
        size,
        None,
    );
    Ok(Entry::file(content).with_mode(mode(&metadata)))
}

struct Walk<'a> {
    cx: &'a Cx,
    ignore: Ignore,
    tree: Tree,
}

impl Walk<'_> {
    fn directory(&mut self, at: &Path, name: Option<&EntryPath>) -> Result<()> {
        self.cx.check()?;
        for found in fs::read_dir(at).map_err(failed("read", at))? {
            let found = found.map_err(failed("read", at))?;
            let path = EntryPath::parse(found.file_name().as_encoded_bytes())?;
            let path = match name {
                Some(name) => name.join(&path)?,
                None => path,
            };
            let kind = found.file_type().map_err(failed("read", &found.path()))?;
            self.entry(&found.path(), path, kind)?;
        }
        Ok(())
    }

    fn entry(&mut self, at: &Path, path: EntryPath, kind: FileType) -> Result<()> {
        let excluded = self.ignore.excludes(&path);
        if kind.is_dir() {
            if !excluded {
                let metadata = fs::symlink_metadata(at).map_err(failed("read", at))?;
                self.tree
                    .insert(path.clone(), Entry::dir().with_mode(mode(&metadata)))?;
            }
            if !excluded || self.ignore.may_let_in() {
                self.directory(at, Some(&path))?;
            }
        } else if excluded {
            // Of no interest, also if it cannot be read.
        } else if kind.is_symlink() {
            let target = fs::read_link(at).map_err(failed("read", at))?;
            let target = target.into_os_string().into_encoded_bytes();
            self.tree.insert(path, Entry::symlink(target))?;
        } else if kind.is_file() {
            self.tree.insert(path, file(at)?)?;
        }
        Ok(())
    }
}

/// A file that is opened for each read, since there can be more of them than a process may open.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    size: u64,
}

impl ReadAt for OnDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&File::open(&self.path)?, buffer, offset)
    }
}

fn read_text(path: &Path) -> Result<String> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if metadata.len() > LIMIT {
        let error = io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {LIMIT} bytes"),
        );
        return Err(failed("read", path)(error));
    }
    fs::read_to_string(path).map_err(failed("read", path))
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

/// As Docker has it where files have no mode.
#[cfg(not(unix))]
fn mode(_: &Metadata) -> u32 {
    0o755
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> repack::Error + 'a {
    move |source| repack::Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_tree_without_what_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        };
        ["a/keep", "a/b/drop", "secret", "c/x"]
            .into_iter()
            .for_each(write);
        fs::write(root.path().join(".dockerignore"), "a\nsecret\n!a/keep\n").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/etc", root.path().join("c/link")).unwrap();
            std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
        }
        let names = |ignore: Option<&Path>| {
            let tree = read(&Cx::default(), root.path(), ignore).unwrap();
            let names: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
            names.join(" ")
        };
        assert_eq!(names(None), ".dockerignore a a/keep c c/link c/x");
        let own = root.path().join("Dockerfile.dockerignore");
        fs::write(&own, "*\n!secret\n").unwrap();
        assert_eq!(names(Some(&own)), "secret");
        let tree = read(&Cx::default(), root.path(), None).unwrap();
        assert_eq!(tree.read(&"c/x".parse().unwrap(), 100).unwrap(), "content");
    }
}
