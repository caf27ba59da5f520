use crate::{
    launcher::{Position, Span},
    report::{Edit, EditKind},
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Edits of a text, collected before any is made.
#[derive(Debug)]
pub(super) struct Edits<'t> {
    text: &'t [u8],
    patches: Vec<Patch>,
    /// Of bytes that are not in the text any more, with their places.
    repairs: Vec<Edit>,
    /// With offsets; their places are found when all are known.
    edits: Vec<(usize, Edit)>,
}

#[derive(Debug)]
struct Patch {
    span: Span,
    text: String,
}

/// Removes a byte order mark and makes CRLF to LF, which keeps the line numbers.
pub(super) fn normalize(bytes: &[u8]) -> (Vec<u8>, Vec<Edit>) {
    let mut repairs = Vec::new();
    let body = match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => {
            repairs.push(Edit {
                kind: EditKind::ByteOrderMark,
                position: Position::of(bytes, 0),
                old: "U+FEFF".to_owned(),
                new: String::new(),
            });
            body
        }
        None => bytes,
    };
    let mut text = Vec::with_capacity(body.len());
    let mut first = None;
    let mut at = 0;
    while at < body.len() {
        let rest = &body[at..];
        let returns = rest.iter().position(|byte| *byte != b'\r');
        let returns = returns.unwrap_or(rest.len());
        // A CR at the very end is the rest of a last line without LF; some tools double it.
        if returns > 0 && matches!(rest.get(returns), Some(b'\n') | None) {
            first.get_or_insert(at);
        } else {
            text.extend_from_slice(&rest[..returns]);
        }
        text.extend(rest.get(returns));
        at += returns + 1;
    }
    if let Some(offset) = first {
        repairs.push(Edit {
            kind: EditKind::LineEndings,
            position: Position::of(body, offset),
            old: "CRLF".to_owned(),
            new: "LF".to_owned(),
        });
    }
    (text, repairs)
}

impl<'t> Edits<'t> {
    pub(super) fn new(text: &'t [u8], repairs: Vec<Edit>) -> Self {
        Self {
            text,
            patches: Vec::new(),
            repairs,
            edits: Vec::new(),
        }
    }

    /// Replaces `span`.
    pub(super) fn replace(&mut self, kind: EditKind, span: Span, new: &str) {
        self.record(kind, &span, new.to_owned());
        self.patches.push(Patch {
            span,
            text: new.to_owned(),
        });
    }

    /// Inserts texts within `shown` or at its ends, in ascending order of their offsets; reported
    /// as one edit of `shown`.
    pub(super) fn insert(&mut self, kind: EditKind, shown: Span, texts: &[(usize, &str)]) {
        let mut new = Vec::new();
        let mut at = shown.start;
        for (offset, text) in texts {
            new.extend_from_slice(&self.text[at..*offset]);
            new.extend_from_slice(text.as_bytes());
            at = *offset;
            self.patches.push(Patch {
                span: *offset..*offset,
                text: (*text).to_owned(),
            });
        }
        new.extend_from_slice(&self.text[at..shown.end]);
        self.record(kind, &shown, String::from_utf8_lossy(&new).into_owned());
    }

