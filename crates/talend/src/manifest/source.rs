use std::{fmt, str::FromStr};

/// Where a built job is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// A full URL, `http` or `https`, without user information.
    Url(String),
    /// An artifact of a Maven repository.
    Coordinates(Coordinates),
    /// A local file, relative to the manifest.
    File(String),
}

/// Coordinates in a Maven repository: `group:artifact:version[:classifier]`, packaged as zip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Coordinates {
    /// `org.example`.
    pub group: String,
    /// `load`.
    pub artifact: String,
    /// `0.1.0`, or `0.1.0-SNAPSHOT`.
    pub version: String,
    /// What tells several files of one artifact apart.
    pub classifier: Option<String>,
}

impl Source {
    /// Parses a URL.
    pub(super) fn url(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("expected a URL that begins with `http://` or `https://`".to_owned());
        };
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(format!(
                "`{scheme}` is no scheme for jobs: expected `http` or `https`"
            ));
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Not shown, since it may be a password.
        if host.contains('@') {
            return Err(
                "a user name in the URL: credentials do not belong in manifests".to_owned(),
            );
        }
        if text.contains(char::is_whitespace) || text.contains(char::is_control) {
            return Err(format!("`{}` has a blank in it", text.escape_debug()));
        }
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let file = path[..end].rsplit('/').next().unwrap_or_default();
        if host.is_empty() || file.is_empty() {
            return Err(format!("`{text}` names no file on a server"));
        }
        Ok(Self::Url(text.to_owned()))
    }

    /// Parses whatever it is.
    pub(super) fn any(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Self::url(text);
        }
        let name = text.to_ascii_lowercase();
        if [".zip", ".tar.gz", ".tgz", ".tar"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
        {
            return Ok(Self::File(text.to_owned()));
        }
        text.parse().map(Self::Coordinates)
    }

    /// The last part of the path, from which a job's name and version can be read.
    pub fn file_name(&self) -> String {
        match self {
            Self::Url(url) => {
                let end = url.find(['?', '#']).unwrap_or(url.len());
                url[..end].rsplit('/').next().unwrap_or_default().to_owned()
            }
            Self::File(path) => path.rsplit('/').next().unwrap_or_default().to_owned(),
            Self::Coordinates(coordinates) => {
                format!("{}-{}.zip", coordinates.artifact, coordinates.version)
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(text) | Self::File(text) => f.write_str(text),
            Self::Coordinates(coordinates) => coordinates.fmt(f),
        }
    }
}

impl FromStr for Coordinates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |part: &&str| {
            let mut bytes = part.bytes();
            !part.is_empty()
                && !part.starts_with('.')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (group, artifact, version, classifier) = match parts.as_slice() {
            [group, artifact, version] => (group, artifact, version, None),
            [group, artifact, version, classifier] => (group, artifact, version, Some(classifier)),
            _ => return Err(not_coordinates(text)),
        };
        if !parts.iter().all(good) {
            return Err(not_coordinates(text));
        }
        Ok(Self {
            group: (*group).to_owned(),
            artifact: (*artifact).to_owned(),
            version: (*version).to_owned(),
            classifier: classifier.map(|classifier| (*classifier).to_owned()),
        })
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            artifact,
            version,
            classifier,
        } = self;
        write!(f, "{group}:{artifact}:{version}")?;
        match classifier {
            Some(classifier) => write!(f, ":{classifier}"),
            None => Ok(()),
        }
    }
}

impl serde::Serialize for Coordinates {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn not_coordinates(text: &str) -> String {
    format!(
        "`{}` is no job: expected a URL, a file, or `group:artifact:version[:classifier]`",
        text.escape_debug()
    )
}
