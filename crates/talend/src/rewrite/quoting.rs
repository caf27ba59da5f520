use super::edit::Edits;
use crate::{
    launcher::{Part, PartKind, Quoting, Script, Word},
    report::EditKind,
};

/// Puts quotes around the directory of the script and what is made of it, so that the launcher
/// works where the path has blanks.
pub(super) fn repair(text: &[u8], script: &Script, edits: &mut Edits<'_>) {
    let directories = directories(text, script);
    for command in &script.commands {
        for word in &command.assignments {
            // The value of an assignment is not split, but `$0` within the substitution is.
            for part in &word.parts {
                directory_of_script(text, part, Quoting::Double, edits);
            }
        }
        for word in &command.words {
            for part in &word.parts {
                directory_of_script(text, part, part.quoting, edits);
            }
            quote(word, &directories, edits);
        }
    }
}

/// Variables that hold the directory of the script.
fn directories(text: &[u8], script: &Script) -> Vec<String> {
    let mut names = Vec::new();
    for command in &script.commands {
        for word in &command.assignments {
            let from_directory = word.parts.iter().any(|part| {
                matches!(&part.kind, PartKind::Command(inner)
                    if matches!(text[inner.clone()].trim_ascii(), b"pwd" | b"dirname $0"))
            });
            if let (true, Some((name, _))) = (from_directory, word.assignment()) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// `` `dirname $0` `` becomes `"$(dirname "$0")"`; without outer quotes where `quoting` says that
/// there are some.
fn directory_of_script(text: &[u8], part: &Part, quoting: Quoting, edits: &mut Edits<'_>) {
    let PartKind::Command(inner) = &part.kind else {
        return;
    };
    if text[inner.clone()].trim_ascii() != b"dirname $0" {
        return;
    }
    let new = match quoting {
        Quoting::None => "\"$(dirname \"$0\")\"",
        _ => "$(dirname \"$0\")",
    };
    edits.replace(EditKind::Quoting, part.span.clone(), new);
}

/// Quotes around a word with such a variable; around the variable alone where the rest of the word
/// must stay unquoted.
fn quote(word: &Word, directories: &[String], edits: &mut Edits<'_>) {
    let needs = |part: &&Part| {
        part.quoting == Quoting::None
            && matches!(&part.kind, PartKind::Variable(name) if directories.contains(name))
    };
    if !word.parts.iter().any(|part| needs(&part)) {
        return;
    }
    // Quotes do not change text without patterns, backslashes (of which one at the very end of the
    // script escapes nothing yet) and the tilde; other variables may be meant to be split.
    let whole = word.parts.iter().all(|part| match &part.kind {
        PartKind::Literal(text) => {
            part.quoting == Quoting::None && !text.iter().any(|byte| b"*?[~\\".contains(byte))
        }
        _ => needs(&part),
    });
    if whole {
        let (start, end) = (word.span.start, word.span.end);
        let quotes = [(start, "\""), (end, "\"")];
        edits.insert(EditKind::Quoting, word.span.clone(), &quotes);
        return;
    }
    let quotes: Vec<(usize, &str)> = word
        .parts
        .iter()
        .filter(needs)
        .flat_map(|part| [(part.span.start, "\""), (part.span.end, "\"")])
        .collect();
    edits.insert(EditKind::Quoting, word.span.clone(), &quotes);
}