    /// The edited text, and the edits in the order of the text.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<Edit>) {
        self.sort();
        let mut out = Vec::with_capacity(self.text.len());
        let mut at = 0;
        for patch in &self.patches {
            out.extend_from_slice(&self.text[at..patch.span.start]);
            out.extend_from_slice(patch.text.as_bytes());
            at = patch.span.end;
        }
        out.extend_from_slice(&self.text[at..]);
        (out, self.located())
    }

    /// The edits as a unified diff without context.
    pub(super) fn diff(&mut self, path: &str) -> String {
        self.sort();
        let mut out = String::new();
        let mut patches = self.patches.iter().peekable();
        let (mut start, mut old_line, mut new_line) = (0, 1_usize, 1_usize);
        while start < self.text.len() {
            let mut end = line_end(self.text, start);
            let mut new = Vec::new();
            let mut added = "";
            let mut at = start;
            while let Some(patch) = patches.next_if(|patch| {
                patch.span.start < end || (patch.span.start == end && end == self.text.len())
            }) {
                if patch.span == (0..0) && patch.text.ends_with('\n') {
                    // A line of its own.
                    added = &patch.text;
                    continue;
                }
                new.extend_from_slice(&self.text[at..patch.span.start]);
                new.extend_from_slice(patch.text.as_bytes());
                at = patch.span.end;
                if at >= end && !patch.span.is_empty() {
                    // It takes a line end with it, so that the next line belongs to this one.
                    end = line_end(self.text, at);
                }
            }
            if !added.is_empty() {
                out.push_str(&format!("@@ -0,0 +{new_line} @@\n+{added}"));
                new_line += 1;
            }
            let old = &self.text[start..end];
            if at == start && new.is_empty() {
                new.extend_from_slice(old);
            } else {
                new.extend_from_slice(&self.text[at..end]);
                let (old_range, new_range) = (range(old_line, old), range(new_line, &new));
                out.push_str(&format!("@@ -{old_range} +{new_range} @@\n"));
                push_lines(&mut out, '-', old);
                push_lines(&mut out, '+', &new);
            }
            start = end;
            old_line += lines(old);
            new_line += lines(&new);
        }
        if out.is_empty() {
            out
        } else {
            format!("--- a/{path}\n+++ b/{path}\n{out}")
        }
    }

    /// By place; insertions at one place in the order in which they came.
    fn sort(&mut self) {
        self.patches.sort_by_key(|patch| patch.span.start);
    }

    fn record(&mut self, kind: EditKind, span: &Span, new: String) {
        let edit = Edit {
            kind,
            position: Position { line: 1, column: 1 },
            old: String::from_utf8_lossy(&self.text[span.clone()]).into_owned(),
            new,
        };
        self.edits.push((span.start, edit));
    }

    /// All edits in the order of the text. Places are counted from one to the next, for a hostile
    /// line can have thousands.
    fn located(mut self) -> Vec<Edit> {
        self.edits.sort_by_key(|(offset, _)| *offset);
        let mut position = Position { line: 1, column: 1 };
        let mut at = 0;
        let mut edits = self.repairs;
        for (offset, mut edit) in self.edits {
            let step = Position::of(&self.text[at..offset], offset - at);
            if step.line == 1 {
                position.column += step.column - 1;
            } else {
                position.line += step.line - 1;
                position.column = step.column;
            }
            at = offset;
            edit.position = position;
            edits.push(edit);
        }
        edits.sort_by_key(|edit| edit.position);
        edits
    }
}

/// The offset after the line that `from` is in.
fn line_end(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.map_or(text.len(), |end| from + end + 1)
}

fn lines(text: &[u8]) -> usize {
    text.split_inclusive(|byte| *byte == b'\n').count()
}

/// First line and, but for one, the number of lines, as in a unified diff.
fn range(first: usize, text: &[u8]) -> String {
    match lines(text) {
        1 => first.to_string(),
        count => format!("{first},{count}"),
    }
}

fn push_lines(out: &mut String, sign: char, text: &[u8]) {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.push(sign);
        out.push_str(&String::from_utf8_lossy(line));
        if !line.ends_with(b"\n") {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_returns_before_a_line_end_go() {
        for (text, expected) in [
            ("a\r\nb\r\r\nc\r\r", "a\nb\nc"),
            ("a\rb\r\rc\n", "a\rb\r\rc\n"),
            ("\r", ""),
            ("", ""),
        ] {
            let (normal, repairs) = normalize(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&normal), expected, "{text:?}");
            assert_eq!(repairs.is_empty(), normal == text.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_diff_has_edits_over_several_lines() {
        let text = b"cd `dirname $0\n`\nb\nc";
        let mut edits = Edits::new(text, Vec::new());
        edits.replace(EditKind::Quoting, 3..16, "x");
        edits.replace(EditKind::Rename, 19..20, "d");
        let expected = "--- a/f\n+++ b/f\n@@ -1,2 +1 @@\n-cd `dirname $0\n-`\n+cd x\n\
            @@ -4 +3 @@\n-c\n\\ No newline at end of file\n+d\n\\ No newline at end of file\n";
        assert_eq!(edits.diff("f"), expected);
        assert_eq!(edits.finish().0, b"cd x\nb\nd");
    }
}
