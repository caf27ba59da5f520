//! Debian packages that are unpacked into the cache, not installed: since another package excludes them, or
//! since they depend on much more than what is wanted of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::apt;
use super::home::Home;

/// The folder that the packages are unpacked to, fetched if need be.
pub(super) fn packages(home: &Home, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let dir = home.at("cache").join(name);
    // Each package of Debian has this folder.
    let is_there = |package: &&str| dir.join("usr/share/doc").join(package).exists();
    if !packages.iter().all(is_there) {
        fetch(home, &dir, packages)?;
    }
    Ok(dir)
}

fn fetch(home: &Home, dir: &Path, packages: &[&str]) -> Result<()> {
    if !apt::usable() {
        return Err(Failure::new(
            "its packages are fetched on Debian only, as root",
        ));
    }
    let part = dir.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(&part).context(|| format!("creating `{}`", part.display()))?;
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "download"])
            .args(packages)
            .current_dir(&part);
        process::logged(&mut apt, &home.log("apt"))
    };
    // The list of packages may be missing or old.
    download().or_else(|_| apt::update(home).and_then(|()| download()))?;
    let entries = fs::read_dir(&part).context(|| format!("reading `{}`", part.display()))?;
    let archives: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    if archives.len() != packages.len() {
        let (wanted, had) = (packages.join(" "), archives.len());
        return Err(Failure::new(format!(
            "`apt-get download {wanted}` left {had} packages"
        )));
    }
    for archive in &archives {
        process::output(Command::new("dpkg").arg("-x").arg(archive).arg(&part))?;
        fs::remove_file(archive).context(|| format!("removing `{}`", archive.display()))?;
    }
    fs::rename(&part, dir).context(|| format!("renaming `{}`", part.display()))
}
