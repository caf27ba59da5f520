use super::edit::Edits;
use crate::{
    launcher::{Command, Link, Nesting, Part, PartKind, Position, Quoting, Script, Word},
    report::{EditKind, Warning},
};

/// Programs that turn into the program that they start, so that java gets their process.
const IN_PLACE: [&[u8]; 12] = [
    b"chpst", b"chrt", b"env", b"gosu", b"ionice", b"nice", b"nohup", b"numactl", b"setpriv",
    b"stdbuf", b"su-exec", b"taskset",
];
/// Commands whose arguments may say `java` without starting it.
const HARMLESS: [&[u8]; 18] = [
    b"[", b"alias", b"cat", b"cd", b"command", b"echo", b"export", b"grep", b"hash", b"kill",
    b"ls", b"pgrep", b"pkill", b"printf", b"ps", b"test", b"type", b"which",
];
/// Commands that run a text, in which java cannot be seen.
const INTERPRETERS: [&[u8]; 10] = [
    b".", b"ash", b"bash", b"dash", b"eval", b"ksh", b"sh", b"source", b"su", b"zsh",
];

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

#[derive(Debug)]
enum Start {
    Java(Launch),
    /// Java is started in a way that we do not see through.
    Hidden {
        command: usize,
        reason: String,
    },
}

/// Finds the last start of java, and decides whether it can replace the shell.
pub(crate) fn find_launch(text: &[u8], script: &Script) -> Verdict {
    let starts: Vec<Start> = (0..script.commands.len())
        .filter_map(|index| start(text, script, index))
        .collect();
    let launch = match starts.last() {
        None => return Verdict::None,
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
    let contains = |word: &Word, what: &[u8]| {
        let raw = &text[word.span.clone()];
        raw.windows(what.len()).any(|part| part == what)
    };
    let words = script
        .commands
        .iter()
        .flat_map(|command| command.assignments.iter().chain(&command.words));
    for word in words {
        if contains(word, b"jdwp") {
            let message = if contains(word, b"suspend=y") {
                "the launcher is for debugging: java waits for a debugger (`suspend=y`)"
            } else {
                "the launcher is for debugging: java opens a debugger port"
            };
            warn(word.span.start, message);
        }
    }
}

/// How a command starts java, if it does. Asking for java's version does not count.
fn start(text: &[u8], script: &Script, index: usize) -> Option<Start> {
    let command = &script.commands[index];
    let words = &command.words;
    let hidden = |reason: String| {
        Some(Start::Hidden {
            command: index,
            reason,
        })
    };
    let mut at = 0;
    let mut exec = false;
    let mut name = program(text, words.first()?);
    if name == b"exec" {
        exec = true;
        at = 1;
        // Its options are bash's: `-a name`, `-c`, `-l`.
        while let Some(option) = words.get(at).and_then(Word::bare) {
            match option {
                b"-a" => at += 2,
                b"-c" | b"-l" | b"-cl" | b"--" => at += 1,
                _ => break,
            }
        }
        name = program(text, words.get(at)?);
    }
    if !is_java(text, script, &words[at]) && IN_PLACE.contains(&name.as_slice()) {
        at += 1 + words[at + 1..]
            .iter()
            .position(|word| is_java(text, script, word))?;
        name = Vec::new();
    }
    if is_java(text, script, &words[at]) {
        let asks = words[at + 1..].first().and_then(Word::literal);
        let version: [&[u8]; 4] = [b"-version", b"--version", b"-fullversion", b"-showversion"];
        if words.len() == at + 2 && asks.is_some_and(|asked| version.contains(&asked.as_slice())) {
            return None;
        }
        return Some(Start::Java(Launch {
            command: index,
            java: at,
            exec,
        }));
    }
    let shown = String::from_utf8_lossy(&text[words[at].span.clone()]);
    let arguments = &words[at + 1..];
    if INTERPRETERS.contains(&name.as_slice()) {
        let mentions = arguments
            .iter()
            .any(|word| mentions_java(text, script, word));
        return if mentions {
            hidden(format!("java is started through `{shown}`"))
        } else {
            None
        };
    }
    if HARMLESS.contains(&name.as_slice()) && name != b"command" {
        return None;
    }
    let starts = arguments.windows(2).any(|pair| {
        is_java(text, script, &pair[0]) && text[pair[1].span.clone()].starts_with(b"-")
    });
    if starts && !(name == b"command" && arguments[0].bare().is_some_and(|word| word[0] == b'-')) {
        return hidden(format!("`{shown}` may stay the parent of java"));
    }
    let class_path: [&[u8]; 3] = [b"-cp", b"-classpath", b"-jar"];
    let like_java = arguments.iter().any(|word| {
        word.bare()
            .is_some_and(|option| class_path.contains(&option))
    });
    if like_java && matches!(words[at].variable(), Some((_, _))) {
        return hidden(format!("it is not known what `{shown}` runs"));
    }
    None
}

/// Name of the program that a word names, without its directory; with NUL where it is not known.
fn program(text: &[u8], word: &Word) -> Vec<u8> {
    let mut shape = Vec::new();
    for part in &word.parts {
        match &part.kind {
            PartKind::Literal(text) => shape.extend_from_slice(text),
            // `${JAVA_HOME:+$JAVA_HOME/bin/}java`
            PartKind::Parameter if text[part.span.clone()].ends_with(b"/}") => shape.push(b'/'),
            _ => shape.push(0),
        }
    }
    match shape.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => shape[slash + 1..].to_vec(),
        None => shape,
    }
}

