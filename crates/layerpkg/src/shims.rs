//! The shims of a prefix: one program under the names of all tools.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    Error, PackageName, Prefix, Result,
    commit::{
        create_directory, names, read_link, replace_hard_link, replace_link, replace_program,
    },
};

/// A tool for which a package gets no shim, since the name is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Taken {
    /// The tool.
    pub tool: String,
    /// The package that has it; none if the file is not of this prefix.
    pub by: Option<PackageName>,
}

/// Makes shims for the tools of `name`, but for those that another package has. Needs the lock.
pub(crate) fn add(prefix: &Prefix, name: &PackageName, tools: &[String]) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for tool in tools {
        let path = prefix.bin().join(tool);
        let by = match owner(prefix, tool)? {
            Some(owner) if owner == *name => continue,
            // A package that is gone has no tools.
            Some(owner) if prefix.find(&owner).is_ok() => Some(Some(owner)),
            Some(_) => None,
            None if fs::symlink_metadata(&path).is_ok() => Some(None),
            None => None,
        };
        match by {
            Some(by) => taken.push(Taken {
                tool: tool.clone(),
                by,
            }),
            None => replace_link(&target(name), &link(prefix, tool))?,
        }
    }
    sync(prefix)?;
    Ok(taken)
}

/// Makes all shims be the present program. Needs the lock.
pub(crate) fn sync(prefix: &Prefix) -> Result<()> {
    let Some(program) = prefix.shim() else {
        return Ok(());
    };
    let own = prefix.root().join("libexec/layerpkg-shim");
    if !same_content(program, &own)? {
        replace_program(program, &own)?;
    }
    create_directory(&prefix.bin())?;
    let shim = fs::metadata(&own).map_err(Error::file("read", &own))?;
    for tool in names(&prefix.root().join("tools"))? {
        let path = prefix.bin().join(&tool);
        let current = match fs::symlink_metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (shim.dev(), shim.ino()) => true,
            // A copy, where there are no hard links.
            Ok(there) => there.is_file() && there.nlink() == 1 && same_content(&own, &path)?,
            Err(_) => false,
        };
        if !current {
            replace_hard_link(&own, &path)?;
        }
    }
    Ok(())
}

/// The package whose tool this is.
pub(crate) fn owner(prefix: &Prefix, tool: &str) -> Result<Option<PackageName>> {
    let target = read_link(&link(prefix, tool))?;
    let name = target.as_deref().and_then(Path::file_name);
    Ok(name.and_then(|name| name.to_str()?.parse().ok()))
}

fn link(prefix: &Prefix, tool: &str) -> PathBuf {
    prefix.root().join("tools").join(tool)
}

fn target(name: &PackageName) -> PathBuf {
    Path::new("../packages").join(name.as_str())
}

fn same_content(a: &Path, b: &Path) -> Result<bool> {
    let size = |path: &Path| fs::metadata(path).map(|file| file.len());
    match size(b) {
        Ok(there) if there == size(a).map_err(Error::file("read", a))? => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::file("read", b)(error)),
    }
    let read = |path: &Path| fs::read(path).map_err(Error::file("read", path));
    Ok(read(a)? == read(b)?)
}
