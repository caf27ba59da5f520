use ocicore::Cx;
use repack::{Entry, EntryPath, Mtime, Tree};

use crate::{
    Error, Result, UnsafeLauncher,
    edit::Edited,
    image::{self, ImageConfig, Place},
    job::{self, Job},
    report::{Outcome, Report},
    rewrite::PathQuoting,
};

/// How a built job is converted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// Names of files.
    pub layout: Layout,
    /// What to do when java cannot replace the shell.
    pub unsafe_launchers: UnsafeLaunchers,
    /// What to do about paths with blanks.
    pub paths: PathQuoting,
    /// Directory of all jobs in an image; `talend`.
    pub parent: EntryPath,
    /// User and group of an image; `65532:65532`, which is not root.
    pub user: String,
    /// Time of modification of all entries; 1 s after the epoch.
    pub mtime: Mtime,
}

/// Names of files in the converted job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Layout {
    /// As in the built job.
    #[default]
    Plain,
    /// `jobInfo.properties` and `lib/routines.jar` get the job's name, as the original does to
    /// merge jobs into one directory; launchers and `classpath.jar` are kept in step.
    Job2docker,
}

/// What to do when java cannot replace the shell. Closed: the launcher stays as it is or is an
/// error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsafeLaunchers {
    /// [`Error::UnsafeLaunchers`].
    #[default]
    Refuse,
    /// The launcher stays as it is; the report says why.
    Allow,
}

/// A converted job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Converted {
    /// Everything under `<Job>_<version>/`, as the original's archives have it.
    pub tree: Tree,
    /// What was done.
    pub plan: Plan,
    parent: EntryPath,
    mtime: Mtime,
}

/// What a conversion does, as data: the dry run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// Names of files.
    pub layout: Layout,
    /// What becomes of the launchers.
    pub report: Report,
    /// Files that get another name, within the job.
    pub moves: Vec<Move>,
    /// Config of an image of this job alone.
    pub image: ImageConfig,
}

/// A file that gets another name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Move {
    /// Its path in the built job.
    pub from: EntryPath,
    /// Its path in the converted job.
    pub to: EntryPath,
}

/// What [`inspect`] finds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The job.
    pub job: Job,
    /// What [`convert`] would do to its launchers.
    pub report: Report,
}

impl ConvertOptions {
    /// With other names of files.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// With another answer to launchers in which java cannot replace the shell.
    pub fn with_unsafe_launchers(mut self, answer: UnsafeLaunchers) -> Self {
        self.unsafe_launchers = answer;
        self
    }

    /// With another answer to paths with blanks.
    pub fn with_paths(mut self, paths: PathQuoting) -> Self {
        self.paths = paths;
        self
    }

    /// With another directory of all jobs.
    pub fn with_parent(mut self, parent: EntryPath) -> Self {
        self.parent = parent;
        self
    }

    /// With another user, for example `0:0`.
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// With another time of modification, for example `SOURCE_DATE_EPOCH`.
    pub fn with_mtime(mut self, mtime: Mtime) -> Self {
        self.mtime = mtime;
        self
    }
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            unsafe_launchers: UnsafeLaunchers::default(),
            paths: PathQuoting::default(),
            parent: "talend".parse().expect("the literal is one component"),
            user: "65532:65532".to_owned(),
            mtime: Mtime {
                seconds: 1,
                nanoseconds: 0,
            },
        }
    }
}

impl Converted {
    /// The tree as it is in an image: under `/talend`, with the empty directory `/talend/config`
    /// for a volume of context files.
    ///
    /// # Errors
    /// [`Error::Tree`] if a path becomes too long.
    pub fn into_image_tree(self) -> Result<Tree> {
        let mut tree = self.tree;
        tree.prefix(&self.parent)?;
        let config = self.parent.join(&"config".parse()?)?;
        tree.insert(config, Entry::dir())?;
        for (_, _, metadata) in tree.iter_metadata_mut() {
            metadata.mtime = self.mtime;
        }
        Ok(tree)
    }
}

/// Finds the job in a tree and tells what [`convert`] would do to its launchers, which may be
/// unsafe. `file_name` is that of the archive.
///
/// # Errors
/// As [`Job::discover`].
pub fn inspect(
    cx: &Cx,
    tree: &Tree,
    file_name: &str,
    options: &ConvertOptions,
) -> Result<Inspection> {
    let job = Job::discover(tree, file_name)?;
    let mut tree = tree.clone();
    let edited = Edited::edit(cx, &mut tree, &job, options)?;
    Ok(Inspection {
        job,
        report: edited.report,
    })
}

/// Converts a built job: rewrites the launcher, makes it executable, and puts everything under
/// `<Job>_<version>/`. `file_name` is that of the archive. Content that is not edited is not read.
///
/// # Errors
/// As [`Job::discover`]; [`Error::UnsafeLaunchers`], [`Error::Unresolved`], [`Error::Jar`];
/// [`Error::Tree`] if a new name is taken.
pub fn convert(
    cx: &Cx,
    mut tree: Tree,
    file_name: &str,
    options: &ConvertOptions,
) -> Result<Converted> {
    for component in options.parent.components() {
        job::check_name("parent directory", &String::from_utf8_lossy(component))?;
    }
    let job = Job::discover(&tree, file_name)?;
    let edited = Edited::edit(cx, &mut tree, &job, options)?;
    refuse(&edited.report, options.unsafe_launchers)?;

    let root: EntryPath = job.root().parse()?;
    tree.prefix(&root)?;
    let place = Place {
        parent: &options.parent,
        root: &root,
    };
    for (_, _, metadata) in tree.iter_metadata_mut() {
        (metadata.uid, metadata.gid, metadata.mtime) = (0, 0, options.mtime);
    }
    let launcher = &job.launcher;
    if let Some(metadata) = tree.metadata_mut(&root.join(launcher)?) {
        metadata.mode = 0o755;
    }
    let image = ImageConfig {
        entrypoint: image::script_entrypoint(&edited.interpreter, &place.absolute(launcher)),
        env: image::env(&job, &options.parent),
        labels: image::labels(&job),
        working_dir: place.absolute(&job.directory),
        user: options.user.clone(),
    };
    Ok(Converted {
        tree,
        plan: Plan {
            job,
            layout: options.layout,
            report: edited.report,
            moves: edited.moves,
            image,
        },
        parent: options.parent.clone(),
        mtime: options.mtime,
    })
}

/// Turns what stops a conversion into an error.
fn refuse(report: &Report, answer: UnsafeLaunchers) -> Result<()> {
    let mut launchers = Vec::new();
    for launcher in &report.launchers {
        match &launcher.outcome {
            Outcome::Unresolved {
                position,
                placeholder,
            } => {
                return Err(Error::Unresolved {
                    path: launcher.path.clone(),
                    position: *position,
                    placeholder: placeholder.clone(),
                });
            }
            Outcome::Unsafe { position, reason } => launchers.push(UnsafeLauncher {
                path: launcher.path.clone(),
                position: *position,
                reason: reason.clone(),
            }),
            _ => {}
        }
    }
    if launchers.is_empty() || answer == UnsafeLaunchers::Allow {
        Ok(())
    } else {
        Err(Error::UnsafeLaunchers { launchers })
    }
}
