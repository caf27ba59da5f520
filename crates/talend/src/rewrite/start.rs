use super::{
    java::{is_java, mentions_java, program},
    launch::Launch,
};
use crate::launcher::{Script, Word};

/// Programs that turn into the program that they start, so that java gets their process.
const IN_PLACE: [&[u8]; 12] = [
    b"chpst", b"chrt", b"env", b"gosu", b"ionice", b"nice", b"nohup", b"numactl", b"setpriv",
    b"stdbuf", b"su-exec", b"taskset",
];
/// Commands whose arguments may say `java` without starting it.
const HARMLESS: [&[u8]; 17] = [
    b"[", b"alias", b"cat", b"cd", b"echo", b"export", b"grep", b"hash", b"kill", b"ls", b"pgrep",
    b"pkill", b"printf", b"ps", b"test", b"type", b"which",
];
/// Commands that run a text, in which java cannot be seen.
const INTERPRETERS: [&[u8]; 10] = [
    b".", b"ash", b"bash", b"dash", b"eval", b"ksh", b"sh", b"source", b"su", b"zsh",
];

/// How a command starts java.
#[derive(Debug)]
pub(super) enum Start {
    Java(Launch),
    /// In a way that we do not see through.
    Hidden {
        command: usize,
        reason: String,
    },
}

/// How a command starts java, if it does. Asking for java's version does not count.
pub(super) fn start(text: &[u8], script: &Script, index: usize) -> Option<Start> {
    let command = &script.commands[index];
    let words = &command.words;
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
    let reason = hidden(text, script, &name, &words[at..])?;
    Some(Start::Hidden {
        command: index,
        reason,
    })
}

/// How a command that is not java's may start java all the same; `words` begins with its name.
fn hidden(text: &[u8], script: &Script, name: &[u8], words: &[Word]) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let shown = String::from_utf8_lossy(&text[program.span.clone()]);
    if INTERPRETERS.contains(&name) {
        let mut arguments = arguments.iter();
        let mentions = arguments.any(|word| mentions_java(text, script, word));
        return mentions.then(|| format!("java is started through `{shown}`"));
    }
    // `command -v java` starts nothing, `command java` does.
    let first = arguments.first().map(|word| &text[word.span.clone()]);
    let asks = name == b"command" && first.is_some_and(|first| first.starts_with(b"-"));
    if asks || HARMLESS.contains(&name) {
        return None;
    }
    let starts = arguments.windows(2).any(|pair| {
        is_java(text, script, &pair[0]) && text[pair[1].span.clone()].starts_with(b"-")
    });
    if starts || (name == b"command" && arguments.iter().any(|word| is_java(text, script, word))) {
        return Some(format!("`{shown}` may stay the parent of java"));
    }
    let class_path: [&[u8]; 3] = [b"-cp", b"-classpath", b"-jar"];
    let like_java = arguments.iter().filter_map(Word::bare);
    let like_java = like_java.into_iter().any(|word| class_path.contains(&word));
    (like_java && program.variable().is_some())
        .then(|| format!("it is not known what `{shown}` runs"))
}
