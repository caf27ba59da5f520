//! Several jobs as one application: one archive, one image.
//!
//! ```
//! use ocicore::Cx;
//! use repack::{Entry, Tree};
//! use talend::application::{JobInput, MergeSpec, merge};
//!
//! let job = |name: &str| {
//!     let launcher = "#!/bin/sh\ncd `dirname $0`\njava -cp ../lib/a.jar a.B \"$@\"\n";
//!     let mut tree = Tree::new();
//!     tree.insert(format!("{name}/{name}_run.sh").parse()?, Entry::file(launcher))?;
//!     tree.insert("lib/a.jar".parse()?, Entry::file("a jar"))?;
//!     Ok::<_, talend::Error>(JobInput::new(format!("{name}_0.1.zip"), tree))
//! };
//! let spec = MergeSpec::new("orders").with_default("load");
//! let orders = merge(&Cx::default(), vec![job("load")?, job("export")?], &spec)?;
//! assert!(orders.tree.get(&"orders/export/export_run.sh".parse()?).is_some());
//! assert!(orders.tree.get(&"orders/lib/a.jar".parse()?).is_some());
//! assert_eq!(orders.plan.image.entrypoint, ["/talend/bin/load"]);
//! # Ok::<(), talend::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ocicore::{Cx, Reference};
use repack::{Entry, EntryPath, Keep, Mtime, Tree};

use crate::{
    Error, Result,
    convert::{Move, image_tree, set_owner},
    entrypoint::{ExecForm, NeedsShell},
    image::{self, ImageConfig},
    job::{self, JOB_INFO, Job, default_base},
    layers::{self, Digests, LIB, LayerOptions, Layers, Placement},
    options::{ConvertOptions, Entrypoint, Layout},
    prepared::Prepared,
    report::Report,
    rewrite,
};

/// What images have next to applications.
const RESERVED: [&str; 3] = ["bin", "config", "jars"];

/// One job of an application.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobInput {
    /// File name of its archive.
    pub file_name: String,
    /// Its built job.
    pub tree: Tree,
    /// The context to run with, if not that of the options.
    pub context: Option<String>,
    /// Name of its entry point, if not that of the job.
    pub entrypoint: Option<String>,
}

/// How jobs are merged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MergeSpec {
    /// Name of the application, and of its directory.
    pub name: String,
    /// Version of the application.
    pub version: Option<String>,
    /// Name of the entry point that an image starts; the only job's if none.
    pub default: Option<String>,
    /// What to do about one job in several versions.
    pub versions: Versions,
    /// How each job is converted.
    pub convert: ConvertOptions,
}

/// What to do about one job in several versions. Closed: they are refused or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// [`Error::SameJob`].
    #[default]
    Refuse,
    /// All but the first get a directory of their own, and an entry point with their version.
    Separate,
}

/// Several jobs as one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Application {
    /// Everything under the directory of the application's name.
    pub tree: Tree,
    /// What was done.
    pub plan: ApplicationPlan,
    parent: EntryPath,
    mtime: Mtime,
    /// Entry point to script.
    scripts: Vec<(String, String)>,
    /// Of libraries, by their paths in `tree`.
    digests: Digests,
}

/// What a merge does, as data: the dry run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ApplicationPlan {
    /// Name of the application.
    pub name: String,
    /// Names of files.
    pub layout: Layout,
    /// The jobs in the order of the manifest.
    pub jobs: Vec<PlacedJob>,
    /// Files that several jobs have, in the order in which they were found.
    pub collisions: Vec<Collision>,
    /// Config of the image.
    pub image: ImageConfig,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A job in an application.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PlacedJob {
    /// The job.
    pub job: Job,
    /// Directory of `lib` and the job, within the archive: `<app>`, or `<app>/jobs/<Job>`.
    pub root: EntryPath,
    /// Why it does not share the directory of the application.
    pub separate: Option<String>,
    /// Absolute path in the image of what starts it.
    pub entrypoint: String,
    /// What becomes of its launchers.
    pub report: Report,
    /// Files that get another name, within the job.
    pub moves: Vec<Move>,
    /// What only the build needed, as paths in the archive: images do not have it.
    pub residue: Vec<EntryPath>,
    /// The `java` command that the launcher comes down to, if it does.
    pub exec_form: Option<ExecForm>,
    /// Why it does not.
    pub needs_shell: Option<NeedsShell>,
}

