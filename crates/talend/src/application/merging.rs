use std::collections::{BTreeMap, BTreeSet};

use ocicore::Cx;
use repack::{Entry, EntryPath, Keep, Tree};

use super::{
    Application, ApplicationPlan, Collision, CollisionOutcome, JobInput, MergeSpec, PlacedJob,
    Versions,
};
use crate::{
    Error, Result,
    convert::{Move, set_owner},
    image::{self, ImageConfig},
    job::{self, JOB_INFO, Job},
    layers::{self, Digests, LIB},
    options::{ConvertOptions, Entrypoint, SignedFiles},
    prepared::Prepared,
    rewrite,
    signed::CRC_MAP,
};

/// A job on its way into the application.
#[derive(Debug)]
struct Merged {
    prepared: Prepared,
    options: ConvertOptions,
    entrypoint: String,
    residue: Vec<EntryPath>,
    moves: Vec<Move>,
    /// Of libraries, by their paths in the job.
    digests: Digests,
    /// Below the application's directory; none if it shares that.
    separate: Option<(EntryPath, String)>,
}

/// An application while it is put together.
#[derive(Debug)]
pub(super) struct Merging<'s> {
    spec: &'s MergeSpec,
    jobs: Vec<Merged>,
    shared: Tree,
    /// Path to the job that had it first.
    owners: BTreeMap<EntryPath, String>,
    /// Of shared libraries.
    digests: Digests,
    collisions: Vec<Collision>,
}

impl<'s> Merging<'s> {
    pub(super) fn prepare(cx: &Cx, inputs: Vec<JobInput>, spec: &'s MergeSpec) -> Result<Self> {
        let task = cx.task("convert jobs", Some(inputs.len() as u64));
        let alone = if inputs.len() == 1 {
            Alone::Yes
        } else {
            Alone::No
        };
        let mut jobs = Vec::new();
        for input in inputs {
            let archive = input.file_name.clone();
            let merged = Merged::prepare(cx, input, spec, alone);
            jobs.push(merged.map_err(|error| match error {
                Error::Cancelled => Error::Cancelled,
                error => Error::Job {
                    archive,
                    source: Box::new(error),
                },
            })?);
            task.add(1)?;
        }
        if jobs.is_empty() {
            return Err(Error::NoJob {
                missing: "the manifest names none".to_owned(),
            });
        }
        if alone == Alone::No {
            hash_libraries(cx, &mut jobs)?;
        }
        Ok(Self {
            spec,
            jobs,
            shared: Tree::new(),
            owners: BTreeMap::new(),
            digests: Digests::new(),
            collisions: Vec::new(),
        })
    }

