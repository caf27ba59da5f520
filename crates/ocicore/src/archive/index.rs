use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{Algorithm, Cx, Digest, Error, Result, SizeLimits};

/// Where the files of a tar lie.
pub(super) struct Index {
    pub(super) path: PathBuf,
    pub(super) limits: SizeLimits,
    files: BTreeMap<String, Range<u64>>,
    /// Symbolic and hard links, which older versions of Docker write for layers that repeat.
    links: BTreeMap<String, String>,
}

impl Index {
    pub(super) fn read(cx: &Cx, path: &Path, limits: SizeLimits) -> Result<Self> {
        let mut index = Self {
            path: path.to_owned(),
            limits,
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        let mut file = File::open(path).map_err(|error| index.io(error))?;
        let len = file.metadata().map_err(|error| index.io(error))?.len();
        let mut magic = [0; 4];
        if file.read_exact(&mut magic).is_ok() && (magic[..2] == [0x1f, 0x8b] || magic == ZSTD) {
            return Err(index.fault("it is compressed: decompress it first"));
        }
        file.rewind().map_err(|error| index.io(error))?;
        let mut archive = tar::Archive::new(file);
        let entries = archive
            .entries_with_seek()
            .map_err(|error| index.damaged(&error))?;
        for (n, entry) in entries.enumerate() {
            cx.check()?;
            if n as u64 >= index.limits.entries() {
                let what = format!("the number of entries of `{}`", path.display());
                return Err(Error::Limit {
                    what,
                    limit: index.limits.entries(),
                });
            }
            let entry = entry.map_err(|error| index.damaged(&error))?;
            let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let start = entry.raw_file_position();
                    let end = start.saturating_add(entry.size());
                    if end > len {
                        return Err(index.fault(&format!("it is cut off within `{name}`")));
                    }
                    index.files.insert(name, start..end);
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let Some(target) = entry.link_name_bytes() else {
                        continue;
                    };
                    let target = String::from_utf8_lossy(&target).into_owned();
                    let base = match entry.header().entry_type() {
                        tar::EntryType::Symlink => name.rsplit_once('/').map_or("", |(dir, _)| dir),
                        _ => "",
                    };
                    let target = normal(&format!("{base}/{target}"));
                    index.links.insert(name, target);
                }
                _ => {}
            }
        }
        Ok(index)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.range(name).is_ok()
    }

    /// All files with the prefix, which is cut off.
    pub(super) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Range<u64>)> {
        self.files
            .iter()
            .filter_map(move |(name, at)| Some((name.strip_prefix(prefix)?, at)))
    }

    /// Where a file lies, links followed.
    pub(super) fn range(&self, name: &str) -> Result<Range<u64>> {
        let mut at = normal(name);
        for _ in 0..8 {
            if let Some(range) = self.files.get(&at) {
                return Ok(range.clone());
            }
            match self.links.get(&at) {
                Some(target) => at.clone_from(target),
                None => break,
            }
        }
        Err(self.fault(&format!("`{name}` is missing")))
    }

    /// A small file, whole.
    pub(super) fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let range = self.range(name)?;
        let size = range.end - range.start;
        if size > limit {
            return Err(Error::Limit {
                what: format!("`{name}`"),
                limit,
            });
        }
        let mut bytes = Vec::new();
        let mut part = self.part(range)?;
        part.read_to_end(&mut bytes)
            .map_err(|error| self.io(error))?;
        if (bytes.len() as u64) < size {
            return Err(self.fault(&format!("it is cut off within `{name}`")));
        }
        Ok(bytes)
    }

    /// The first bytes of a range, fewer if it is shorter.
    pub(super) fn magic(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut part = self.part(range.start..range.end.min(range.start + 4))?;
        part.read_to_end(&mut bytes)
            .map_err(|error| self.io(error))?;
        Ok(bytes)
    }

    pub(super) fn digest(&self, cx: &Cx, range: Range<u64>) -> Result<Digest> {
        let task = cx.task("hash", Some(range.end - range.start));
        let mut hasher = Algorithm::Sha256.hasher();
        let (mut part, mut buffer) = (self.part(range)?, vec![0; 256 << 10]);
        loop {
            let n = part.read(&mut buffer).map_err(|error| self.io(error))?;
            if n == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..n]);
            task.add(n as u64)?;
        }
    }

    fn part(&self, range: Range<u64>) -> Result<io::Take<File>> {
        let mut file = File::open(&self.path).map_err(|error| self.io(error))?;
        file.seek(SeekFrom::Start(range.start))
            .map_err(|error| self.io(error))?;
        Ok(file.take(range.end - range.start))
    }

    pub(super) fn fault(&self, fault: &str) -> Error {
        Error::Format {
            path: self.path.display().to_string(),
            fault: fault.to_owned(),
        }
    }

    /// Without the reader's own error, which quotes the foreign bytes.
    fn damaged(&self, error: &io::Error) -> Error {
        tracing::debug!(%error, "damaged archive");
        self.fault("it is no tar archive, or a damaged one")
    }

    fn io(&self, error: io::Error) -> Error {
        Error::io("read", self.path.display(), "the file system", error)
    }
}

/// Magic number of a Zstandard frame (RFC 8878 §3.1.1).
pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A path without `.`, `..` and doubled slashes; `..` at the top stays there.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
