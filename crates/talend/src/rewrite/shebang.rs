use std::borrow::Cow;

use super::edit::Edits;
use crate::{
    launcher::Position,
    report::{EditKind, Warning},
};

const SH: &str = "/bin/sh";
const BASH: &str = "/bin/bash";

/// What runs a script: the words of its `#!` line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Interpreter {
    argv: Vec<String>,
}

impl Interpreter {
    /// `/bin/sh`.
    pub fn sh() -> Self {
        Self {
            argv: vec![SH.to_owned()],
        }
    }

    /// This plain shell by the path that every base image has; its options stay.
    fn at_bin_sh(mut self) -> Self {
        match self.argv.as_mut_slice() {
            [program, argument] if program.ends_with("/env") => {
                if !argument.contains([' ', '\t']) {
                    return Self::sh();
                }
            }
            [program, ..] => SH.clone_into(program),
            [] => {}
        }
        self
    }

    fn bash() -> Self {
        Self {
            argv: vec![BASH.to_owned()],
        }
    }

    /// Program and at most one argument, as the kernel takes them from the `#!` line. A shell that
    /// is one of the plain `sh` family is always `/bin/sh`.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Whether any POSIX shell will do, so that a base image with `/bin/sh` is enough.
    pub fn is_plain(&self) -> bool {
        ["sh", "ash", "dash"].contains(&self.name())
    }

    /// Name of the shell, with `env` looked through.
    pub fn name(&self) -> &str {
        let base = |path: &'_ str| path.rfind('/').map_or(0, |slash| slash + 1);
        let program = self.argv.first().map_or("", String::as_str);
        let program = &program[base(program)..];
        if program != "env" {
            return program;
        }
        let argument = self.argv.get(1).map_or("", String::as_str);
        let words = argument.split_ascii_whitespace();
        let shell = words.into_iter().find(|word| !word.starts_with('-'));
        let shell = shell.unwrap_or("");
        &shell[base(shell)..]
    }

    pub(super) fn is_shell(&self) -> bool {
        self.is_plain() || ["bash", "ksh", "ksh93", "mksh", "zsh", "busybox"].contains(&self.name())
    }
}

/// The `#!` line, read as Linux does: program, and the rest of the line as one argument.
pub(super) fn declared(text: &[u8]) -> Option<Interpreter> {
    let line = text.strip_prefix(b"#!")?;
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]);
    let line = line.trim_matches([' ', '\t']);
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if program.is_empty() {
        return None;
    }
    let mut argv = vec![program.to_owned()];
    let argument = argument.trim_start_matches([' ', '\t']);
    if !argument.is_empty() {
        argv.push(argument.to_owned());
    }
    Some(Interpreter { argv })
}

/// Decides what runs the script, and makes the `#!` line say so.
pub(super) fn settle(
    text: &[u8],
    declared: Option<Interpreter>,
    bashism: Option<(usize, Cow<'_, str>)>,
    edits: &mut Edits<'_>,
    warnings: &mut Vec<Warning>,
) -> Interpreter {
    let mut warn = |offset, message| {
        warnings.push(Warning {
            position: Position::of(text, offset),
            message,
        });
    };
    match (declared, bashism) {
        (Some(declared), _) if !declared.is_plain() => {
            let message = format!("the script needs {} in the base image", declared.name());
            warn(0, message);
            declared
        }
        (declared, Some((offset, what))) => {
            if declared.is_none() {
                edits.replace(EditKind::Shebang, 0..0, "#!/bin/bash\n");
            } else {
                let end = text.iter().position(|byte| *byte == b'\n');
                let line = 0..end.unwrap_or(text.len());
                edits.replace(EditKind::Interpreter, line, "#!/bin/bash");
            }
            warn(offset, format!("{what} needs bash in the base image"));
            Interpreter::bash()
        }
        (None, None) => {
            edits.replace(EditKind::Shebang, 0..0, "#!/bin/sh\n");
            Interpreter::sh()
        }
        (Some(declared), None) => declared.at_bin_sh(),
    }
}
