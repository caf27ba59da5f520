use std::collections::BTreeMap;

use repack::EntryPath;

use crate::{job::Job, options::ConvertOptions};

/// What the config of a job's image says, in the terms of the OCI image specification.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ImageConfig {
    /// In exec form: no shell of the container engine stands between it and the signals.
    pub entrypoint: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Labels, those of the OCI annotations specification among them.
    pub labels: BTreeMap<String, String>,
    /// Where the job runs; jobs find their context files and child jobs from there.
    pub working_dir: String,
    /// User and group, as numbers.
    pub user: String,
    /// Volumes.
    pub volumes: Vec<String>,
}

/// The labels of a job: title and version of the OCI annotations specification, and under
/// `talend.` what jobInfo says of the build.
pub(crate) fn labels(job: &Job, context: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", job.name.clone()),
        ("org.opencontainers.image.version", job.version.clone()),
        ("talend.job.name", job.name.clone()),
        ("talend.job.version", job.version.clone()),
    ]);
    if let Some(studio) = &job.studio {
        labels.insert("talend.studio.version", studio.to_string());
    }
    for (label, key) in [
        ("talend.job.branch", "branch"),
        ("talend.job.built", "date"),
        ("talend.job.context", "contextName"),
        ("talend.job.id", "jobId"),
        ("talend.job.project", "project"),
        ("talend.job.type", "jobType"),
    ] {
        if let Some(value) = job.info.get(key).filter(|value| !value.is_empty()) {
            labels.insert(label, value.clone());
        }
    }
    if let Some(context) = context {
        labels.insert("talend.job.context", context.to_owned());
    }
    labels
        .into_iter()
        .map(|(label, value)| (label.to_owned(), value))
        .collect()
}

/// The variables that the original's images have.
pub(crate) fn env(job: &Job, parent: &EntryPath) -> BTreeMap<String, String> {
    [
        ("JOB_NAME", job.name.clone()),
        ("JOB_VERSION", job.version.clone()),
        ("JOB_PARENT_DIR", format!("/{parent}")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The variables of an image with several jobs.
pub(crate) fn application_env(
    name: &str,
    version: Option<&str>,
    options: &ConvertOptions,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("JOB_NAME".to_owned(), name.to_owned()),
        ("JOB_PARENT_DIR".to_owned(), format!("/{}", options.parent)),
    ]);
    if let Some(version) = version {
        env.insert("JOB_VERSION".to_owned(), version.to_owned());
    }
    env
}

/// The labels of an image with several jobs, each with the name of its entry point.
pub(crate) fn application_labels(
    name: &str,
    version: Option<&str>,
    jobs: &[(&Job, &str)],
) -> BTreeMap<String, String> {
    let mut labels =
        BTreeMap::from([("org.opencontainers.image.title".to_owned(), name.to_owned())]);
    if let Some(version) = version {
        labels.insert(
            "org.opencontainers.image.version".to_owned(),
            version.to_owned(),
        );
    }
    let entrypoints: Vec<&str> = jobs.iter().map(|(_, entrypoint)| *entrypoint).collect();
    let jobs: Vec<String> = jobs
        .iter()
        .map(|(job, _)| format!("{}:{}", job.name, job.version))
        .collect();
    labels.insert("talend.jobs".to_owned(), jobs.join(","));
    labels.insert("talend.entrypoints".to_owned(), entrypoints.join(","));
    labels
}
