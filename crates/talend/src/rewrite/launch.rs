use super::{
    edit::Edits,
    java,
    start::{Start, start},
};
use crate::{
    launcher::{Command, Link, Nesting, Position, Quoting, Script, Word},
    report::{EditKind, Warning},
};

/// Where and how a script starts java.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Index into [`Script::commands`].
    pub(crate) command: usize,
    /// Index of the word that names java.
    pub(crate) java: usize,
    /// Whether `exec` stands before it.
    pub(crate) exec: bool,
}

/// Whether java can replace the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The script starts no java.
    None,
    /// It does, or will when `exec` is put before it.
    Safe(Launch),
    /// It cannot.
    Unsafe { offset: usize, reason: String },
}

/// Finds the last start of java, and decides whether it can replace the shell.
pub(crate) fn find_launch(text: &[u8], script: &Script) -> Verdict {
    let starts: Vec<Start> = (0..script.commands.len())
        .filter_map(|index| start(text, script, index))
        .collect();
    let launch = match starts.last() {
        None => return captured(text, script),
        Some(Start::Hidden { command, reason }) => {
            return Verdict::Unsafe {
                offset: script.commands[*command].span.start,
                reason: reason.clone(),
            };
        }
        Some(Start::Java(launch)) => *launch,
    };
    let command = &script.commands[launch.command];
    let refuse = |offset: usize, reason: String| Verdict::Unsafe { offset, reason };
    let here = command.words[launch.java].span.start;
    if let Some(reason) = shadowed(text, script, command, &launch) {
        return refuse(here, reason);
    }
    if command.after == Link::Background {
        return refuse(here, "java is started in the background by `&`".to_owned());
    }
    if command.before == Link::Pipe || command.after == Link::Pipe {
        return refuse(here, "java is part of a pipeline".to_owned());
    }
    if launch.exec {
        if command.nesting.contains(&Nesting::Subshell) {
            return refuse(here, "`exec` replaces only a subshell".to_owned());
        }
        // `if debug; then java A; else exec java B; fi` is right for B alone.
        if let (Some(_), Some(other)) = (command.nesting.last(), unreplaced(script, &starts)) {
            let offset = script.commands[other.command].words[other.java].span.start;
            return refuse(offset, follows_nesting(&script.commands[other.command]));
        }
        return Verdict::Safe(launch);
    }
    if !command.nesting.is_empty() {
        return refuse(here, follows_nesting(command));
    }
    if command.negated {
        return refuse(here, "`!` inverts the exit status of java".to_owned());
    }
    if let Some(next) = following(text, script, launch.command) {
        let line = Position::of(text, next.span.start).line;
        let first = text[next.span.clone()].split(|byte| *byte == b'\n').next();
        let first = String::from_utf8_lossy(first.unwrap_or_default());
        return refuse(
            here,
            format!("code follows the launch: `{first}` on line {line}"),
        );
    }
    if let Some(trap) = script.commands.iter().find(|command| is_trap(command)) {
        let line = Position::of(text, trap.span.start).line;
        return refuse(here, format!("`exec` would drop the trap of line {line}"));
    }
    Verdict::Safe(launch)
}

/// Makes `$*` and a bare `$@` of the launch `"$@"`, so that arguments with blanks stay whole.
pub(super) fn pass_arguments(
    text: &[u8],
    command: &Command,
    edits: &mut Edits<'_>,
    warnings: &mut Vec<Warning>,
) {
    let mut passed = false;
    for word in &command.words {
        match word.variable() {
            Some(("*" | "@", Quoting::None)) => {
                passed = true;
                edits.replace(EditKind::Arguments, word.span.clone(), "\"$@\"");
            }
            Some(("*", Quoting::Double)) => {
                passed = true;
                warnings.push(Warning {
                    position: Position::of(text, word.span.start),
                    message: "`\"$*\"` makes one argument of all".to_owned(),
                });
            }
            _ => {
                let raw = &text[word.span.clone()];
                passed |= [b"$@".as_slice(), b"${@", b"$*", b"${*"]
                    .iter()
                    .any(|all| raw.windows(all.len()).any(|part| part == *all));
            }
        }
    }
    if !passed {
        warnings.push(Warning {
            position: Position::of(text, command.span.start),
            message: "arguments of the container do not reach the job: no `\"$@\"`".to_owned(),
        });
    }
}

