//! Rewriting of launchers: a pure function from bytes to bytes and a [`LauncherReport`].
//!
//! ```
//! use talend::rewrite::{self, RewriteOptions};
//!
//! let launcher = b"#!/bin/sh\ncd `dirname $0`\njava -cp . demo.hello_0_1.hello $*\n";
//! let rewritten = rewrite::shell("hello/hello_run.sh", launcher, &RewriteOptions::default());
//! assert!(rewritten.bytes.ends_with(b"exec java -cp . demo.hello_0_1.hello \"$@\"\n"));
//! assert_eq!(rewritten.report.edits.len(), 2);
//! ```

mod edit;
mod java;
mod launch;
mod quoting;
mod rename;
mod shebang;
mod start;

use std::borrow::Cow;

pub use rename::Rename;
pub use shebang::Interpreter;

use crate::{
    launcher::{self, Position, Script},
    report::{EditKind, LauncherReport, Outcome, Warning},
};
use edit::Edits;
pub(crate) use launch::{Launch, Verdict, find_launch};

/// Larger files are no launchers: 256 KiB, several times the longest command line of Windows.
const MAX_LAUNCHER: usize = 256 << 10;

/// How launchers are rewritten.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RewriteOptions {
    /// Files that were renamed, and whose names are to be kept in step.
    pub renames: Vec<Rename>,
    /// What to do about paths with blanks.
    pub paths: PathQuoting,
}

impl RewriteOptions {
    /// Keeps the name of a renamed file in step.
    pub fn with_rename(mut self, rename: Rename) -> Self {
        self.renames.push(rename);
        self
    }

    /// Chooses what to do about paths with blanks.
    pub fn with_paths(mut self, paths: PathQuoting) -> Self {
        self.paths = paths;
        self
    }
}

/// What to do about a launcher that breaks in a directory whose path has blanks. Paths in our
/// images have none. Closed: quotes are there or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathQuoting {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Put quotes around `` `dirname $0` `` and `$ROOT_PATH`.
    Repair,
}

/// A launcher after rewriting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rewritten {
    /// The launcher's new content; the old one if nothing was to be done.
    pub bytes: Vec<u8>,
    /// What was done and what was not.
    pub report: LauncherReport,
    /// What has to run the script; none if the file is not a shell script.
    pub interpreter: Option<Interpreter>,
}

/// Rewrites a Unix launcher so that java replaces the shell, where that is safe, and repairs what
/// keeps it from running in a container. Rewriting twice is rewriting once.
///
/// In a file that is no launcher, only the names of renamed files change.
pub fn shell(path: &str, bytes: &[u8], options: &RewriteOptions) -> Rewritten {
    let not_a_launcher = |reason| names_only(path, bytes, options, reason);
    if bytes.len() > MAX_LAUNCHER {
        return not_a_launcher("it is larger than 256 KiB");
    }
    if bytes.contains(&0) {
        return not_a_launcher("it is not a text file");
    }
    let (text, repairs) = edit::normalize(bytes);
    let declared = shebang::declared(&text);
    if declared.as_ref().is_some_and(|found| !found.is_shell()) {
        return not_a_launcher("it is not a shell script");
    }

    let parsed = launcher::parse(&text);
    let mut edits = Edits::new(&text, repairs);
    let mut warnings = Vec::new();
    let bashism = parsed
        .as_ref()
        .ok()
        .and_then(|script| first_bashism(&text, script));
    let interpreter = shebang::settle(&text, declared, bashism, &mut edits, &mut warnings);
    let outcome = match (unresolved(&text), &parsed) {
        (Some((offset, placeholder)), _) => Outcome::Unresolved {
            position: Position::of(&text, offset),
            placeholder,
        },
        (None, Err(error)) => Outcome::Unsafe {
            position: Position::of(&text, error.offset),
            reason: format!("the script is not understood: {}", error.message),
        },
        (None, Ok(script)) => {
            let Some(outcome) = rewrite_launch(&text, script, &mut edits, &mut warnings) else {
                return not_a_launcher("it starts no java");
            };
            if options.paths == PathQuoting::Repair {
                quoting::repair(&text, script, &mut edits);
            }
            outcome
        }
    };
    for rename in &options.renames {
        rename.apply(&text, &mut edits);
    }
    warnings.sort_by_key(|warning| warning.position);
    finish(path, edits, outcome, warnings, Some(interpreter))
}

