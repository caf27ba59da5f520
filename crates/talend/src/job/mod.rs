mod archive_name;
mod studio;

use std::collections::{BTreeMap, BTreeSet};

use repack::{EntryPath, Tree};

use crate::{Error, Result, properties::Properties};
pub(crate) use archive_name::ArchiveName;
pub use studio::{StudioVersion, default_base};

/// Where the Studio puts what it knows of the job; TAC and JobServer want it at the root.
pub(crate) const JOB_INFO: &str = "jobInfo.properties";
/// Larger files are neither launchers nor properties: 1 MiB.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// A job as the Studio built it, found in the tree of its archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Job {
    /// Name, with its case: `docker_hello_world`.
    pub name: String,
    /// Version as the Studio counts: `0.1`.
    pub version: String,
    /// Version of the Studio that built it, if jobInfo says so.
    pub studio: Option<StudioVersion>,
    /// Everything that jobInfo says; empty if there is none.
    pub info: BTreeMap<String, String>,
    /// The directory of the job, and of its Unix launcher.
    pub directory: EntryPath,
    /// The launcher for Unix: `<Job>/<Job>_run.sh`.
    pub launcher: EntryPath,
    /// Launchers for Windows: `.bat`, `.ps1`.
    pub windows_launchers: Vec<EntryPath>,
    /// Context files of the job and of its child jobs, in the order of their paths.
    pub contexts: Vec<ContextFile>,
}

/// A file of context variables.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ContextFile {
    /// Name of the context: `Default`.
    pub context: String,
    /// The job that reads it, as in its package: `docker_hello_world_0_1`.
    pub package: String,
    /// Whether it belongs to the job itself and not to a child job.
    pub own: bool,
    /// Where it is.
    pub path: EntryPath,
}

impl Job {
    /// Finds the job: `jobInfo.properties` says what it is, else the launcher, the archive's
    /// `file_name` and the job's jar do.
    ///
    /// # Errors
    /// [`Error::NoJob`], [`Error::SeveralJobs`], [`Error::NoLauncher`], [`Error::Name`],
    /// [`Error::Text`] if jobInfo cannot be parsed, [`Error::Tree`] if the archive is damaged.
    pub fn discover(tree: &Tree, file_name: &str) -> Result<Self> {
        let archive = ArchiveName::parse(file_name);
        let info = job_info(tree)?;
        let directories = launcher_directories(tree);
        let name = match info.get("job").filter(|name| !name.is_empty()) {
            Some(name) => name.clone(),
            None => match directories.iter().collect::<Vec<_>>().as_slice() {
                [] => return Err(no_job(tree)),
                [only] => (*only).clone(),
                _ => archive.job.clone(),
            },
        };
        let name = match directories.iter().find(|known| **known == name) {
            Some(name) => name.clone(),
            // Some tools lower the case of one and not of the other.
            None => directories
                .iter()
                .find(|known| known.eq_ignore_ascii_case(&name))
                .cloned()
                .ok_or_else(|| match directories.len() {
                    0 | 1 => Error::NoLauncher {
                        job: name.clone(),
                        expected: format!("{name}/{name}_run.sh"),
                    },
                    _ => several(&directories),
                })?,
        };
        if directories.len() > 1 {
            return Err(several(&directories));
        }
        check_name("job name", &name)?;
        let version = info
            .get("jobVersion")
            .filter(|version| !version.is_empty())
            .cloned()
            .or_else(|| archive.version.clone())
            .or_else(|| jar_version(tree, &name))
            .ok_or_else(|| Error::NoJob {
                missing: format!(
                    "no version of job `{name}`: expected `jobVersion` in `{JOB_INFO}`, \
                     or a file name such as `{name}_0.1.zip`"
                ),
            })?;
        check_name("job version", &version)?;
        let studio = info
            .get("cmdLineVersion")
            .and_then(|version| version.parse().ok());
        Ok(Self {
            directory: name.parse()?,
            launcher: format!("{name}/{name}_run.sh").parse()?,
            windows_launchers: windows_launchers(tree, &name),
            contexts: contexts(tree, &name, &version),
            name,
            version,
            studio,
            info,
        })
    }

    /// `<Job>_<version>`: the top directory of the original's archives, and their file names.
    pub fn root(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }

    /// The project in which the job was made, if jobInfo says so.
    pub fn project(&self) -> Option<&str> {
        self.info.get("project").map(String::as_str)
    }

