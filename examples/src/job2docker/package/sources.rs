use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use ocicore::{Class, Cx, Reference, SizeLimits};
use repack::{Tree, tar, zip};
use serde::Serialize;
use talend::{
    Job,
    application::JobInput,
    manifest::{Manifest, ManifestJob, Source},
    nexus::{self, Cache, Fetched},
};

use super::Wanted;
use crate::{Failure, Result, job2docker::file_name};

/// The jobs of a manifest, all of them there and readable.
#[derive(Debug)]
pub(super) struct Sources(pub(super) Vec<OpenJob>);

/// A job and where it came from.
#[derive(Debug)]
pub(super) struct OpenJob {
    pub(super) from: From,
    file_name: String,
    tree: Tree,
    job: Job,
}

/// Where a job came from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    /// A local file.
    File(PathBuf),
    /// A repository.
    Fetched(Fetched),
}

impl Sources {
    /// Fetches what is remote, opens everything, and looks for the job in it.
    ///
    /// All that fails is reported, with its line in the manifest.
    pub(super) async fn get(cx: &Cx, wanted: &Wanted, manifest: &Manifest) -> Result<Self> {
        let folder = wanted.manifest.parent().unwrap_or(Path::new(""));
        let mut faults = Faults::new(&wanted.manifest, manifest);
        let mut found: Vec<Option<From>> = Vec::new();
        for job in &manifest.jobs {
            found.push(match &job.source {
                Source::File(path) => Some(From::File(folder.join(path))),
                _ => None,
            });
        }
        for (index, fetched) in fetch(cx, wanted, manifest, &mut faults).await? {
            found[index] = Some(From::Fetched(fetched));
        }
        let mut open = Vec::new();
        for (index, from) in found.into_iter().enumerate() {
            let Some(from) = from else { continue };
            match cx.blocking(move |cx| OpenJob::open(&cx, from)).await {
                Ok(job) => open.push(job),
                Err(failure) => faults.add(index, failure),
            }
        }
        faults.none()?;
        Ok(Self(open))
    }

    /// A base for the newest Studio among the jobs.
    pub(super) fn default_base(&self) -> Result<Reference> {
        let studios = self.0.iter().map(|one| one.job.studio.as_ref());
        let known: Option<Vec<_>> = studios.collect();
        let newest = known.and_then(|known| known.into_iter().max());
        Ok(talend::default_base(newest)?)
    }

    /// What is merged.
    pub(super) fn inputs(&self, manifest: &Manifest) -> Vec<JobInput> {
        let jobs = self.0.iter().zip(&manifest.jobs);
        jobs.map(|(open, said)| {
            let mut input = JobInput::new(&open.file_name, open.tree.clone());
            if let Some(context) = &said.context {
                input = input.with_context(context);
            }
            if let Some(entrypoint) = &said.entrypoint {
                input = input.with_entrypoint(entrypoint);
            }
            input
        })
        .collect()
    }
}

/// Fetches all remote jobs; returns them with their numbers in the manifest.
async fn fetch(
    cx: &Cx,
    wanted: &Wanted,
    manifest: &Manifest,
    faults: &mut Faults<'_>,
) -> Result<Vec<(usize, Fetched)>> {
    let remote = manifest.jobs.iter().enumerate();
    let remote = remote.filter(|(_, job)| !matches!(job.source, Source::File(_)));
    let (numbers, sources): (Vec<usize>, Vec<Source>) =
        remote.map(|(at, job)| (at, job.source.clone())).unzip();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let client = wanted.source_client()?;
    let cache = Cache::open(&wanted.work_dir)?;
    let fetched = nexus::fetch_all(cx, &client, &sources, &wanted.repositories, &cache).await;
    match fetched {
        Ok(fetched) => Ok(numbers.into_iter().zip(fetched).collect()),
        Err(nexus::Error::Several { failures, .. }) => {
            for failure in failures {
                let Some(number) = numbers.get(failure.index) else {
                    continue;
                };
                faults.add(*number, failure.error.into());
            }
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

impl OpenJob {
    fn open(cx: &Cx, from: From) -> Result<Self> {
        let (path, file_name) = match &from {
            From::File(path) => (path.clone(), file_name(path)),
            From::Fetched(fetched) => (fetched.path.clone(), fetched.file_name.clone()),
        };
        let tree = open(cx, &path)?;
        let job = Job::discover(&tree, &file_name)?;
        Ok(Self {
            from,
            file_name,
            tree,
            job,
        })
    }
}

/// Opens a zip, or a tar as Maven can make one, too; what it is called does not matter.
fn open(cx: &Cx, path: &Path) -> Result<Tree> {
    let limits = SizeLimits::default();
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(2).read_to_end(&mut start))
        .map_err(|error| {
            Failure::from(error).context(format!("cannot read `{}`", path.display()))
        })?;
    match start.as_slice() {
        b"\x1f\x8b" => Ok(tar::open(cx, path, &limits)?),
        _ if path.extension().is_some_and(|end| end == "tar") => Ok(tar::open(cx, path, &limits)?),
        _ => Ok(zip::open(cx, path, &limits)?),
    }
}

/// What is wrong with jobs of a manifest.
struct Faults<'m> {
    path: &'m Path,
    jobs: &'m [ManifestJob],
    found: Vec<(usize, Failure)>,
}

impl<'m> Faults<'m> {
    fn new(path: &'m Path, manifest: &'m Manifest) -> Self {
        Self {
            path,
            jobs: &manifest.jobs,
            found: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, failure: Failure) {
        self.found.push((index, failure));
    }

    /// Fails if there are any. The kind is theirs if they agree.
    fn none(mut self) -> Result<()> {
        self.found.sort_by_key(|(index, _)| *index);
        let Some((_, first)) = self.found.first() else {
            return Ok(());
        };
        let same = |(_, failure): &(usize, Failure)| failure.class() == first.class();
        let class = match self.found.iter().all(same) {
            true => first.class(),
            false => Class::Other,
        };
        let hint = match self.found.as_slice() {
            [(_, only)] => only.hint().map(str::to_owned),
            _ => None,
        };
        let mut text = format!(
            "{} of {} jobs cannot be had",
            self.found.len(),
            self.jobs.len()
        );
        for (index, failure) in &self.found {
            let job = &self.jobs[*index];
            let place = format!("{}:{}", self.path.display(), job.position);
            text += &format!("\n{place}: {}", failure.line());
        }
        let failure = Failure::new(class, text);
        Err(match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        })
    }
}
