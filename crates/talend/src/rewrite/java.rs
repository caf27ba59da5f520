//! How scripts call java.

use crate::launcher::{PartKind, Script, Word};

/// Name of the program that a word names, without its directory; with NUL where it is not known.
pub(super) fn program(text: &[u8], word: &Word) -> Vec<u8> {
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

/// Whether a word names java: by name, by path, by a variable, or by looking for it.
pub(super) fn is_java(text: &[u8], script: &Script, word: &Word) -> bool {
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
pub(super) fn mentions_java(text: &[u8], script: &Script, word: &Word) -> bool {
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

/// Whether a word has the output of java in it, for more than asking where and of which version
/// it is.
pub(super) fn captures_java(text: &[u8], word: &Word) -> bool {
    word.parts.iter().any(|part| {
        let PartKind::Command(inner) = &part.kind else {
            return false;
        };
        let inner = String::from_utf8_lossy(&text[inner.clone()]);
        let mut words = inner.split_ascii_whitespace().skip_while(|word| {
            let name = word.trim_matches(['"', '\'']);
            name != "java" && !name.ends_with("/java")
        });
        words.next().is_some() && words.any(|word| matches!(word, "-cp" | "-classpath" | "-jar"))
    })
}