/// A file that several jobs have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Collision {
    /// Path within the jobs.
    pub path: EntryPath,
    /// The job that had it first.
    pub first: String,
    /// The job that has it, too.
    pub second: String,
    /// What came of it.
    pub outcome: CollisionOutcome,
}

/// What comes of a file that several jobs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CollisionOutcome {
    /// The content is the same: they share it.
    Shared,
    /// The content is not the same: the second job gets a directory of its own.
    Separated,
}

impl JobInput {
    /// A job from an archive of that name.
    pub fn new(file_name: impl Into<String>, tree: Tree) -> Self {
        Self {
            file_name: file_name.into(),
            tree,
            context: None,
            entrypoint: None,
        }
    }

    /// With a context to run with.
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// With another name for its entry point.
    pub fn with_entrypoint(mut self, name: impl Into<String>) -> Self {
        self.entrypoint = Some(name.into());
        self
    }
}

impl MergeSpec {
    /// An application of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: None,
            default: None,
            versions: Versions::default(),
            convert: ConvertOptions::default(),
        }
    }

    /// With a version.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// With an entry point that an image starts.
    pub fn with_default(mut self, entrypoint: impl Into<String>) -> Self {
        self.default = Some(entrypoint.into());
        self
    }

    /// With another answer to one job in several versions.
    pub fn with_versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// With another way of converting each job.
    pub fn with_convert(mut self, convert: ConvertOptions) -> Self {
        self.convert = convert;
        self
    }
}

impl ApplicationPlan {
    /// The base image for the newest Studio of the jobs, see [`default_base`]: newer Java runs the
    /// classes of older jobs.
    ///
    /// # Errors
    /// As [`default_base`].
    pub fn default_base(&self) -> Result<Reference> {
        let studios = self.jobs.iter().map(|placed| placed.job.studio.as_ref());
        let known: Option<Vec<_>> = studios.collect();
        Ok(default_base(
            known.and_then(|known| known.into_iter().max()),
        )?)
    }
}

impl Application {
    /// Takes what only the build needed out of the archive, too; returns it as paths in the
    /// archive, where directories stand for all that was in them.
    pub fn drop_residue(&mut self) -> Vec<EntryPath> {
        let jobs = self.plan.jobs.iter_mut();
        let residue = jobs.flat_map(|placed| std::mem::take(&mut placed.residue));
        let residue: Vec<EntryPath> = residue.collect();
        for path in &residue {
            self.tree.remove(path);
        }
        residue
    }

    /// The tree as it is in an image: under `/talend`, with `/talend/bin/<entry point>` for each
    /// job and the empty directory `/talend/config`.
    ///
    /// # Errors
    /// [`Error::Tree`] if a path becomes too long.
    pub fn into_image_tree(self) -> Result<Tree> {
        image_tree(self.tree, &self.parent, self.scripts, self.mtime)
    }

    /// The layers of an image, see [`layers`].
    ///
    /// # Errors
    /// As [`Converted::into_layers`](crate::Converted::into_layers).
    pub fn into_layers(self, cx: &Cx, options: &LayerOptions) -> Result<Layers> {
        let mut placements = Vec::new();
        for job in &self.plan.jobs {
            let residue = job.residue.iter().map(|path| self.parent.join(path));
            placements.push(Placement {
                name: job.job.name.clone(),
                root: self.parent.join(&job.root)?,
                residue: residue.collect::<Result<_, _>>()?,
            });
        }
        let (parent, mtime) = (self.parent.clone(), self.mtime);
        let mut known = Digests::new();
        for (path, digest) in &self.digests {
            known.insert(parent.join(path)?, digest.clone());
        }
        let tree = self.into_image_tree()?;
        layers::split(cx, tree, &parent, &placements, &known, mtime, options)
    }
}

