use std::path::Path;

use ocicore::Cx;
use serde::Serialize;

use crate::{Error, PackageName, Prefix, Result, Version, commit::replace_link, shims};

/// Which version of a package is active now, and which was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Activated {
    /// The package.
    pub name: PackageName,
    /// The active version.
    pub version: Version,
    /// The version that was active; the same if nothing changed.
    pub previous: Option<Version>,
}

/// Makes an installed version the one that the shims run. Tools that run go on with the files of
/// the version that they were started from.
///
/// # Errors
/// [`Error::NoPackage`], [`Error::NoVersion`]; [`Error::File`] if the prefix cannot be written.
pub async fn activate(
    cx: &Cx,
    prefix: &Prefix,
    name: &PackageName,
    version: &Version,
) -> Result<Activated> {
    // Before the lock, which makes the prefix if it is not there.
    prefix.find(name)?;
    let _lock = prefix.lock(cx).await?;
    let package = prefix.find(name)?;
    if !package.versions.iter().any(|one| one.version == *version) {
        return Err(Error::NoVersion {
            name: name.clone(),
            version: version.clone(),
            installed: package
                .versions
                .into_iter()
                .map(|one| one.version)
                .collect(),
        });
    }
    shims::sync(prefix)?;
    if package.active.as_ref() != Some(version) {
        link(prefix, name, version)?;
    }
    Ok(Activated {
        name: name.clone(),
        version: version.clone(),
        previous: package.active,
    })
}

/// Points the link of the active version to `version`.
pub(crate) fn link(prefix: &Prefix, name: &PackageName, version: &Version) -> Result<()> {
    let target = Path::new("../packages").join(name.as_str());
    replace_link(&target.join(version.as_str()), &prefix.active(name))
}
