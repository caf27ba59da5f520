//! Builds that are signed as a whole, as a jar is (JAR File Specification §Signed JAR File), or that
//! have checksums of their files.

use std::collections::BTreeSet;

use repack::{Content, Entry, EntryPath, Tree};

use crate::{Error, Result, job::MAX_TEXT, options::SignedFiles};

/// Where a signature is, at the root of the build.
pub(crate) const META_INF: &str = "META-INF";
/// Where checksums are, at the root of the build: jobs that start jobs find cached jars by it.
pub(crate) const CRC_MAP: &str = "crcMap";
/// Largest manifest or checksum file: 16 MiB, enough for 100,000 files.
const MAX_MANIFEST: u64 = 16 << 20;

/// What vouches for a build as a whole, and what it does not fit any more.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Signed {
    /// `META-INF` and `crcMap`, as far as they are there.
    pub files: Vec<EntryPath>,
    /// What becomes of them.
    pub rule: SignedFiles,
    /// Files that they vouch for and that have another content or another place now, as paths in
    /// the built job.
    pub broken: Vec<EntryPath>,
}

/// A signed build before any edit.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    signed: Signed,
    is_signature: bool,
    /// What is vouched for.
    covered: Vec<(EntryPath, Content)>,
}

impl Signed {
    /// What a person should know.
    pub(crate) fn warnings(&self, is_signature: bool) -> Vec<String> {
        if self.broken.is_empty() {
            return Vec::new();
        }
        let what = if is_signature {
            "the build is signed, and its signature does not fit"
        } else {
            "the build has checksums (`crcMap`), which do not fit"
        };
        let shown: Vec<_> = self
            .broken
            .iter()
            .take(3)
            .map(|path| format!("`{path}`"))
            .collect();
        let more = match self.broken.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more files"),
        };
        vec![format!("{what} {}{more}", shown.join(", "))]
    }
}

impl Original {
    /// Remembers what is vouched for; none if nothing is. What is to be dropped is taken out.
    pub(crate) fn take(tree: &mut Tree, rule: SignedFiles) -> Result<Option<Self>> {
        let mut files = Vec::new();
        for name in [META_INF, CRC_MAP] {
            let path: EntryPath = name.parse()?;
            if tree.contains(&path) {
                files.push(path);
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        let cover = Cover::read(tree)?;
        let covered = tree.iter().filter_map(|(path, entry)| {
            let content = entry.into_content().filter(|_| cover.has(&path))?;
            Some((path, content))
        });
        let covered = covered.collect();
        if rule == SignedFiles::Drop {
            for path in &files {
                tree.remove(path);
            }
        }
        Ok(Some(Self {
            is_signature: cover.is_signature,
            covered,
            signed: Signed {
                files,
                rule,
                broken: Vec::new(),
            },
        }))
    }

    /// What does not fit the tree as it is now, and what a person should know of that.
    pub(crate) fn compare(&self, tree: &Tree) -> Result<(Signed, Vec<String>)> {
        let mut signed = self.signed.clone();
        for (path, before) in &self.covered {
            let same = match tree.get(path).and_then(Entry::into_content) {
                Some(now) => is_same(before, &now)?,
                None => false,
            };
            if !same {
                signed.broken.push(path.clone());
            }
        }
        let warnings = signed.warnings(self.is_signature);
        Ok((signed, warnings))
    }
}

/// Which files are vouched for.
#[derive(Debug, Default)]
struct Cover {
    /// Whether there is a signature, and not only a manifest.
    is_signature: bool,
    /// Paths with a digest.
    paths: BTreeSet<Vec<u8>>,
    /// Names of files with a checksum.
    names: BTreeSet<Vec<u8>>,
}

impl Cover {
    fn read(tree: &Tree) -> Result<Self> {
        let meta_inf: EntryPath = META_INF.parse()?;
        let mut cover = Self::default();
        for (path, entry) in tree.under(&meta_inf) {
            let is_signature = path.file_name().to_ascii_uppercase().ends_with(b".SF");
            cover.is_signature |= is_signature;
            if entry.kind.is_file() && (is_signature || path.file_name() == b"MANIFEST.MF") {
                sections(&tree.read(&path, MAX_MANIFEST)?, &mut cover.paths);
            }
        }
        let checksums: EntryPath = CRC_MAP.parse()?;
        if tree
            .get(&checksums)
            .is_some_and(|entry| entry.kind.is_file())
        {
            let map = tree.read(&checksums, MAX_MANIFEST)?;
            cover.names = strings(&map).into_iter().map(file_name).collect();
        }
        Ok(cover)
    }

    fn has(&self, path: &EntryPath) -> bool {
        if path.components().next() == Some(META_INF.as_bytes()) {
            return false;
        }
        // A signature that names no file is for the manifest as a whole, which we do not have.
        let by_path = |path: &str| self.paths.is_empty() || self.paths.contains(path.as_bytes());
        (self.is_signature && path.to_str().is_some_and(by_path))
            || self.names.contains(path.file_name())
    }
}

/// Names of the sections of a manifest: `Name: path`, folded where a line has more than 72 bytes.
fn sections(manifest: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    let mut name: Option<Vec<u8>> = None;
    for line in manifest.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let (Some(name), Some(rest)) = (&mut name, line.strip_prefix(b" ")) {
            name.extend_from_slice(rest);
            continue;
        }
        found.extend(name.take());
        name = line.strip_prefix(b"Name: ").map(<[u8]>::to_vec);
    }
    found.extend(name);
}

/// The texts of a serialized map of Java (Java Object Serialization Specification §6.4.2,
/// `TC_STRING`), and the words of a text.
fn strings(map: &[u8]) -> Vec<&[u8]> {
    const TC_STRING: u8 = 0x74;
    let mut found = Vec::new();
    let mut rest = map;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == TC_STRING
            && let Some((length, after)) = after.split_first_chunk()
            && let Some(text) = after.get(..usize::from(u16::from_be_bytes(*length)))
            && text.iter().all(|byte| !byte.is_ascii_control())
        {
            found.push(text);
            rest = &after[text.len()..];
        }
    }
    let separator = |byte: &u8| byte.is_ascii_whitespace() || b"=:,;\"".contains(byte);
    found.extend(map.split(separator));
    found
}