    /// The context that the launcher asks for, if jobInfo says so.
    pub fn default_context(&self) -> Option<&str> {
        self.info.get("contextName").map(String::as_str)
    }
}

fn job_info(tree: &Tree) -> Result<BTreeMap<String, String>> {
    let path: EntryPath = JOB_INFO.parse()?;
    if !tree.contains(&path) {
        return Ok(BTreeMap::new());
    }
    let text = tree.read(&path, MAX_TEXT)?;
    let properties = Properties::parse(&text).map_err(|fault| Error::Text {
        path: path.to_string(),
        position: fault.position,
        fault: fault.message.to_owned(),
    })?;
    Ok(properties
        .iter()
        .map(|property| (property.key.clone(), property.value.clone()))
        .collect())
}

/// Names of the top directories that have a Unix launcher of their name.
fn launcher_directories(tree: &Tree) -> BTreeSet<String> {
    tree.iter()
        .filter(|(_, entry)| entry.kind.is_file())
        .filter_map(|(path, _)| {
            let (directory, file) = path.to_str()?.split_once('/')?;
            (file.strip_suffix("_run.sh")? == directory).then(|| directory.to_owned())
        })
        .collect()
}

fn windows_launchers(tree: &Tree, name: &str) -> Vec<EntryPath> {
    ["bat", "ps1"]
        .into_iter()
        .filter_map(|extension| format!("{name}/{name}_run.{extension}").parse().ok())
        .filter(|path| tree.get(path).is_some_and(|entry| entry.kind.is_file()))
        .collect()
}

/// `<Job>/<project>/<job>_0_1/contexts/<Context>.properties`; what lies in `src/` and `items/` is
/// not on the class path.
fn contexts(tree: &Tree, name: &str, version: &str) -> Vec<ContextFile> {
    let own = package(name, version);
    let mut found = Vec::new();
    for (path, entry) in tree {
        let Some(text) = path.to_str().filter(|_| entry.kind.is_file()) else {
            continue;
        };
        let parts: Vec<_> = text.split('/').collect();
        if let [directory, _, package, "contexts", file] = parts.as_slice()
            && *directory == name
            && let Some(context) = file.strip_suffix(".properties")
        {
            found.push(ContextFile {
                context: context.to_owned(),
                package: (*package).to_owned(),
                own: *package == own,
                path: path.clone(),
            });
        }
    }
    found
}

/// Last part of the Java package of a job.
fn package(name: &str, version: &str) -> String {
    format!("{name}_{}", version.replace('.', "_")).to_ascii_lowercase()
}

/// The version in the name of the job's jar, `<Job>/<job>_0_1.jar`.
fn jar_version(tree: &Tree, name: &str) -> Option<String> {
    let prefix = format!("{name}/{}_", name.to_ascii_lowercase());
    let mut versions = tree.iter().filter_map(|(path, _)| {
        let version = path.to_str()?.strip_prefix(&prefix)?.strip_suffix(".jar")?;
        let (major, minor) = version.split_once('_')?;
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
    });
    versions.next().filter(|_| versions.next().is_none())
}

/// Names go into paths, which launchers use unquoted.
pub(crate) fn check_name(what: &'static str, value: &str) -> Result<()> {
    let good = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if !value.is_empty() && value.chars().all(good) && !value.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(Error::Name {
        what,
        value: value.escape_default().to_string(),
        expected: "expected letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`",
    })
}

fn several(directories: &BTreeSet<String>) -> Error {
    Error::SeveralJobs {
        jobs: directories.iter().cloned().collect(),
    }
}

fn no_job(tree: &Tree) -> Error {
    let inner = tree.iter().find_map(|(path, entry)| {
        let is_info = path.file_name() == JOB_INFO.as_bytes() && entry.kind.is_file();
        path.parent().filter(|_| is_info)
    });
    let is_bundle = "OSGI-INF".parse().is_ok_and(|path| tree.contains(&path))
        || "BOOT-INF".parse().is_ok_and(|path| tree.contains(&path));
    let hint = match inner {
        Some(directory) => format!("; the job lies in `{directory}`, and must lie at the top"),
        None if is_bundle => "; services that are built as a bundle or jar need no launcher".into(),
        None => String::new(),
    };
    Error::NoJob {
        missing: format!("expected `<Job>/<Job>_run.sh`{hint}"),
    }
}