/// Converts several built jobs and merges them. Files of the same content are shared; a job with a
/// file that differs from another's of the same name gets `<app>/jobs/<Job>` for itself, so that
/// nothing has to be renamed, and paths that are compiled into it stay valid.
///
/// A single job has below `<app>` exactly what [`convert`](crate::convert) gives it below
/// `<Job>_<version>`.
///
/// # Errors
/// [`Error::Job`] for a job that [`convert`](crate::convert) refuses; [`Error::SameJob`], [`Error::SameEntrypoint`],
/// [`Error::NoEntrypoint`], [`Error::NoJob`] if there is none.
pub fn merge(cx: &Cx, inputs: Vec<JobInput>, spec: &MergeSpec) -> Result<Application> {
    job::check_name("application name", &spec.name)?;
    if RESERVED.contains(&spec.name.as_str()) {
        return Err(Error::Name {
            what: "application name",
            value: spec.name.clone(),
            expected: "images have `bin`, `config` and `jars` next to applications",
        });
    }
    let mut merging = Merging::prepare(cx, inputs, spec)?;
    merging.place(cx)?;
    merging.finish()
}

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

#[derive(Debug)]
struct Merging<'s> {
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
    fn prepare(cx: &Cx, inputs: Vec<JobInput>, spec: &'s MergeSpec) -> Result<Self> {
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
    fn place(&mut self, cx: &Cx) -> Result<()> {
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
            let Some(entry) = self.shared.get(path) else {
                continue;
            };
            let same = merged.digests.get(path).zip(self.digests.get(path));
            if same.is_some_and(|(ours, theirs)| ours == theirs) {
                self.collisions.push(Collision {
                    path: path.clone(),
                    first: self.owners.get(path).cloned().unwrap_or_default(),
                    second: name.clone(),
                    outcome: CollisionOutcome::Shared,
                });
            } else {
                overlap.insert(path.clone(), entry.clone())?;
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
                if self.shared.get(path).is_none() {
                    self.shared.insert(path.clone(), entry.clone())?;
                    self.owners.insert(path.clone(), name.clone());
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

    fn finish(self) -> Result<Application> {
        let application: EntryPath = self.spec.name.parse()?;
        let options = &self.spec.convert;
        let only = match self.jobs.as_slice() {
            [only] => Some(only.entrypoint.clone()),
            _ => None,
        };
        let default = self.spec.default.clone().or(only);
        let mut tree = self.shared;
        let mut placed_jobs = Vec::new();
        let mut scripts = Vec::new();
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
                for (path, entry) in own {
                    if !(entry.kind.is_dir() && tree.get(&path).is_some()) {
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
        let jobs: Vec<&Job> = placed_jobs.iter().map(|placed| &placed.job).collect();
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
            residue: layers::residue(&prepared.tree, &prepared.job)?,
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
        Ok(merged)
    }

    /// Moves what each job has at its root out of the way of the other jobs: jobInfo gets the
    /// job's name, residue of the build goes to `build/<Job>`.
    fn name_apart(&mut self) -> Result<()> {
        let job = &self.prepared.job;
        let mut moves = Vec::new();
        let info: EntryPath = JOB_INFO.parse()?;
        if self.prepared.tree.get(&info).is_some() {
            let to = format!("jobInfo_{}.properties", job.name).parse()?;
            moves.push(Move { from: info, to });
        }
        let build: EntryPath = format!("build/{}", job.name).parse()?;
        let caches: EntryPath = "crcMap".parse()?;
        let at_root = self.residue.iter().filter(|path| path.parent().is_none());
        let caches = self.prepared.tree.get(&caches).map(|_| caches);
        for from in at_root.chain(&caches) {
            moves.push(Move {
                from: from.clone(),
                to: build.join(from)?,
            });
        }
        for Move { from, to } in &moves {
            if let Some(parent) = to.parent()
                && self.prepared.tree.get(&parent).is_none()
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