fn is_java(text: &[u8], script: &Script, word: &Word) -> bool {
    if is_java_name(&program(text, word)) {
        return true;
    }
    let [part] = word.parts.as_slice() else {
        return false;
    };
    match &part.kind {
        PartKind::Variable(name) => match assigned(text, script, name) {
            Some(is_java) => is_java,
            None => is_java_variable(name),
        },
        // `${JAVA:-java}`
        PartKind::Parameter => {
            let raw = &text[part.span.clone()];
            raw.strip_suffix(b"}")
                .is_some_and(|raw| is_java_name(last_component(raw)))
        }
        PartKind::Command(inner) => is_java_lookup(&text[inner.clone()]),
        _ => false,
    }
}

fn is_java_name(name: &[u8]) -> bool {
    name == b"java" || name == b"java.exe"
}

/// What the script assigns to a variable: java or not; none if nothing. Of several values, one is
/// enough: they are alternatives of an `if`.
fn assigned(text: &[u8], script: &Script, variable: &str) -> Option<bool> {
    let mut known = None;
    for word in assignments(script, variable) {
        let raw: Vec<u8> = text[word.span.clone()]
            .iter()
            .copied()
            .filter(|byte| !b"\"'".contains(byte))
            .collect();
        let value = raw.iter().position(|byte| *byte == b'=');
        let value = value.map_or(&[][..], |equals| &raw[equals + 1..]);
        // `JAVA="java -Xmx1g"` names java with its first word.
        let first = value.split(|byte| *byte == b' ').next().unwrap_or(value);
        let looked_up = word.parts.iter().any(|part| {
            matches!(&part.kind, PartKind::Command(inner) if is_java_lookup(&text[inner.clone()]))
        });
        let java = looked_up
            || first.ends_with(b"/}java")
            || is_java_name(last_component(first))
            || value
                .strip_suffix(b"}")
                .is_some_and(|raw| is_java_name(last_component(raw)));
        known = Some(known.unwrap_or(false) || java);
    }
    known
}

/// `java` of `/usr/bin/java`, `${JAVA:-java` and `${JAVA_HOME:-/usr}/bin/java`.
fn last_component(raw: &[u8]) -> &[u8] {
    let last = raw.rsplit(|byte| b"-=/".contains(byte)).next();
    last.unwrap_or(raw)
}

/// All words that give a variable a value.
fn assignments<'s>(script: &'s Script, variable: &str) -> impl Iterator<Item = &'s Word> {
    script
        .commands
        .iter()
        .flat_map(|command| {
            let declares = [b"export".as_slice(), b"local", b"readonly"];
            let declares = command
                .words
                .first()
                .and_then(Word::bare)
                .is_some_and(|name| declares.contains(&name));
            let words = if declares {
                command.words.as_slice()
            } else {
                &[]
            };
            command.assignments.iter().chain(words)
        })
        .filter(move |word| word.assignment().is_some_and(|(name, _)| name == variable))
}

/// `which java`, `command -v java`, `type -p java`
fn is_java_lookup(inner: &[u8]) -> bool {
    let inner = String::from_utf8_lossy(inner);
    let mut words = inner.split_ascii_whitespace();
    let lookup = words.next();
    matches!(lookup, Some("which" | "command" | "type"))
        && words.any(|word| word == "java" || word.ends_with("/java"))
}

/// A name by which programs call java when the script does not say.
fn is_java_variable(name: &str) -> bool {
    [
        "JAVA",
        "JAVACMD",
        "JAVA_CMD",
        "JAVA_BIN",
        "JAVA_EXE",
        "JAVA_EXEC",
        "_JAVACMD",
        "RUNJAVA",
        "_RUNJAVA",
    ]
    .contains(&name.to_ascii_uppercase().as_str())
}

/// Whether a word, or the value of a variable in it, says `java`.
fn mentions_java(text: &[u8], script: &Script, word: &Word) -> bool {
    let says_java = |word: &Word| {
        let raw = &text[word.span.clone()];
        raw.windows(4).enumerate().any(|(at, part)| {
            let after = raw.get(at + 4);
            part.eq_ignore_ascii_case(b"java")
                && after.is_none_or(|byte| !byte.is_ascii_alphanumeric())
        })
    };
    says_java(word)
        || word.parts.iter().any(|part| match &part.kind {
            PartKind::Variable(name) => assignments(script, name).any(says_java),
            _ => false,
        })
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

/// A trap that would do something; `trap - TERM` and `trap '' TERM` outlive `exec` or do nothing.
fn is_trap(command: &Command) -> bool {
    if command.words.first().and_then(Word::bare) != Some(b"trap") {
        return false;
    }
    match command
        .words
        .get(1)
        .map(|action| (action.literal(), action))
    {
        None => false,
        Some((Some(action), _)) => !action.is_empty() && action != b"-" && action != b"-p",
        Some((None, Word { parts, .. })) => parts.iter().any(|part: &Part| part.span.end > 0),
    }
}
