use std::{fmt, path::PathBuf, str::FromStr};

use ocicore::{RepositoryPath, Tag};
use pep440_rs::Version;

use crate::{Error, Result};

/// An application and its version: `NAME[EXTRA,…]==VERSION`, or the path of a wheel with extras.
///
/// ```
/// use grocker::Release;
///
/// let release: Release = "Zope.Interface[test]==5.0+local".parse()?;
/// assert_eq!(release.to_string(), "zope-interface[test]==5.0+local");
/// assert_eq!(release.image_path()?.as_str(), "zope-interface-test");
/// assert_eq!(release.image_tag()?.as_str(), "5.0-local");
/// assert!("flask>=2".parse::<Release>().is_err());
/// # Ok::<(), grocker::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Normalised as PEP 503 says.
    name: String,
    extras: Vec<String>,
    version: String,
    source: Source,
}

/// Where an application comes from. Closed: pip gets a requirement or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package index.
    Index,
    /// A wheel of this machine.
    Wheel(PathBuf),
}

impl Release {
    /// Name of the application, normalised (PEP 503).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Extras, sorted and normalised.
    pub fn extras(&self) -> &[String] {
        &self.extras
    }

    /// Version, as it was given.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The name of its image: name and extras.
    ///
    /// # Errors
    /// None in practice: PEP 503 names are repository names.
    pub fn image_path(&self) -> Result<RepositoryPath> {
        let mut path = self.name.clone();
        for extra in &self.extras {
            path += &format!("-{extra}");
        }
        Ok(path.parse()?)
    }

    /// The tag of its image: the version; `+` of a local version and `!` of an epoch become `-`.
    ///
    /// # Errors
    /// If the version is longer than a tag may be.
    pub fn image_tag(&self) -> Result<Tag> {
        Ok(self.version.replace(['+', '!'], "-").parse()?)
    }

    /// What pip is told.
    pub(crate) fn requirement(&self) -> String {
        self.to_string()
    }

    pub(crate) fn extras_text(&self) -> String {
        self.extras.join(",")
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras_text())?;
        }
        write!(f, "=={}", self.version)
    }
}

/// A text with `/` is the path of a wheel, as the original reads it.
impl FromStr for Release {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let error = |expected: &str| Error::Release {
            input: input.chars().take(256).collect(),
            expected: expected.to_owned(),
        };
        if input.contains('/') {
            return wheel(input).map_err(error);
        }
        let (name, version) = input.split_once("==").ok_or_else(|| {
            error("expected NAME[EXTRA,…]==VERSION, with one version and no marker")
        })?;
        let version = version.strip_prefix('=').unwrap_or(version).trim();
        let (name, extras) = with_extras(name.trim()).map_err(error)?;
        Ok(Self {
            name: normal(name).ok_or_else(|| error(NAME))?,
            extras,
            version: checked_version(version).map_err(error)?,
            source: Source::Index,
        })
    }
}

const NAME: &str =
    "a name is letters and digits, with single `-`, `_` or `.` between them (PEP 508)";
const WHEEL: &str = "a wheel is called NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl (PEP 427)";

/// `path/NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl`, with extras behind it (PEP 427).
fn wheel(input: &str) -> Result<Release, &'static str> {
    let (path, extras) = with_extras(input)?;
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".whl").ok_or(WHEEL)?;
    let parts: Vec<&str> = stem.split('-').collect();
    let (name, version) = match parts[..] {
        [name, version, _, _, _] => (name, version),
        [name, version, build, _, _, _] if build.starts_with(|c: char| c.is_ascii_digit()) => {
            (name, version)
        }
        _ => return Err(WHEEL),
    };
    Ok(Release {
        name: normal(name).ok_or(NAME)?,
        extras,
        // A file name has `_` for what a version may not have in it.
        version: checked_version(&version.replace('_', "-"))?,
        source: Source::Wheel(path.into()),
    })
}

/// Splits `[EXTRA,…]` off the end.
fn with_extras(text: &str) -> Result<(&str, Vec<String>), &'static str> {
    let Some(rest) = text.strip_suffix(']') else {
        return Ok((text, Vec::new()));
    };
    let (name, list) = rest.rsplit_once('[').ok_or("a `[` is missing")?;
    let mut extras = Vec::new();
    for extra in list
        .split(',')
        .map(str::trim)
        .filter(|extra| !extra.is_empty())
    {
        extras.push(normal(extra).ok_or(NAME)?);
    }
    extras.sort();
    extras.dedup();
    Ok((name.trim(), extras))
}

/// PEP 503: lower case, runs of separators become one `-`.
fn normal(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let good = alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let lower = name.to_ascii_lowercase();
    let parts = lower.split(['-', '_', '.']).filter(|part| !part.is_empty());
    good.then(|| parts.collect::<Vec<_>>().join("-"))
}

fn checked_version(version: &str) -> Result<String, &'static str> {
    match version.parse::<Version>() {
        Ok(_) => Ok(version.to_owned()),
        Err(_) => Err("the version is none of PEP 440"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn releases_are_read() {
        for (input, shown) in [
            ("httpie==3.2.4", "httpie==3.2.4"),
            ("Foo_Bar[B, a]===1.0", "foo-bar[a,b]==1.0"),
            ("x==1!2.0+abc.5", "x==1!2.0+abc.5"),
            ("./dist/My_App-1.0-py3-none-any.whl", "my-app==1.0"),
            ("/d/My_App-1.0-2-py3-none-any.whl[x]", "my-app[x]==1.0"),
        ] {
            assert_eq!(input.parse::<Release>().unwrap().to_string(), shown);
        }
        let mut errors = Vec::new();
        for input in [
            "",
            "httpie",
            "httpie>=3",
            "httpie==",
            "httpie==x",
            "-a==1",
            "a]==1",
            "a[b==1",
            "a==1; python_version<'3'",
            "git+https://h/x",
            "./x.tar.gz",
            "./x-1.whl",
            "a b==1",
        ] {
            let error = input.parse::<Release>().unwrap_err();
            errors.push(error.to_string());
        }
        insta::assert_snapshot!(errors.join("\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_displays_back(text in "\\PC{0,40}|[a-z.=\\[\\],0-9_-]{0,30}") {
            if let Ok(release) = text.parse::<Release>()
                && *release.source() == Source::Index
            {
                prop_assert_eq!(release.to_string().parse::<Release>().unwrap(), release.clone());
                prop_assert!(release.image_path().is_ok());
            }
        }
    }
}
