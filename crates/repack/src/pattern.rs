use std::{fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};

use crate::{EntryPath, Error, Result};

/// A glob pattern for paths: `*` and `?` stay within a component, `**` spans them, `[a-z]` and
/// `{a,b}` as in a shell. It matches the whole path, byte by byte.
///
/// ```
/// use repack::Pattern;
///
/// let scripts: Pattern = "**/*.sh".parse()?;
/// assert!(scripts.matches(&"run.sh".parse()?));
/// assert!(scripts.matches(&"job/job_run.sh".parse()?));
/// assert!(!scripts.matches(&"job/job_run.shell".parse()?));
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone)]
pub struct Pattern(GlobMatcher);

impl Pattern {
    /// Matches everything.
    pub fn all() -> Self {
        let glob = GlobBuilder::new("**").literal_separator(true).build();
        Self(glob.expect("a valid pattern").compile_matcher())
    }

    /// Whether it matches the path of an entry.
    pub fn matches(&self, path: &EntryPath) -> bool {
        #[cfg(unix)]
        let path = std::os::unix::ffi::OsStrExt::from_bytes(path.as_bytes());
        #[cfg(unix)]
        let path: &std::ffi::OsStr = path;
        #[cfg(not(unix))]
        let path = &*String::from_utf8_lossy(path.as_bytes());
        self.0.is_match(path)
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(pattern: &str) -> Result<Self> {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build();
        match glob {
            Ok(glob) => Ok(Self(glob.compile_matcher())),
            Err(error) => Err(Error::Pattern {
                pattern: pattern.to_owned(),
                source: error.kind().to_string().into(),
            }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("lib/**", "lib/a/b.jar", true),
            ("lib/**", "lib", false),
            ("**/lib", "lib", true),
            ("**/lib", "a/b/lib", true),
            ("{a,b}/?.[ch]", "b/x.c", true),
            ("a.c", "abc", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            let matched = parsed.matches(&path.parse().unwrap());
            assert_eq!(matched, expected, "{pattern} {path}");
        }
        assert!(Pattern::all().matches(&EntryPath::parse(b"a/\xff").unwrap()));
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        for pattern in ["[a", "{a,b", "a}"] {
            assert!(pattern.parse::<Pattern>().is_err(), "{pattern}");
        }
    }
}