    /// Decides for each job in order whether it can share the application's directory.
    pub(super) fn place(&mut self, cx: &Cx) -> Result<()> {
        let task = cx.task("merge jobs", Some(self.jobs.len() as u64));
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let alone = self.jobs.len() == 1;
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at].prepared.job;
            let (name, version) = (job.name.clone(), job.version.clone());
            let mut directory = name.clone();
            let mut reason = None;
            if let Some(first) = names.get(&name) {
                if self.spec.versions == Versions::Refuse || *first == version {
                    return Err(Error::SameJob {
                        job: name,
                        versions: vec![first.clone(), version],
                    });
                }
                reason = Some(format!("version {first} is there, too"));
                directory = job.root();
                if self.jobs[at].entrypoint == name {
                    self.jobs[at].entrypoint.clone_from(&directory);
                }
            } else {
                names.insert(name.clone(), version);
            }
            let launcher = &self.jobs[at].prepared.edited.launcher;
            if reason.is_none() && !alone && rewrite::has_wildcard_class_path(launcher) {
                reason = Some("its class path has a wildcard".to_owned());
            }
            if reason.is_none() {
                reason = self.share(cx, at)?;
            }
            if let Some(reason) = reason {
                let root = format!("jobs/{directory}").parse()?;
                self.jobs[at].separate = Some((root, reason));
            }
            task.add(1)?;
        }
        self.check_entrypoints()
    }

    /// Adds a job to the shared tree; why it cannot be, if it cannot.
    fn share(&mut self, cx: &Cx, at: usize) -> Result<Option<String>> {
        let merged = &self.jobs[at];
        let name = &merged.prepared.job.name;
        let tree = &merged.prepared.tree;
        // Only where both have something there is anything to compare, and libraries are hashed.
        let mut overlap = Tree::new();
        for (path, _) in tree {
            let Some(entry) = self.shared.get(&path) else {
                continue;
            };
            let same = merged.digests.get(&path).zip(self.digests.get(&path));
            if same.is_some_and(|(ours, theirs)| ours == theirs) {
                self.collisions.push(Collision {
                    first: self.owners.get(&path).cloned().unwrap_or_default(),
                    path,
                    second: name.clone(),
                    outcome: CollisionOutcome::Shared,
                });
            } else {
                overlap.insert(path, entry)?;
            }
        }
        let sources = [(String::new(), overlap), (name.clone(), tree.clone())];
        let mut differing = BTreeSet::new();
        let attempt = repack::merge(cx, sources, &mut |collision| {
            differing.insert(collision.path.clone());
            Keep::First
        })?;
        for collision in attempt.collisions {
            let outcome = if differing.contains(&collision.path) {
                CollisionOutcome::Separated
            } else {
                CollisionOutcome::Shared
            };
            let first = self.owners.get(&collision.path).cloned();
            self.collisions.push(Collision {
                first: first.unwrap_or_default(),
                second: name.clone(),
                path: collision.path,
                outcome,
            });
        }
        let mut differing = differing.into_iter();
        let Some(path) = differing.next() else {
            for (path, entry) in tree {
                if !self.shared.contains(&path) {
                    self.shared.insert(path.clone(), entry)?;
                    self.owners.insert(path, name.clone());
                }
            }
            self.digests.extend(merged.digests.clone());
            return Ok(None);
        };
        let first = self.owners.get(&path).cloned().unwrap_or_default();
        let more = match differing.count() {
            0 => String::new(),
            more => format!(", and {more} more files"),
        };
        Ok(Some(format!("its `{path}` is not that of `{first}`{more}")))
    }

    fn check_entrypoints(&self) -> Result<()> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for job in &self.jobs {
            if let Some(first) = seen.insert(&job.entrypoint, &job.prepared.job.name) {
                return Err(Error::SameEntrypoint {
                    entrypoint: job.entrypoint.clone(),
                    first: first.to_owned(),
                    second: job.prepared.job.name.clone(),
                });
            }
        }
        match &self.spec.default {
            Some(default) if !seen.contains_key(default.as_str()) => Err(Error::NoEntrypoint {
                entrypoint: default.clone(),
                available: seen.keys().map(|name| (*name).to_owned()).collect(),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Result<Application> {
        let application: EntryPath = self.spec.name.parse()?;
        let options = &self.spec.convert;
        let only = match self.jobs.as_slice() {
            [only] => Some(only.entrypoint.clone()),
            _ => None,
        };
        let default = self.spec.default.clone().or(only);
        let mut tree = self.shared;
        let mut placed_jobs = Vec::new();
        let mut scripts: Vec<(String, String)> = Vec::new();
        let mut warnings = Vec::new();
        let mut digests = Digests::new();
        let mut image = ImageConfig {
            entrypoint: Vec::new(),
            env: image::application_env(&self.spec.name, self.spec.version.as_deref(), options),
            labels: BTreeMap::new(),
            working_dir: format!("/{}/{application}", options.parent),
            user: options.user.clone(),
            volumes: options.volumes.clone(),
        };
        for merged in self.jobs {
            let root = match &merged.separate {
                Some((root, _)) => application.join(root)?,
                None => application.clone(),
            };
            let placed = merged.prepared.place(&root, &merged.options)?;
            let entrypoint = format!("/{}/bin/{}", options.parent, merged.entrypoint);
            if default.as_deref() == Some(merged.entrypoint.as_str()) {
                if options.entrypoint == Entrypoint::Exec {
                    image.entrypoint = placed.image.entrypoint;
                    image.working_dir = placed.image.working_dir;
                } else {
                    image.entrypoint = vec![entrypoint.clone()];
                }
            }
            scripts.push((merged.entrypoint, placed.script));
            for (path, digest) in merged.digests {
                digests.insert(root.join(&path)?, digest);
            }
            if let Some((directory, _)) = &merged.separate {
                let mut own = merged.prepared.tree;
                own.prefix(directory)?;
                for (path, entry) in &own {
                    if !(entry.kind.is_dir() && tree.contains(&path)) {
                        tree.insert(path, entry)?;
                    }
                }
            }
            let residue = merged.residue.iter().map(|path| root.join(path));
            let residue = residue.collect::<Result<_, _>>()?;
            let (exec_form, needs_shell) = match placed.exec_form {
                Ok(form) => (Some(form), None),
                Err(needs) => (None, Some(needs)),
            };
            placed_jobs.push(PlacedJob {
                job: merged.prepared.job,
                root,
                separate: merged.separate.map(|(_, reason)| reason),
                entrypoint,
                report: merged.prepared.edited.report,
                moves: merged.moves,
                residue,
                exec_form,
                needs_shell,
            });
        }
        if image.entrypoint.is_empty() {
            warnings.push(format!(
                "an image starts nothing by itself: name one of its entry points in `/{}/bin`",
                options.parent
            ));
        }
        if options.entrypoint == Entrypoint::Exec && placed_jobs.len() > 1 {
            warnings.push(format!(
                "`/{}/bin` needs a shell: on a base without one only the default is started",
                options.parent
            ));
        }
        let names = scripts.iter().map(|(name, _)| name.as_str());
        let jobs: Vec<(&Job, &str)> = placed_jobs
            .iter()
            .map(|placed| &placed.job)
            .zip(names)
            .collect();
        image.labels =
            image::application_labels(&self.spec.name, self.spec.version.as_deref(), &jobs);
        tree.prefix(&application)?;
        set_owner(&mut tree, options.mtime);
        Ok(Application {
            tree,
            plan: ApplicationPlan {
                name: self.spec.name.clone(),
                layout: options.layout,
                jobs: placed_jobs,
                collisions: self.collisions,
                image,
                warnings,
            },
            parent: options.parent.clone(),
            mtime: options.mtime,
            scripts,
            digests,
        })
    }
}

/// Hashes the libraries of all jobs together, so that all threads have work.
fn hash_libraries(cx: &Cx, jobs: &mut [Merged]) -> Result<()> {
    let lib: EntryPath = LIB.parse()?;
    let mut owners = Vec::new();
    let mut all = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        for library in layers::libraries(&job.prepared.tree, &lib) {
            owners.push(at);
            all.push(library);
        }
    }
    let digests = layers::digests(cx, &all)?;
    for ((at, (path, _)), digest) in owners.into_iter().zip(all).zip(digests) {
        jobs[at].digests.insert(path, digest);
    }
    Ok(())
}

/// Whether a job is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    Yes,
    No,
}

