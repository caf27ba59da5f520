//! Debian root file systems, made by mmdebstrap and kept as tar files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::home::{self, Home};
use super::image::Image;
use super::tools;

/// The release that the roots are made of.
const SUITE: &str = "bookworm";

/// A root file system and the image that is made of it.
#[derive(Debug)]
pub(super) struct Rootfs<'a> {
    home: &'a Home,
    name: &'static str,
    tag: &'static str,
    packages: &'static str,
    check: &'static [&'static str],
}

impl<'a> Rootfs<'a> {
    /// A Java 17 runtime.
    pub(super) fn jre(home: &'a Home) -> Self {
        Self {
            home,
            name: "jre-17",
            tag: "gantry/jre:17",
            packages: "openjdk-17-jre-headless",
            check: &["java", "-version"],
        }
    }

    /// Python 3.11 with venv and pip, no compiler.
    pub(super) fn python(home: &'a Home) -> Self {
        Self {
            home,
            name: "python-3.11",
            tag: "gantry/python:3.11",
            packages: "ca-certificates,python3,python3-pip,python3-venv",
            check: &["python3", "-m", "pip", "--version"],
        }
    }

    /// The tar file, once built.
    pub(super) fn tar(&self) -> PathBuf {
        self.home.at("cache").join(format!("{}.tar", self.name))
    }

    /// The image of it.
    pub(super) fn image(&self) -> Image {
        Image {
            tag: self.tag,
            tar: self.tar(),
            recipe: self.recipe(),
            check: self.check,
        }
    }

    /// Builds the tar file if it is not there.
    pub(super) fn build(&self) -> Result<()> {
        let (tar, recipe) = (self.tar(), self.tar().with_extension("recipe"));
        let same = fs::read_to_string(&recipe).is_ok_and(|made| made.trim() == self.recipe());
        if same && tar.exists() {
            return Ok(());
        }
        let sources = apt_sources(SUITE)?;
        let part = self
            .home
            .at("cache")
            .join(format!("{}.part.tar", self.name));
        let mut command = Command::new(tools::path("mmdebstrap")?);
        // The JRE's set-up fails without the folders of manual pages: nothing is excluded.
        command
            .arg("--variant=minbase")
            .arg(format!("--include={}", self.packages));
        command.arg(SUITE).arg(&part).args(sources);
        process::logged(&mut command, &self.home.log(self.name))?;
        fs::rename(&part, &tar).context(|| format!("renaming `{}`", part.display()))?;
        home::write(&recipe, &format!("{}\n", self.recipe()))
    }

    fn recipe(&self) -> String {
        format!("{SUITE} {}", self.packages)
    }
}

/// The machine's own source files that have a suite; mmdebstrap takes them as they are.
fn apt_sources(suite: &str) -> Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    files.sort();
    files.retain(|file| {
        let is_list = file
            .extension()
            .is_some_and(|end| end == "list" || end == "sources");
        is_list && fs::read_to_string(file).is_ok_and(|text| offers(&text, suite))
    });
    if files.is_empty() {
        let at = Path::new("/etc/apt");
        return Err(Failure::new(format!(
            "no source in `{}` is for {suite}",
            at.display()
        )));
    }
    Ok(files)
}

/// Whether a source file is Debian's and for a suite; others need keys that the new root lacks.
fn offers(text: &str, suite: &str) -> bool {
    let lines = || {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
    };
    let has_suite = lines().any(|line| line.split_whitespace().any(|word| word == suite));
    let foreign = lines().any(|line| {
        let key = line.to_ascii_lowercase();
        key.contains("signed-by") && !key.contains("debian-archive")
    });
    has_suite && !foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_of_the_suite_are_used() {
        let debian = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                      Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        let cases = [
            (debian, true),
            ("deb http://mirror/debian bookworm main\n", true),
            ("# deb http://mirror/debian bookworm main\n", false),
            ("deb http://mirror/debian trixie main\n", false),
            (
                "deb [signed-by=/etc/apt/keyrings/other.gpg] http://mirror bookworm main\n",
                false,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(offers(text, "bookworm"), expected, "{text}");
        }
    }
}