/// Keeps the names of renamed files in step in a `.bat` or `.ps1` launcher; all else, line ends
/// included, stays.
pub fn windows(path: &str, bytes: &[u8], options: &RewriteOptions) -> Rewritten {
    names_only(path, bytes, options, "it is for Windows")
}

fn names_only(path: &str, bytes: &[u8], options: &RewriteOptions, reason: &str) -> Rewritten {
    let mut edits = Edits::new(bytes, Vec::new());
    for rename in &options.renames {
        rename.apply(bytes, &mut edits);
    }
    let reason = reason.to_owned();
    finish(
        path,
        edits,
        Outcome::NotALauncher { reason },
        Vec::new(),
        None,
    )
}

fn finish(
    path: &str,
    mut edits: Edits<'_>,
    outcome: Outcome,
    warnings: Vec<Warning>,
    interpreter: Option<Interpreter>,
) -> Rewritten {
    let diff = edits.diff(path);
    let (bytes, edits) = edits.finish();
    Rewritten {
        bytes,
        report: LauncherReport {
            path: path.to_owned(),
            outcome,
            edits,
            warnings,
            diff,
        },
        interpreter,
    }
}

/// Whether the class path of a launcher has a wildcard, so that it sees all jars in a directory.
pub(crate) fn has_wildcard_class_path(text: &[u8]) -> bool {
    let Ok(script) = launcher::parse(text) else {
        // What is not understood may have anything.
        return true;
    };
    script.commands.iter().any(|command| {
        let mut words = command.assignments.iter().chain(&command.words);
        words.any(|word| text[word.span.clone()].windows(2).any(|two| two == b"/*"))
    })
}

/// None if the script starts no java.
fn rewrite_launch(
    text: &[u8],
    script: &Script,
    edits: &mut Edits<'_>,
    warnings: &mut Vec<Warning>,
) -> Option<Outcome> {
    let launch = match find_launch(text, script) {
        Verdict::None => return None,
        Verdict::Unsafe { offset, reason } => {
            return Some(Outcome::Unsafe {
                position: Position::of(text, offset),
                reason,
            });
        }
        Verdict::Safe(launch) => launch,
    };
    let command = &script.commands[launch.command];
    let position = Position::of(text, command.words[launch.java].span.start);
    let outcome = if launch.exec {
        Outcome::AlreadyExec { position }
    } else {
        let first = &command.words[0];
        edits.insert(
            EditKind::Exec,
            first.span.clone(),
            &[(first.span.start, "exec ")],
        );
        Outcome::Rewritten { position }
    };
    launch::pass_arguments(text, command, edits, warnings);
    launch::warn(text, script, &launch, warnings);
    Some(outcome)
}

/// The first thing that a plain `sh` does not understand.
fn first_bashism<'t>(text: &'t [u8], script: &Script) -> Option<(usize, Cow<'t, str>)> {
    const COMMANDS: [&[u8]; 9] = [
        b"declare",
        b"mapfile",
        b"popd",
        b"pushd",
        b"readarray",
        b"shopt",
        b"source",
        b"typeset",
        b"let",
    ];
    let syntax = script
        .bashisms
        .first()
        .map(|(offset, what)| (*offset, Cow::Borrowed(*what)));
    let command = script.commands.iter().find_map(|command| {
        let first = command.words.first()?;
        let name = first.bare()?;
        if COMMANDS.contains(&name) {
            let what = Cow::Owned(format!("`{}`", String::from_utf8_lossy(name)));
            return Some((first.span.start, what));
        }
        if name != b"[" && name != b"test" {
            return None;
        }
        let equals = command
            .words
            .iter()
            .find(|word| &text[word.span.clone()] == b"==")?;
        Some((equals.span.start, Cow::Borrowed("`==` in `[`")))
    });
    [syntax, command]
        .into_iter()
        .flatten()
        .min_by_key(|(offset, _)| *offset)
}

/// The first placeholder of the Studio's launcher template that is still there.
fn unresolved(text: &[u8]) -> Option<(usize, String)> {
    const OPEN: &[u8] = b"${talend.";
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !line.trim_ascii_start().starts_with(b"#")
            && let Some(at) = line.windows(OPEN.len()).position(|part| part == OPEN)
        {
            let end = line[at..]
                .iter()
                .position(|byte| *byte == b'}')
                .map_or(line.len(), |close| at + close + 1);
            let placeholder = String::from_utf8_lossy(&line[at..end])
                .trim_end()
                .to_owned();
            return Some((start + at, placeholder));
        }
        start += line.len();
    }
    None
}
