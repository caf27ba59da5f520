//! A static busybox, apart from the machine's own: the packages exclude each other.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::apt;
use super::home::Home;

/// The program, fetched if need be.
pub(super) fn install(home: &Home) -> Result<PathBuf> {
    let dir = home.at("cache/busybox-static");
    let program = dir.join("bin/busybox");
    if !program.exists() {
        fetch(home)?;
    }
    let said = process::output(Command::new(&program).args(["echo", "static"]))?;
    if said == "static" {
        return Ok(program);
    }
    Err(Failure::new(format!(
        "`{}` does not work",
        program.display()
    )))
}

fn fetch(home: &Home) -> Result<()> {
    let (dir, part) = (
        home.at("cache/busybox-static"),
        home.at("cache/busybox-static.part"),
    );
    if !apt::usable() {
        return Err(Failure::new(
            "its package is fetched on Debian only, as root",
        ));
    }
    let _ = fs::remove_dir_all(&part);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&part).context(|| format!("creating `{}`", part.display()))?;
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "download", "busybox-static"])
            .current_dir(&part);
        process::logged(&mut apt, &home.log("apt"))
    };
    // The list of packages may be missing or old.
    download().or_else(|_| apt::update(home).and_then(|()| download()))?;
    let entries = fs::read_dir(&part).context(|| format!("reading `{}`", part.display()))?;
    let package = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::new("`apt-get download busybox-static` left no package"))?;
    process::output(Command::new("dpkg").arg("-x").arg(&package).arg(&part))?;
    fs::rename(&part, &dir).context(|| format!("renaming `{}`", part.display()))
}
