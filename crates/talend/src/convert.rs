use ocicore::{Cx, Reference};
use repack::{Entry, EntryPath, Mtime, Tree};

use crate::{
    Result,
    context::{self, Context, contexts},
    edit::Edited,
    entrypoint::{ExecForm, NeedsShell},
    image::ImageConfig,
    job::{Job, default_base},
    layers::{self, LayerOptions, Layers, Placement},
    options::{ConvertOptions, Layout},
    prepared::Prepared,
    report::Report,
    signed::Original,
};

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
    /// The script `bin/<Job>`, if the entry point is one.
    script: Option<String>,
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
    /// What only the build needed, as paths within the job: archives keep it, images do not.
    pub residue: Vec<EntryPath>,
    /// Config of an image of this job alone.
    pub image: ImageConfig,
    /// The `java` command that the launcher comes down to, if it does.
    pub exec_form: Option<ExecForm>,
    /// Why it does not.
    pub needs_shell: Option<NeedsShell>,
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
    /// Contexts with their variables, which have the values that the options give them; secrets are
    /// not shown.
    pub contexts: Vec<Context>,
}

impl Plan {
    /// The base image for the job's Studio, see [`default_base`].
    ///
    /// # Errors
    /// As [`default_base`].
    pub fn default_base(&self) -> Result<Reference> {
        Ok(default_base(self.job.studio.as_ref())?)
    }
}

impl Converted {
    /// Takes what only the build needed out of the archive, too; returns it as paths within the
    /// job, where directories stand for all that was in them.
    ///
    /// # Errors
    /// [`Error::Tree`](crate::Error::Tree) if a path becomes too long.
    pub fn drop_residue(&mut self) -> Result<Vec<EntryPath>> {
        let root: EntryPath = self.plan.job.root().parse()?;
        let residue = std::mem::take(&mut self.plan.residue);
        for path in &residue {
            self.tree.remove(&root.join(path)?);
        }
        Ok(residue)
    }

    /// The tree as it is in an image: under `/talend`, with the empty directory `/talend/config`
    /// for a volume of context files.
    ///
    /// # Errors
    /// [`Error::Tree`](crate::Error::Tree) if a path becomes too long.
    pub fn into_image_tree(self) -> Result<Tree> {
        let scripts = self.script.map(|script| (self.plan.job.name, script));
        image_tree(self.tree, &self.parent, scripts, self.mtime)
    }

    /// The layers of an image: libraries apart from the job, without residue of the build. See
    /// [`layers`].
    ///
    /// # Errors
    /// [`Error::Tree`](crate::Error::Tree), and [`Error::Read`](crate::Error::Read) if an archive
    /// lies about a library.
    pub fn into_layers(self, cx: &Cx, options: &LayerOptions) -> Result<Layers> {
        let root = self.parent.join(&self.plan.job.root().parse()?)?;
        let residue = self.plan.residue.iter().map(|path| root.join(path));
        let placement = Placement {
            name: self.plan.job.name.clone(),
            residue: residue.collect::<Result<_, _>>()?,
            root,
        };
        let (parent, mtime) = (self.parent.clone(), self.mtime);
        let tree = self.into_image_tree()?;
        let known = layers::Digests::new();
        layers::split(cx, tree, &parent, &[placement], &known, mtime, options)
    }
}

/// Finds the job in a tree and tells what [`convert`] would do to its launchers, which may be
/// unsafe. `file_name` is that of the archive.
///
/// # Errors
/// As [`Job::discover`], [`Error::Text`](crate::Error::Text) if a context file cannot be parsed, and
/// [`Error::NoContext`](crate::Error::NoContext).
pub fn inspect(
    cx: &Cx,
    tree: &Tree,
    file_name: &str,
    options: &ConvertOptions,
) -> Result<Inspection> {
    let job = Job::discover(tree, file_name)?;
    let mut tree = tree.clone();
    let original = Original::take(&mut tree, options.signed_files)?;
    let mut edited = Edited::edit(cx, &mut tree, &job, options)?;
    let warnings = context::apply(&mut tree, &job, options)?;
    edited.report.warnings.extend(warnings);
    if let Some(original) = original {
        let (signed, warnings) = original.compare(&tree)?;
        edited.report.signed = Some(signed);
        edited.report.warnings.extend(warnings);
    }
    Ok(Inspection {
        contexts: contexts(&tree, &job)?,
        job,
        report: edited.report,
    })
}

/// Converts a built job: rewrites the launcher, makes it executable, and puts everything under
/// `<Job>_<version>/`. `file_name` is that of the archive. Content that is not edited is not read.
///
/// # Errors
/// As [`Job::discover`]; all of [`Error`](crate::Error) that the options ask for.
pub fn convert(
    cx: &Cx,
    tree: Tree,
    file_name: &str,
    options: &ConvertOptions,
) -> Result<Converted> {
    let mut prepared = Prepared::new(cx, tree, file_name, options)?;
    prepared.compare_signed()?;
    let root: EntryPath = prepared.job.root().parse()?;
    let residue = layers::residue(&prepared.tree, &prepared.job, options)?;
    let placed = prepared.place(&root, options)?;
    let mut tree = prepared.tree;
    tree.prefix(&root)?;
    set_owner(&mut tree, options.mtime);
    let (exec_form, needs_shell) = match placed.exec_form {
        Ok(form) => (Some(form), None),
        Err(needs) => (None, Some(needs)),
    };
    Ok(Converted {
        tree,
        plan: Plan {
            job: prepared.job,
            layout: options.layout,
            report: prepared.edited.report,
            moves: prepared.edited.moves,
            residue,
            image: placed.image,
            exec_form,
            needs_shell,
        },
        parent: options.parent.clone(),
        mtime: options.mtime,
        script: options.context_from_env.as_ref().map(|_| placed.script),
    })
}

/// Puts jobs under `parent`, with an empty directory for a volume of context files and with the
/// scripts that start them.
pub(crate) fn image_tree(
    mut tree: Tree,
    parent: &EntryPath,
    scripts: impl IntoIterator<Item = (String, String)>,
    mtime: Mtime,
) -> Result<Tree> {
    tree.prefix(parent)?;
    tree.insert(parent.join(&"config".parse()?)?, Entry::dir())?;
    for (name, script) in scripts {
        let path = parent.join(&format!("bin/{name}").parse()?)?;
        tree.insert(path, Entry::file(script).with_mode(0o755))?;
    }
    set_owner(&mut tree, mtime);
    Ok(tree)
}

/// Root owns everything, and nothing tells when it was made.
pub(crate) fn set_owner(tree: &mut Tree, mtime: Mtime) {
    tree.for_each_metadata(|_, _, metadata| {
        (metadata.uid, metadata.gid, metadata.mtime) = (0, 0, mtime);
    });
}
