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
//! assert!(orders.tree.contains(&"orders/export/export_run.sh".parse()?));
//! assert!(orders.tree.contains(&"orders/lib/a.jar".parse()?));
//! assert_eq!(orders.plan.image.entrypoint, ["/talend/bin/load"]);
//! # Ok::<(), talend::Error>(())
//! ```

mod merging;

use ocicore::{Cx, Reference};
use repack::{EntryPath, Mtime, Tree};

use crate::{
    Error, Result,
    convert::{Move, image_tree},
    entrypoint::{ExecForm, NeedsShell},
    image::ImageConfig,
    job::{self, Job, default_base},
    layers::{self, Digests, LayerOptions, Layers, Placement},
    options::{ConvertOptions, Layout},
    report::Report,
};
use merging::Merging;

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
