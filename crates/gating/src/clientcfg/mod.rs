//! Configuration of container clients, so that they look into a buildset registry first.
//!
//! [`plan_podman`] reads the files that are there and decides; [`apply`] writes. Everything that
//! the files hold besides stays, comments included, and to do it twice changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Fault, Result, buildset::BuildsetRegistry, file};

mod auth;
mod hosts;
mod registries;

/// Registries whose images are looked for in the buildset registry, as in Zuul's role.
pub const NAMESPACES: [&str; 4] = ["docker.io", "quay.io", "gcr.io", "registry.k8s.io"];

/// Files of Podman, Buildah, Skopeo and CRI-O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodmanFiles {
    /// Mirrors, containers-registries.conf(5).
    pub registries: PathBuf,
    /// Folders of certificates by registry, containers-certs.d(5).
    pub certs: PathBuf,
    /// Passwords, containers-auth.json(5).
    pub auth: PathBuf,
    /// Names of hosts, hosts(5); touched only for a registry at an IPv6 address.
    pub hosts: PathBuf,
}

impl PodmanFiles {
    /// The system's files below `root` (`/` for this machine), and those of the user whose home
    /// folder is `home` there.
    pub fn below(root: &Path, home: &Path) -> Self {
        let home = root.join(home.strip_prefix("/").unwrap_or(home));
        Self {
            registries: root.join("etc/containers/registries.conf"),
            certs: root.join("etc/containers/certs.d"),
            auth: home.join(".config/containers/auth.json"),
            hosts: root.join("etc/hosts"),
        }
    }
}

/// What will be written. Serialised for `--dry-run`, with `***` for passwords.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    files: Vec<Change>,
}

impl Plan {
    /// The files, those that stay as they are included.
    pub fn files(&self) -> &[Change] {
        &self.files
    }
}

/// One file of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    path: PathBuf,
    action: Action,
    /// What changes, as a unified diff; for a file with secrets, in words.
    change: String,
    #[serde(skip)]
    content: Content,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It is changed.
    Update,
    /// It is as it should be.
    Keep,
}

#[derive(Clone)]
enum Content {
    Public(String),
    Private(String),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Public(text) => text.fmt(f),
            Self::Private(_) => f.write_str("***"),
        }
    }
}

impl Change {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What happens to it.
    pub fn action(&self) -> Action {
        self.action
    }

    /// What changes, as a unified diff; for a file with secrets, in words; empty if nothing does.
    pub fn change(&self) -> &str {
        &self.change
    }

    fn public(path: PathBuf, before: Option<String>, after: String) -> Self {
        let (action, change) = match before {
            Some(before) if before == after => (Action::Keep, String::new()),
            before => {
                let action = match before {
                    Some(_) => Action::Update,
                    None => Action::Create,
                };
                let before = before.unwrap_or_default();
                let diff = similar::TextDiff::from_lines(&before, &after);
                (action, diff.unified_diff().to_string())
            }
        };
        Self {
            path,
            action,
            change,
            content: Content::Public(after),
        }
    }

    fn private(path: PathBuf, before: Option<&str>, after: String, change: String) -> Self {
        let action = match before {
            // One that others can read is written anew, for its mode.
            Some(before) if before == after && !file::is_shared(&path) => Action::Keep,
            Some(_) => Action::Update,
            None => Action::Create,
        };
        Self {
            path,
            action,
            change: if action == Action::Keep {
                String::new()
            } else {
                change
            },
            content: Content::Private(after),
        }
    }
}

/// Decides how Podman (and Buildah, Skopeo, CRI-O) are made to look into `registry` first for
/// images of `namespaces`, registry hosts such as those of [`NAMESPACES`].
///
/// # Errors
/// [`Error::Files`] with all faults of the files that are there; [`Error::Io`];
/// [`Error::Input`] for a namespace that is no registry.
pub fn plan_podman<'a>(
    registry: &BuildsetRegistry,
    namespaces: impl IntoIterator<Item = &'a str>,
    files: &PodmanFiles,
) -> Result<Plan> {
    let address = registry.client_address();
    let mirrors = namespaces
        .into_iter()
        .map(|namespace| registries::Mirror::new(namespace, &address))
        .collect::<Result<Vec<_>>>()?;
    let (mut changes, mut faults) = (Vec::new(), Vec::new());

    let before = file::read(&files.registries)?;
    match registries::edit(before.as_deref().unwrap_or_default(), &mirrors) {
        Ok(after) => changes.push(Change::public(files.registries.clone(), before, after)),
        Err(problem) => faults.push(problem.of(&files.registries)),
    }

    let cert = files.certs.join(&address).join("ca.crt");
    let before = file::read(&cert)?;
    changes.push(Change::public(cert, before, registry.cert().to_owned()));

    let before = file::read(&files.auth)?;
    match auth::edit(before.as_deref().unwrap_or_default(), registry) {
        Ok(after) => changes.push(Change::private(
            files.auth.clone(),
            before.as_deref(),
            after,
            format!(
                "log in to `{address}` as `{}` with password {}",
                registry.username(),
                registry.password()
            ),
        )),
        Err(problem) => faults.push(problem.of(&files.auth)),
    }

    if let Some(ip) = registry.ipv6() {
        let before = file::read(&files.hosts)?;
        let after = hosts::edit(before.as_deref().unwrap_or_default(), &ip.to_string());
        changes.push(Change::public(files.hosts.clone(), before, after));
    }
    if faults.is_empty() {
        Ok(Plan { files: changes })
    } else {
        Err(Error::Files(faults))
    }
}

/// Writes the files that change; each one is replaced at once, passwords with mode 0600.
///
/// # Errors
/// [`Error::Io`]; to apply a plan of the same again is right.
pub fn apply(plan: &Plan) -> Result<()> {
    for change in &plan.files {
        if change.action == Action::Keep {
            continue;
        }
        match &change.content {
            Content::Public(text) => file::write_public(&change.path, text.as_bytes())?,
            Content::Private(text) => file::write_private(&change.path, text.as_bytes())?,
        }
    }
    Ok(())
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    at: Option<(usize, usize)>,
    message: String,
}

impl Problem {
    fn of(self, path: &Path) -> Fault {
        Fault {
            path: path.display().to_string(),
            at: self.at,
            message: self.message,
        }
    }
}
