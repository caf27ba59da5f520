use super::Span;

/// A token of the shell grammar (POSIX XCU 2.10.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Word(Word),
    /// `2` in `2>file`, or bash's `{fd}`.
    IoNumber,
    Operator(Operator),
    Newline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|` and bash's `|&`
    Pipe,
    /// `;`
    Semicolon,
    /// `;;` and bash's `;&`, `;;&`
    CaseEnd,
    /// `&`
    Background,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Any redirection but here-documents.
    Redirect,
    /// `<<` and `<<-`: the body was skipped.
    HereDocument,
}

/// A word before expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) parts: Vec<Part>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) quoting: Quoting,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quoting {
    None,
    Single,
    Double,
    /// One character after a backslash.
    Escaped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Text, with quotes and line continuations removed.
    Literal(Vec<u8>),
    /// `$name`, `${name}`, `$1`, `$@`, … without any operator.
    Variable(String),
    /// `${name:-word}` and the like.
    Parameter,
    /// `$(…)` or backquotes; the span of what is inside.
    Command(Span),
    /// `$((…))`
    Arithmetic,
    /// bash's `<(…)` and `>(…)`.
    Process,
    /// bash's `$'…'`, whose escapes are not decoded.
    Ansi,
}

impl Word {
    /// The value, if the word is made of text alone.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        for part in &self.parts {
            match &part.kind {
                PartKind::Literal(text) => value.extend_from_slice(text),
                _ => return None,
            }
        }
        Some(value)
    }

    /// The text, if the word is text without any quoting: only such words can be reserved.
    pub(crate) fn bare(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [
                Part {
                    kind: PartKind::Literal(text),
                    quoting: Quoting::None,
                    ..
                },
            ] => Some(text),
            _ => None,
        }
    }

    /// The variable, if the word is nothing but its expansion.
    pub(crate) fn variable(&self) -> Option<(&str, Quoting)> {
        match self.parts.as_slice() {
            [
                Part {
                    kind: PartKind::Variable(name),
                    quoting,
                    ..
                },
            ] => Some((name, *quoting)),
            _ => None,
        }
    }

    /// The name and the offset of the value, if the word is `name=value`, `name+=value` or
    /// bash's `name[…]=value`.
    pub(crate) fn assignment(&self) -> Option<(&str, usize)> {
        let Part {
            kind: PartKind::Literal(text),
            quoting: Quoting::None,
            span,
        } = self.parts.first()?
        else {
            return None;
        };
        let equals = text.iter().position(|byte| *byte == b'=')?;
        let target = &text[..equals];
        let target = target.strip_suffix(b"+").unwrap_or(target);
        let name = match target.iter().position(|byte| *byte == b'[') {
            Some(bracket) if target.ends_with(b"]") => &target[..bracket],
            Some(_) => return None,
            None => target,
        };
        let name = std::str::from_utf8(name).ok()?;
        is_name(name).then_some((name, span.start + equals + 1))
    }
}

/// A name of the shell grammar (POSIX XBD 3.231).
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
