use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Error, Result, error::printable};

/// Longest path in bytes: `PATH_MAX` of Linux without its terminator.
const LONGEST_PATH: usize = 4095;
/// Longest component in bytes: `NAME_MAX` of Linux.
const LONGEST_NAME: usize = 255;

/// The name of an entry: bytes, relative, components separated by `/`.
///
/// It has no empty component, no `.` or `..`, no NUL, and nothing that Linux is unable to create. A backslash or a
/// colon is an ordinary byte here, as in real image layers (systemd's units have both); archives
/// in which they are separators and drives are refused by their reader.
///
/// The order is that of the bytes, so that a directory comes before all that is in it.
///
/// ```
/// use repack::EntryPath;
///
/// let path: EntryPath = "lib/routines.jar".parse()?;
/// assert_eq!(path.file_name(), b"routines.jar");
/// assert_eq!(path.parent(), Some("lib".parse()?));
/// assert!("lib/../../etc/passwd".parse::<EntryPath>().is_err());
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<[u8]>);

impl EntryPath {
    /// Parses a path exactly as it is: no leading `./`, no trailing slash.
    ///
    /// # Errors
    /// [`Error::Path`] with the reason.
    pub fn parse(path: &[u8]) -> Result<Self> {
        match fault(path) {
            None => Ok(Self(path.into())),
            Some(fault) => Err(Error::Path {
                path: printable(path),
                fault,
            }),
        }
    }

    /// Parses a name as archives write it: leading `./` and one trailing slash are cut off. None
    /// for the root itself (`./`, `.`).
    ///
    /// # Errors
    /// [`Error::Path`] with the reason.
    pub fn parse_archived(name: &[u8]) -> Result<Option<Self>> {
        let mut path = name;
        while let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        }
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if path == b"." || (path.is_empty() && name.starts_with(b".")) {
            return Ok(None);
        }
        match fault(path) {
            None => Ok(Some(Self(path.into()))),
            Some(fault) => Err(Error::Path {
                path: printable(name),
                fault,
            }),
        }
    }

    /// Of bytes that were parsed before.
    pub(crate) fn parsed(path: &[u8]) -> Self {
        Self(path.into())
    }

    /// `other` within this directory.
    ///
    /// # Errors
    /// [`Error::Path`] if the whole is too long.
    pub fn join(&self, other: &Self) -> Result<Self> {
        Self::parse(&[self.as_bytes(), b"/", other.as_bytes()].concat())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the system has it.
    #[cfg(unix)]
    pub(crate) fn to_native(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }

    /// The text, if it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        match self.last_slash() {
            Some(at) => &self.0[at + 1..],
            None => &self.0,
        }
    }

    /// The directory that it is in; none at the top.
    pub fn parent(&self) -> Option<Self> {
        self.last_slash().map(|at| Self(self.0[..at].into()))
    }

    /// The components, of which there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// The directories above it, the top one first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|(_, b)| **b == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].into()))
    }

    /// The path below `directory`; none if it is not in it.
    pub fn strip_prefix(&self, directory: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(directory.as_bytes())?;
        rest.strip_prefix(b"/").map(|rest| Self(rest.into()))
    }

    /// The path without its first `count` components; none if nothing is left.
    pub fn strip_components(&self, count: usize) -> Option<Self> {
        let mut rest = &*self.0;
        for _ in 0..count {
            let at = rest.iter().position(|&byte| byte == b'/')?;
            rest = &rest[at + 1..];
        }
        Some(Self(rest.into()))
    }

    fn last_slash(&self) -> Option<usize> {
        self.0.iter().rposition(|&byte| byte == b'/')
    }
}

impl FromStr for EntryPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        Self::parse(path.as_bytes())
    }
}

/// Escapes what is not printable, so that a hostile name cannot drive a terminal.
impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// As displayed, since JSON has no bytes.
impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why bytes are not an [`EntryPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathFault {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// Begins with a slash.
    #[error("it is absolute")]
    Absolute,
    /// Has a component `..`.
    #[error("it has a component `..`")]
    Parent,
    /// Has a component `.`, or nothing between two slashes.
    #[error("it has an empty component or `.`")]
    EmptyComponent,
    /// Has a NUL byte.
    #[error("it has a NUL byte")]
    Nul,
    /// Longer than 4095 bytes, or a component longer than 255.
    #[error("it is longer than 4095 bytes, or a component of it than 255")]
    TooLong,
    /// Has a backslash, in an archive where it may be meant as a separator.
    #[error("it has a backslash, which Windows takes for a separator")]
    Backslash,
    /// Begins with a drive letter, in an archive where it may be meant as one.
    #[error("it begins with a drive letter")]
    Drive,
    /// Is not UTF-8, in an archive that says it is.
    #[error("it is marked as UTF-8 and is not")]
    Encoding,
}

fn fault(path: &[u8]) -> Option<PathFault> {
    if path.is_empty() {
        return Some(PathFault::Empty);
    }
    if path.contains(&0) {
        return Some(PathFault::Nul);
    }
    if path[0] == b'/' {
        return Some(PathFault::Absolute);
    }
    if path.len() > LONGEST_PATH {
        return Some(PathFault::TooLong);
    }
    path.split(|&byte| byte == b'/')
        .find_map(|component| match component {
            b".." => Some(PathFault::Parent),
            b"" | b"." => Some(PathFault::EmptyComponent),
            name if name.len() > LONGEST_NAME => Some(PathFault::TooLong),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_stays_inside_is_a_path() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(2048);
        for (path, expected) in [
            ("a", None),
            ("a/b.c/..d", None),
            ("a\\b", None),
            ("C:/a", None),
            ("", Some(PathFault::Empty)),
            ("/etc/passwd", Some(PathFault::Absolute)),
            ("//a", Some(PathFault::Absolute)),
            ("..", Some(PathFault::Parent)),
            ("a/../b", Some(PathFault::Parent)),
            ("a/..", Some(PathFault::Parent)),
            ("a//b", Some(PathFault::EmptyComponent)),
            ("a/", Some(PathFault::EmptyComponent)),
            ("./a", Some(PathFault::EmptyComponent)),
            ("a\0b", Some(PathFault::Nul)),
            (&long, Some(PathFault::TooLong)),
            (&deep, Some(PathFault::TooLong)),
        ] {
            let actual = match path.parse::<EntryPath>() {
                Ok(_) => None,
                Err(Error::Path { fault, .. }) => Some(fault),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(actual, expected, "{path}");
        }
    }

    #[test]
    fn names_of_archives_lose_their_decoration() {
        let check = |name: &str, expected: Option<&str>| {
            let path = EntryPath::parse_archived(name.as_bytes()).unwrap();
            assert_eq!(path, expected.map(|path| path.parse().unwrap()), "{name}");
        };
        check("a/", Some("a"));
        check("./a/b", Some("a/b"));
        check("././a", Some("a"));
        check("./", None);
        check(".", None);
        for name in ["/", "", "a//", "./..", "./../a", "..//"] {
            assert!(
                EntryPath::parse_archived(name.as_bytes()).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_cannot_drive_a_terminal() {
        let path = EntryPath::parse(b"a\x1b[2Jb\xff").unwrap();
        assert_eq!(path.to_string(), r"a\u{1b}[2Jb\xff");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(name: Vec<u8>) {
            let _ = EntryPath::parse_archived(&name);
            if let Ok(path) = EntryPath::parse(&name) {
                prop_assert_eq!(path.as_bytes(), &*name);
                for above in path.ancestors() {
                    prop_assert!(above < path);
                    prop_assert!(path.strip_prefix(&above).is_some());
                }
            }
        }
    }
}
