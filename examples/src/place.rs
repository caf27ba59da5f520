use std::{fmt, path::PathBuf, str::FromStr};

use ocicore::{Error, Reference};

/// A place for images, by skopeo's transport names (containers-transports(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// `docker://REFERENCE`: a registry.
    Registry(Reference),
    /// `oci:DIRECTORY[:NAME]`: an OCI image layout.
    Layout(PathBuf, Option<String>),
    /// `oci-archive:FILE[:NAME]`: an OCI image layout in a tar.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes.
    DockerArchive(PathBuf, Option<Reference>),
    /// `docker-daemon:REFERENCE`: the images of a Docker or Podman engine.
    Daemon(Reference),
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        const EXPECTED: &str = "expected docker://REF, oci:DIR[:NAME], oci-archive:FILE[:NAME], \
             docker-archive:FILE[:REF] or docker-daemon:REF";
        let error = || Error::parse("place for images", input, EXPECTED);
        let (transport, rest) = input.split_once(':').ok_or_else(error)?;
        // As skopeo does: paths of these transports have no colon.
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (PathBuf::from(path), Some(name)),
            None => (PathBuf::from(rest), None),
        };
        if rest.is_empty() || path.as_os_str().is_empty() || name == Some("") {
            return Err(error());
        }
        let text = name.map(str::to_owned);
        match transport {
            "docker" => Ok(Self::Registry(
                rest.strip_prefix("//").ok_or_else(error)?.parse()?,
            )),
            "oci" => Ok(Self::Layout(path, text)),
            "oci-archive" => Ok(Self::OciArchive(path, text)),
            "docker-archive" => Ok(Self::DockerArchive(path, name.map(str::parse).transpose()?)),
            "docker-daemon" => Ok(Self::Daemon(rest.parse()?)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, path, name) = match self {
            Self::Registry(reference) => return write!(f, "docker://{reference}"),
            Self::Daemon(reference) => return write!(f, "docker-daemon:{reference}"),
            Self::Layout(path, name) => ("oci", path, name.clone()),
            Self::OciArchive(path, name) => ("oci-archive", path, name.clone()),
            Self::DockerArchive(path, name) => (
                "docker-archive",
                path,
                name.as_ref().map(ToString::to_string),
            ),
        };
        write!(f, "{transport}:{}", path.display())?;
        name.map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_read_as_skopeo_reads_them() {
        for (input, shown) in [
            (
                "docker://localhost:5000/a",
                "docker://localhost:5000/a:latest",
            ),
            ("oci:dir", "oci:dir"),
            ("oci:/a/b:v 1", "oci:/a/b:v 1"),
            ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
            ("docker-archive:x.tar", "docker-archive:x.tar"),
            (
                "docker-archive:x.tar:a:1",
                "docker-archive:x.tar:docker.io/library/a:1",
            ),
            ("docker-daemon:a:1", "docker-daemon:docker.io/library/a:1"),
        ] {
            assert_eq!(input.parse::<Place>().unwrap().to_string(), shown);
        }
        for input in [
            "",
            "a",
            "docker:a",
            "docker://",
            "docker://A",
            "oci:",
            "oci::v",
            "oci:d:",
            "s3:x",
        ] {
            assert!(input.parse::<Place>().is_err(), "{input}");
        }
    }
}
