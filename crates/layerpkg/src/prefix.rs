use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ocicore::{Cx, Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

use crate::{
    Error, PackageName, Result, Version,
    commit::{create_directory, names, read_link},
    lock::Lock,
};

/// A directory in which packages are installed.
///
/// ```text
/// bin/TOOL                    shims, for PATH
/// active/NAME                 -> ../packages/NAME/VERSION
/// packages/NAME/VERSION       -> ../../store/sha256/HEX/files
/// store/sha256/HEX/           content of the image with this digest, never changed
///     files/                  its files
///     tools/TOOL              -> ../files/PATH, for each program that a container would find
///     manifest.json config.json
///     origins/NAME@VERSION.json   where this version was installed from
/// tools/TOOL                  -> ../packages/NAME, the package that has the tool
/// libexec/layerpkg-shim       the program that all shims are
/// staging/ lock               work in progress
/// ```
/// All links are relative, so that a prefix can be moved as a whole. Each state is one link: what
/// reads them needs no lock, and a link is there whole or not at all.
#[derive(Clone, Debug)]
pub struct Prefix {
    root: PathBuf,
    shim: Option<PathBuf>,
}

/// A package and its installed versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Package {
    /// Its name.
    pub name: PackageName,
    /// Which version the shims run.
    pub active: Option<Version>,
    /// All versions, by name.
    pub versions: Vec<Installed>,
}

/// An installed version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Installed {
    /// The version.
    pub version: Version,
    /// Digest of the image's manifest, which names all of the content.
    pub digest: Digest,
    /// Where it was installed from; none for one that was kept when another took its name.
    pub origin: Option<Origin>,
}

/// Where a version was installed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// What was asked for.
    pub reference: Reference,
    /// What that was then: the digest of an index or of the image itself.
    pub root: Digest,
    /// For which platform.
    pub platform: Platform,
}

impl Prefix {
    /// The prefix at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            shim: None,
        }
    }

    /// With the program that becomes the shims: one that calls [`shim::resolve`] and runs what
    /// that returns. Without one, no shims are made.
    ///
    /// [`shim::resolve`]: crate::shim::resolve
    pub fn with_shim(mut self, program: impl Into<PathBuf>) -> Self {
        self.shim = Some(program.into());
        self
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the shims are.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The files of an installed version, as a path that stays.
    pub fn files(&self, name: &PackageName, version: &Version) -> PathBuf {
        self.package(name).join(version.as_str())
    }

    /// The files of whichever version is active.
    pub fn active(&self, name: &PackageName) -> PathBuf {
        self.root.join("active").join(name.as_str())
    }

    /// All packages, by name.
    ///
    /// # Errors
    /// [`Error::File`] if the prefix cannot be read, [`Error::Prefix`] if there is something in it
    /// that this crate did not make.
    pub fn packages(&self) -> Result<Vec<Package>> {
        let mut packages = Vec::new();
        for name in names(&self.root.join("packages"))? {
            let name: PackageName = name.parse()?;
            match self.find(&name) {
                Ok(package) => packages.push(package),
                // A killed install has left an empty directory.
                Err(Error::NoPackage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(packages)
    }

    /// One package.
    ///
    /// # Errors
    /// [`Error::NoPackage`]; as [`Prefix::packages`].
    pub fn find(&self, name: &PackageName) -> Result<Package> {
        let mut versions = Vec::new();
        for version in names(&self.package(name))? {
            let version: Version = version.parse()?;
            if let Some(digest) = self.digest(name, &version)? {
                let origin = self.origin(&digest, name, &version)?;
                versions.push(Installed {
                    version,
                    digest,
                    origin,
                });
            }
        }
        if versions.is_empty() {
            return Err(Error::NoPackage { name: name.clone() });
        }
        Ok(Package {
            name: name.clone(),
            active: self.active_version(name)?,
            versions,
        })
    }

    /// The active version of a package.
    ///
    /// # Errors
    /// As [`Prefix::packages`].
    pub fn active_version(&self, name: &PackageName) -> Result<Option<Version>> {
        let link = self.active(name);
        let Some(target) = read_link(&link)? else {
            return Ok(None);
        };
        let version = target.file_name().and_then(|name| name.to_str());
        let version = version.and_then(|version| version.parse().ok());
        let version: Version = version.ok_or(Error::Prefix {
            path: link,
            expected: "a link to a version",
        })?;
        // A killed install leaves a link to what it did not come to.
        Ok(self.digest(name, &version)?.map(|_| version))
    }

    /// What an installed version is; none if it is not.
    pub(crate) fn digest(&self, name: &PackageName, version: &Version) -> Result<Option<Digest>> {
        let link = self.files(name, version);
        let Some(target) = read_link(&link)? else {
            return Ok(None);
        };
        let mut parts = target.iter().rev().skip(1).map(|part| part.to_str());
        let digest = match (parts.next().flatten(), parts.next().flatten()) {
            (Some(hex), Some(algorithm)) => format!("{algorithm}:{hex}").parse().ok(),
            _ => None,
        };
        digest.map(Some).ok_or(Error::Prefix {
            path: link,
            expected: "a link to a digest of the store",
        })
    }

    fn origin(
        &self,
        digest: &Digest,
        name: &PackageName,
        version: &Version,
    ) -> Result<Option<Origin>> {
        let path = self.origin_file(digest, name, version);
        match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .map_err(|_| Error::Prefix {
                    path,
                    expected: "a record of where a version came from",
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Makes the directories, and waits for the lock under which links change.
    pub(crate) async fn lock(&self, cx: &Cx) -> Result<Lock> {
        for directory in ["bin", "active", "packages", "store", "tools", "libexec"] {
            create_directory(&self.root.join(directory))?;
        }
        Lock::acquire(cx, &self.root.join("lock")).await
    }

    pub(crate) fn shim(&self) -> Option<&Path> {
        self.shim.as_deref()
    }

    /// Where work in progress is.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn package(&self, name: &PackageName) -> PathBuf {
        self.root.join("packages").join(name.as_str())
    }

    /// Where the content of a digest is.
    pub(crate) fn entry(&self, digest: &Digest) -> PathBuf {
        let store = self.root.join("store");
        store.join(digest.algorithm().as_str()).join(digest.hex())
    }

    pub(crate) fn origin_file(
        &self,
        digest: &Digest,
        name: &PackageName,
        version: &Version,
    ) -> PathBuf {
        let origins = self.entry(digest).join("origins");
        origins.join(format!("{name}@{version}.json"))
    }

    /// The tools of the image with this digest, by name.
    pub(crate) fn tools(&self, digest: &Digest) -> Result<Vec<String>> {
        names(&self.entry(digest).join("tools"))
    }
}
