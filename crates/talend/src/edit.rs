use std::io::Read;

use bytes::Bytes;
use ocicore::{Cx, SizeLimits};
use repack::{EntryPath, Kind, Tree, zip};

use crate::{
    Error, Result, classpath_jar,
    convert::Move,
    job::{JOB_INFO, Job, MAX_TEXT},
    options::{ConvertOptions, Layout},
    report::Report,
    rewrite::{self, Interpreter, Rename, RewriteOptions},
};

/// Largest jar of a job's own that is looked into: 64 MiB.
const MAX_JAR: u64 = 64 << 20;
const ROUTINES: &str = "routines.jar";

/// What was done to the tree of a job; paths are still those of the built job.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) report: Report,
    pub(crate) moves: Vec<Move>,
    pub(crate) interpreter: Interpreter,
    /// The Unix launcher as it is now.
    pub(crate) launcher: Bytes,
}

impl Edited {
    /// Renames as the layout says, and rewrites the launchers.
    pub(crate) fn edit(
        cx: &Cx,
        tree: &mut Tree,
        job: &Job,
        options: &ConvertOptions,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let moves = moves(tree, job, options.layout)?;
        let mut rewriting = RewriteOptions::default().with_paths(options.paths);
        for Move { from, to } in &moves {
            tree.rename(from, to)?;
            if from.file_name() == ROUTINES.as_bytes() {
                rewriting = rewriting.with_rename(Rename::new(ROUTINES, file_name(to)));
                warnings.extend(compiled_in(cx, tree, job)?);
            }
        }

        let text = tree.read(&job.launcher, MAX_TEXT)?;
        let unix = rewrite::shell(&job.launcher.to_string(), &text, &rewriting);
        let launcher = Bytes::from(unix.bytes);
        replace(tree, &job.launcher, &text, &launcher)?;
        let mut launchers = vec![unix.report];
        for path in &job.windows_launchers {
            let text = tree.read(path, MAX_TEXT)?;
            let windows = rewrite::windows(&path.to_string(), &text, &rewriting);
            replace(tree, path, &text, &windows.bytes.into())?;
            launchers.push(windows.report);
        }
        rename_in_classpath_jar(tree, job, &rewriting.renames)?;
        Ok(Self {
            report: Report {
                launchers,
                signed: None,
                warnings,
            },
            moves,
            interpreter: unix.interpreter.unwrap_or_else(Interpreter::sh),
            launcher,
        })
    }
}

/// The files that the layout calls otherwise, of those that are there.
fn moves(tree: &Tree, job: &Job, layout: Layout) -> Result<Vec<Move>> {
    let mut moves = Vec::new();
    if layout == Layout::Job2docker {
        for (from, to) in [
            (
                JOB_INFO.to_owned(),
                format!("jobInfo_{}.properties", job.name),
            ),
            (
                format!("lib/{ROUTINES}"),
                format!("lib/routines_{}.jar", job.name),
            ),
        ] {
            let from: EntryPath = from.parse()?;
            if tree.contains(&from) {
                moves.push(Move {
                    from,
                    to: to.parse()?,
                });
            }
        }
    }
    Ok(moves)
}

/// Entries that are not edited keep their handle, and are written as they were stored.
fn replace(tree: &mut Tree, path: &EntryPath, old: &[u8], new: &Bytes) -> Result<()> {
    if old != new {
        tree.replace(path, new.clone().into())?;
    }
    Ok(())
}

fn rename_in_classpath_jar(tree: &mut Tree, job: &Job, renames: &[Rename]) -> Result<()> {
    let path = job.directory.join(&"classpath.jar".parse()?)?;
    if renames.is_empty() || !tree.contains(&path) {
        return Ok(());
    }
    let jar = tree.read(&path, MAX_JAR)?;
    let edited = classpath_jar::rename(&jar, renames).map_err(|source| Error::Jar {
        action: "rename in the manifest of",
        path: path.to_string(),
        source,
    })?;
    if let Some(edited) = edited {
        tree.replace(&path, edited.into())?;
    }
    Ok(())
}

/// tRunJob with an independent process has the class path of the child compiled into a class of
/// the job, where no launcher's rename reaches it.
fn compiled_in(cx: &Cx, tree: &Tree, job: &Job) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (path, entry) in tree.under(&job.directory) {
        let is_jar = path.file_name().ends_with(b".jar");
        let Some(content) = entry
            .content()
            .filter(|content| is_jar && content.size() <= MAX_JAR)
        else {
            continue;
        };
        let jar = content.read(MAX_JAR)?;
        if names_routines(cx, jar)? {
            warnings.push(format!(
                "`{path}` starts a job with `lib/{ROUTINES}` on its class path, which has another \
                 name now"
            ));
        }
    }
    Ok(warnings)
}

fn names_routines(cx: &Cx, jar: Bytes) -> Result<bool> {
    let limits = SizeLimits::default().with_unpacked(4 * MAX_JAR);
    let source = std::sync::Arc::new(jar);
    // A jar that cannot be read cannot be run; that is not for us to say.
    let Ok(classes) = zip::index(cx, source, &limits) else {
        return Ok(false);
    };
    for (path, entry) in &classes {
        cx.check()?;
        if !path.file_name().ends_with(b".class") {
            continue;
        }
        if let Kind::File(content) = &entry.kind {
            let mut class = Vec::new();
            let read = content.open().take(MAX_JAR).read_to_end(&mut class);
            let needle = b"/lib/routines.jar";
            if read.is_ok() && class.windows(needle.len()).any(|part| part == needle) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn file_name(path: &EntryPath) -> String {
    String::from_utf8_lossy(path.file_name()).into_owned()
}
