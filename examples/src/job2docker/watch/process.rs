use std::path::{Path, PathBuf};

use ocicore::{Cx, Digest};
use ociregistry::Registry;
use serde::Serialize;
use talend::watch::{Candidate, Fault};
use tokio::runtime::Handle;

use super::{super::Hook, claims::Claims};
use crate::{
    Failure, Result,
    job2docker::{Request, build, plan},
};

/// What became of a zip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Processed {
    /// The job.
    pub(super) job: String,
    /// Its version.
    pub(super) version: String,
    /// The image, if one was to be made.
    pub(super) image: Option<Digest>,
    /// Where the image is.
    pub(super) to: Vec<String>,
    /// Where the archive is.
    pub(super) archive: Option<PathBuf>,
    /// What surprises.
    pub(super) warnings: Vec<String>,
}

/// What every zip becomes.
#[derive(Debug)]
pub(super) struct Processor {
    pub(super) folder: PathBuf,
    pub(super) request: Request,
    pub(super) hook: Option<Hook>,
    pub(super) registry: Registry,
    pub(super) runtime: Handle,
    pub(super) claims: Claims,
}

impl Processor {
    /// Works on one zip, on the calling thread.
    pub(super) fn process(&self, cx: &Cx, zip: &Candidate) -> Result<Processed, Fault> {
        let work = self.build(cx, &zip.name, &zip.path);
        self.runtime
            .block_on(work)
            .map_err(|failure| Fault::classed(failure.class(), failure.line()))
    }

    async fn build(&self, cx: &Cx, name: &str, path: &Path) -> Result<Processed> {
        let mut request = self.request.clone();
        request.zip = path.to_owned();
        let planned = plan(cx, &request).await?;
        let archive = planned.archive.as_deref().map(Path::display);
        let outputs = planned.to.iter().cloned();
        let outputs = outputs.chain(archive.map(|path| path.to_string()));
        self.claims.claim(&self.folder, name, outputs.collect())?;
        if let Some(directory) = planned.archive.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(directory).map_err(|error| {
                Failure::from(error).context(format!("cannot create `{}`", directory.display()))
            })?;
        }
        let built = build(cx, &self.registry, &request).await?;
        let mut warnings = built.plan.report.warnings;
        warnings.extend(built.warnings);
        let processed = Processed {
            job: built.plan.job.name,
            version: built.plan.job.version,
            image: built.written.map(|written| written.digest),
            to: built.to,
            archive: built.archive,
            warnings,
        };
        if let Some(hook) = &self.hook {
            hook.run_apart(cx, variables(path, &processed)).await?;
        }
        Ok(processed)
    }
}

/// What the hook is told.
fn variables(zip: &Path, processed: &Processed) -> Vec<(&'static str, String)> {
    let shown = |path: &Option<PathBuf>| {
        let path = path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_default()
    };
    let digest = processed.image.map(|digest| digest.to_string());
    vec![
        ("JOB2DOCKER_ZIP", zip.display().to_string()),
        ("JOB2DOCKER_JOB", processed.job.clone()),
        ("JOB2DOCKER_VERSION", processed.version.clone()),
        ("JOB2DOCKER_TO", processed.to.join("\n")),
        ("JOB2DOCKER_DIGEST", digest.unwrap_or_default()),
        ("JOB2DOCKER_TGZ", shown(&processed.archive)),
    ]
}