impl Merged {
    fn prepare(cx: &Cx, input: JobInput, spec: &MergeSpec, alone: Alone) -> Result<Self> {
        let mut options = spec.convert.clone();
        options.context = input.context.or(options.context);
        let prepared = Prepared::new(cx, input.tree, &input.file_name, &options)?;
        let mut merged = Self {
            entrypoint: input
                .entrypoint
                .unwrap_or_else(|| prepared.job.name.clone()),
            residue: layers::residue(&prepared.tree, &prepared.job, &options)?,
            moves: prepared.edited.moves.clone(),
            digests: Digests::new(),
            separate: None,
            prepared,
            options,
        };
        job::check_name("entry point", &merged.entrypoint)?;
        if alone == Alone::No {
            merged.name_apart()?;
        }
        merged.prepared.compare_signed()?;
        Ok(merged)
    }

    /// Moves what each job has at its root out of the way of the other jobs: jobInfo gets the
    /// job's name, residue of the build goes to `build/<Job>`.
    fn name_apart(&mut self) -> Result<()> {
        let job = &self.prepared.job;
        let mut moves = Vec::new();
        let info: EntryPath = JOB_INFO.parse()?;
        if self.prepared.tree.contains(&info) {
            let to = format!("jobInfo_{}.properties", job.name).parse()?;
            moves.push(Move { from: info, to });
        }
        let build: EntryPath = format!("build/{}", job.name).parse()?;
        let checksums: EntryPath = CRC_MAP.parse()?;
        let at_root = self.residue.iter().filter(|path| path.parent().is_none());
        let checksums = Some(checksums).filter(|path| {
            self.options.signed_files == SignedFiles::Namespace && self.prepared.tree.contains(path)
        });
        for from in at_root.chain(&checksums) {
            moves.push(Move {
                from: from.clone(),
                to: build.join(from)?,
            });
        }
        for Move { from, to } in &moves {
            if let Some(parent) = to.parent()
                && !self.prepared.tree.contains(&parent)
            {
                self.prepared.tree.insert(parent, Entry::dir())?;
            }
            self.prepared.tree.rename(from, to)?;
            for residue in &mut self.residue {
                if residue == from {
                    residue.clone_from(to);
                }
            }
        }
        self.moves.extend(moves);
        Ok(())
    }
}