/// Warns of what is right but may surprise.
pub(super) fn warn(text: &[u8], script: &Script, launch: &Launch, warnings: &mut Vec<Warning>) {
    let mut warn = |offset, message: &str| {
        warnings.push(Warning {
            position: Position::of(text, offset),
            message: message.to_owned(),
        });
    };
    for index in 0..launch.command {
        if let Some(Start::Java(other)) = start(text, script, index)
            && script.commands[index].nesting.is_empty()
        {
            let offset = script.commands[index].words[other.java].span.start;
            warn(offset, "java is started here too, as a child of the shell");
        }
    }
    for command in &script.commands[..launch.command] {
        if let Some(b"." | b"source" | b"eval") = command.words.first().and_then(Word::bare) {
            warn(command.span.start, "what this does is not looked into");
        }
    }
    let contains = |word: &Word, what: &[u8]| {
        let raw = &text[word.span.clone()];
        raw.windows(what.len()).any(|part| part == what)
    };
    let words = script
        .commands
        .iter()
        .flat_map(|command| command.assignments.iter().chain(&command.words));
    if let Some(word) = words.into_iter().find(|word| contains(word, b"jdwp")) {
        let message = if contains(word, b"suspend=y") {
            "the launcher is for debugging: java waits for a debugger (`suspend=y`)"
        } else {
            "the launcher is for debugging: java opens a debugger port"
        };
        warn(word.span.start, message);
    }
}

/// Why the name of the launch is not what it seems.
fn shadowed(text: &[u8], script: &Script, command: &Command, launch: &Launch) -> Option<String> {
    let word = &command.words[launch.java];
    let name = String::from_utf8_lossy(word.bare()?);
    if script.functions.iter().any(|function| *function == name) {
        return Some(format!("`{name}` is a function of the script"));
    }
    let alias = format!("{name}=");
    let aliased = script.commands.iter().any(|command| {
        command.words.first().and_then(Word::bare) == Some(b"alias")
            && command.words[1..]
                .iter()
                .any(|word| text[word.span.clone()].starts_with(alias.as_bytes()))
    });
    aliased.then(|| format!("`{name}` is an alias of the script"))
}

/// A start of java within a compound command that does not replace the shell.
fn unreplaced(script: &Script, starts: &[Start]) -> Option<Launch> {
    starts.iter().find_map(|start| match start {
        Start::Java(launch) if !launch.exec => {
            let nested = !script.commands[launch.command].nesting.is_empty();
            nested.then_some(*launch)
        }
        _ => None,
    })
}

fn follows_nesting(command: &Command) -> String {
    let nesting = command
        .nesting
        .first()
        .map_or("the script", |nesting| nesting.what());
    format!("code follows the launch, which is inside {nesting}")
}

/// The first command that runs after the one at `index`. A function that is only defined there
/// does not run, and `exit $?` does what `exec` does.
fn following<'s>(text: &[u8], script: &'s Script, index: usize) -> Option<&'s Command> {
    let mut rest = script.commands[index + 1..]
        .iter()
        .filter(|command| !command.nesting.contains(&Nesting::Function));
    let next = rest.next()?;
    let exits = script.commands[index].after == Link::Sequence
        && next.nesting.is_empty()
        && next.before == Link::Sequence
        && next.after == Link::Sequence
        && matches!(
            text[next.span.clone()].trim_ascii(),
            b"exit" | b"exit $?" | b"exit \"$?\""
        );
    if exits { None } else { Some(next) }
}

/// A trap that would do something; `trap - TERM` and `trap '' TERM` do what they do with `exec`, too.
fn is_trap(command: &Command) -> bool {
    let mut words = command.words.iter();
    if words.next().and_then(Word::bare) != Some(b"trap") {
        return false;
    }
    let action = words.next().map(Word::literal);
    action.is_some_and(|action| {
        action.is_none_or(|action| !matches!(action.as_slice(), b"" | b"-" | b"-p" | b"-l"))
    })
}

/// No command starts java, but what a command prints may come from it.
fn captured(text: &[u8], script: &Script) -> Verdict {
    let words = script
        .commands
        .iter()
        .flat_map(|command| command.assignments.iter().chain(&command.words));
    match words
        .into_iter()
        .find(|word| java::captures_java(text, word))
    {
        None => Verdict::None,
        Some(word) => Verdict::Unsafe {
            offset: word.span.start,
            reason: "the script waits for the output of java".to_owned(),
        },
    }
}