fn file_name(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next();
    name.unwrap_or(path).to_vec()
}

fn is_same(before: &Content, now: &Content) -> Result<bool> {
    if before.size() != now.size() {
        return Ok(false);
    }
    if let (Some(before), Some(now)) = (before.declared_crc32(), now.declared_crc32()) {
        return Ok(before == now);
    }
    // Only texts are edited, and archives of few entries.
    let read = |content: &Content| content.read(content.size()).map_err(Error::Tree);
    Ok(before.size() > MAX_TEXT || read(before)? == read(now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unfolded() {
        let mut found = BTreeSet::new();
        let manifest = b"Manifest-Version: 1.0\r\n\r\nName: a/b\r\nSHA-256-Digest: x\r\n\r\n\
            Name: long\r\n er\r\n  name\r\n\r\nname: c\nName: d";
        sections(manifest, &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        assert_eq!(found, ["a/b", "d", "longer name"]);
    }

    #[test]
    fn names_are_found_in_a_map_of_java_and_in_a_text() {
        // `HashMap` with `lib/routines.jar` to `1a2b`, as `ObjectOutputStream` writes it.
        let map = b"\xac\xed\0\x05sr\0\x11java.util.HashMap\x05\x07\xda\xc1\xc3\x16`\xd1\x03\0\
            \x02F\0\nloadFactorI\0\tthresholdxp?@\0\0\0\0\0\x0cw\x08\0\0\0\x10\0\0\0\x01\
            t\0\x10lib/routines.jart\0\x041a2bx";
        let names =
            |map: &[u8]| -> BTreeSet<Vec<u8>> { strings(map).into_iter().map(file_name).collect() };
        assert!(names(map).contains(&b"routines.jar"[..]));
        assert!(names(b"../lib/routines.jar=1a2b\n").contains(&b"routines.jar"[..]));
        assert!(!names(b"../lib/myroutines.jar=1a2b\n").contains(&b"routines.jar"[..]));
    }
}
