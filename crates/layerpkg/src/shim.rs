//! What a shim does: from its own path to the program that it stands for, by a few links.

use std::path::{Path, PathBuf};

use crate::{Error, PackageName, Prefix, Result, commit::read_link, shims};

/// The program of the active version that the shim at `shim` (`PREFIX/bin/TOOL`) stands for.
///
/// Nothing is parsed and no file is opened: it reads four links. The path leads into the store, so
/// that a tool which finds its files by its own path goes on with the version it was started from
/// when another becomes active.
///
/// # Errors
/// [`Error::NotShim`], [`Error::NotActive`], [`Error::NoTool`].
///
/// # Examples
/// ```no_run
/// use std::{env, os::unix::process::CommandExt, process::Command};
///
/// let program = layerpkg::shim::resolve(&env::current_exe()?)?;
/// Err(Command::new(program).args(env::args_os().skip(1)).exec())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resolve(shim: &Path) -> Result<PathBuf> {
    let not_shim = || Error::NotShim {
        path: shim.to_owned(),
    };
    let tool = shim.file_name().and_then(|name| name.to_str());
    let root = shim.parent().and_then(Path::parent);
    let (Some(tool), Some(root)) = (tool, root) else {
        return Err(not_shim());
    };
    let prefix = Prefix::new(root);
    let name = shims::owner(&prefix, tool)?.ok_or_else(not_shim)?;
    let Some(version) = prefix.active_version(&name)? else {
        return Err(Error::NotActive {
            tool: tool.to_owned(),
            name,
        });
    };
    let Some(digest) = prefix.digest(&name, &version)? else {
        return Err(not_shim());
    };
    let tools = prefix.entry(&digest).join("tools");
    match read_link(&tools.join(tool))? {
        // `../files/PATH`, from the entry.
        Some(target) => match target.strip_prefix("..") {
            Ok(inside) => Ok(prefix.entry(&digest).join(inside)),
            Err(_) => Err(Error::Prefix {
                path: tools.join(tool),
                expected: "a link to a file of the package",
            }),
        },
        None => Err(Error::NoTool {
            tool: tool.to_owned(),
            others: others(&prefix, &name, tool)?,
            name,
            version,
        }),
    }
}

/// The installed versions that have the tool.
fn others(prefix: &Prefix, name: &PackageName, tool: &str) -> Result<Vec<crate::Version>> {
    let mut others = Vec::new();
    for one in prefix.find(name)?.versions {
        if prefix.tools(&one.digest)?.iter().any(|name| name == tool) {
            others.push(one.version);
        }
    }
    Ok(others)
}
