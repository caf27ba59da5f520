//! From lines to instructions: directives, comments, continuations, here-documents.

use super::Wrong;
use crate::place::number;

/// An instruction on one line, without its here-documents.
#[derive(Debug)]
pub(super) struct Logical {
    /// In capitals.
    pub(super) keyword: String,
    /// What is behind it.
    pub(super) rest: String,
    /// Where it begins, counted from 1.
    pub(super) line: u32,
    /// How many here-documents it has.
    pub(super) heredocs: usize,
}

/// The instructions of a Dockerfile and its escape character.
pub(super) fn split(text: &str) -> (Vec<Logical>, char, Vec<Wrong>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text);
    let mut lines = text.lines().enumerate();
    let mut instructions = Vec::new();
    let mut wrong = Vec::new();
    while let Some((index, first)) = lines.next() {
        let first = first.trim();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let line = number(index + 1);
        let mut joined = String::new();
        let mut piece = first;
        // Comments and empty lines within a continued instruction are skipped, as Docker does it.
        while let Some(open) = piece
            .strip_suffix(escape)
            .filter(|open| !open.ends_with(escape))
        {
            joined.push_str(open);
            let next = lines.by_ref().map(|(_, next)| next.trim_end());
            let mut next = next
                .skip_while(|next| next.trim().is_empty() || next.trim_start().starts_with('#'));
            piece = next.next().unwrap_or_default();
        }
        joined.push_str(piece);
        let (keyword, rest) = joined
            .split_once(char::is_whitespace)
            .unwrap_or((&joined, ""));
        let keyword = keyword.to_ascii_uppercase();
        let heredocs = heredocs(&keyword, rest);
        for end in &heredocs {
            let closed = lines.by_ref().any(|(_, next)| match end.tabs {
                true => next.trim_start_matches('\t') == end.word,
                false => next == end.word,
            });
            if !closed {
                let message = format!("here-document without its end `{}`", end.word);
                wrong.push(Wrong::at_line(line, message));
            }
        }
        instructions.push(Logical {
            keyword,
            rest: rest.trim().to_owned(),
            line,
            heredocs: heredocs.len(),
        });
    }
    (instructions, escape, wrong)
}

/// The directive `# escape=`; directives come before anything else.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
        else {
            break;
        };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("escape", "`") => return '`',
            ("escape", _) => return '\\',
            ("syntax" | "check", _) => {}
            _ => break,
        }
    }
    '\\'
}

/// What ends a here-document.
struct End {
    word: String,
    /// Whether tabs before it are no part of it (`<<-`).
    tabs: bool,
}

/// The here-documents that an instruction opens.
fn heredocs(keyword: &str, rest: &str) -> Vec<End> {
    // Only these can have some, and never in their JSON form.
    if !matches!(keyword, "RUN" | "COPY" | "ADD" | "ONBUILD") || rest.trim_start().starts_with('[')
    {
        return Vec::new();
    }
    let words = words(rest);
    let ends = words.iter().filter_map(|word| {
        let word = word
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix("<<")?;
        let (word, tabs) = match word.strip_prefix('-') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let word = unquoted(word);
        let good = !word.is_empty() && !word.contains(['<', '>', '(', ')']);
        good.then_some(End { word, tabs })
    });
    ends.collect()
}

/// Words between blanks; blanks within quotes separate nothing. Quotes stay.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if quote.is_none() && !escaped && c.is_whitespace() {
            words.extend(start.take().map(|start| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != Some('\'') {
            escaped = true;
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '\'' | '"') {
            quote = Some(c);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// A word without its quotes.
pub(super) fn unquoted(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '\'' | '"')).collect()
}
