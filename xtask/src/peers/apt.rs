//! Debian packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::home::Home;

/// Each package and what shows that it, or something as good, is installed: a program or a file.
const PACKAGES: &[(&str, &str)] = &[
    ("apache2-utils", "htpasswd"),
    ("buildah", "buildah"),
    ("docker-registry", "docker-registry"),
    ("docker.io", "dockerd"),
    // For the library of the fuzz targets.
    ("g++", "c++"),
    ("golang-go", "go"),
    ("gzip", "gzip"),
    ("hyperfine", "hyperfine"),
    ("iptables", "iptables"),
    ("junit4", "/usr/share/maven-repo/junit/junit/4.x"),
    ("libarchive-tools", "bsdtar"),
    ("libdeflate-tools", "libdeflate-gzip"),
    (
        "libmaven-dependency-plugin-java",
        "/usr/share/maven-repo/org/apache/maven/plugins/maven-dependency-plugin",
    ),
    (
        "libmaven-deploy-plugin-java",
        "/usr/share/maven-repo/org/apache/maven/plugins/maven-deploy-plugin",
    ),
    ("maven", "mvn"),
    ("maven-repo-helper", "mh_install"),
    ("mmdebstrap", "mmdebstrap"),
    ("netavark", "/usr/lib/podman/netavark"),
    ("nginx-extras", "nginx"),
    ("openjdk-17-jdk-headless", "javac"),
    ("openssl", "openssl"),
    ("pigz", "pigz"),
    ("podman", "podman"),
    ("python3", "python3"),
    ("rsync", "rsync"),
    ("runc", "runc"),
    ("skopeo", "skopeo"),
    ("strace", "strace"),
    ("tar", "tar"),
    ("umoci", "umoci"),
    ("unzip", "unzip"),
    ("wrk", "wrk"),
    ("zip", "zip"),
    ("zstd", "zstd"),
];

/// Whether this is a Debian machine and we may install on it.
pub(super) fn usable() -> bool {
    Path::new("/etc/debian_version").exists() && process::find("apt-get").is_some() && is_root()
}

/// Whether this task runs as root.
pub(super) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_uid(&status) == Some("0")
}

/// Installs the packages whose program is not there.
pub(super) fn install_missing(home: &Home) -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, shown_by)| !is_there(shown_by))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let log = home.log("apt");
    let _services = NoServices::for_the_moment()?;
    update(home)?;
    if install(&missing, &log).is_ok() {
        return Ok(());
    }
    // One package that cannot be had must not take the others with it.
    let refused: Vec<String> = missing
        .iter()
        .filter_map(|package| {
            install(&[package], &log)
                .err()
                .map(|why| format!("{package}: {why}"))
        })
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(refused.join("; ")))
    }
}

/// Fetches the lists of packages.
pub(super) fn update(home: &Home) -> Result<()> {
    process::logged(
        Command::new("apt-get").args(["-q", "update"]),
        &home.log("apt"),
    )
}

fn install(packages: &[&str], log: &Path) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["-q", "-y", "--no-install-recommends", "install"])
        .args(packages);
    process::logged(&mut apt, log)
}

fn is_there(shown_by: &str) -> bool {
    if shown_by.starts_with('/') {
        Path::new(shown_by).exists()
    } else {
        process::find(shown_by).is_some()
    }
}

fn effective_uid(status: &str) -> Option<&str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)
}

/// Keeps packages from starting their own services while they are being installed: a registry on
/// all interfaces, say. A policy that the machine already has stays in force.
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn for_the_moment() -> Result<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        super::home::write_script(&policy, "#!/bin/sh\nexit 101\n")
            .context(|| "keeping services from starting".to_owned())?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.0
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("warning: `{}` stays behind: {error}", policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_is_the_second_number() {
        assert_eq!(
            effective_uid("Name:\tx\nUid:\t1000\t0\t1000\t1000\n"),
            Some("0")
        );
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn packages_are_sorted() {
        assert!(PACKAGES.is_sorted());
    }
}
