use super::{
    Span,
    lexer::Lexer,
    position::SyntaxError,
    token::{Part, PartKind, Quoting, Word, is_name},
};

/// Reads one word: text, quotes and expansions up to a blank or an operator.
#[derive(Debug)]
pub(super) struct WordReader<'l, 'a> {
    lexer: &'l mut Lexer<'a>,
    parts: Vec<Part>,
}

impl<'l, 'a> WordReader<'l, 'a> {
    pub(super) fn new(lexer: &'l mut Lexer<'a>) -> Self {
        Self {
            lexer,
            parts: Vec::new(),
        }
    }

    pub(super) fn read(mut self) -> Result<Word, SyntaxError> {
        let start = self.lexer.at;
        while let Some(byte) = self.lexer.peek(0) {
            let from = self.lexer.at;
            match byte {
                b'<' | b'>' if from == start && self.lexer.peek(1) == Some(b'(') => {
                    self.lexer.bashism(from, "process substitution");
                    self.lexer.at += 2;
                    self.lexer.nested(from)?;
                    self.lexer.at += 1;
                    self.push(PartKind::Process, Quoting::None, from);
                }
                // bash: `name=(…)` is an array.
                b'(' if self.begins_array(start) => {
                    self.lexer.bashism(from, "an array");
                    self.lexer.at += 1;
                    self.lexer.nested(from)?;
                    self.lexer.at += 1;
                    self.push(PartKind::Parameter, Quoting::None, from);
                }
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => break,
                b'\'' => {
                    self.lexer.at += 1;
                    self.single_quoted(from, PartKind::Literal)?;
                }
                b'"' => self.double_quoted(from)?,
                b'\\' => self.escaped(Quoting::None),
                b'`' => self.backquoted(Quoting::None)?,
                b'$' => self.dollar(Quoting::None)?,
                _ => {
                    while self.lexer.peek(0).is_some_and(|byte| !is_special(byte)) {
                        self.lexer.at += 1;
                    }
                    let text = self.lexer.text[from..self.lexer.at].to_vec();
                    self.literal(text, Quoting::None, from);
                }
            }
        }
        Ok(Word {
            parts: self.parts,
            span: start..self.lexer.at,
        })
    }

    fn begins_array(&self, start: usize) -> bool {
        let text = &self.lexer.text[start..self.lexer.at];
        let Some(target) = text.strip_suffix(b"=") else {
            return false;
        };
        let target = target.strip_suffix(b"+").unwrap_or(target);
        std::str::from_utf8(target).is_ok_and(is_name)
    }

    /// After the opening quote; `kind` wraps the text.
    fn single_quoted(
        &mut self,
        from: usize,
        kind: fn(Vec<u8>) -> PartKind,
    ) -> Result<(), SyntaxError> {
        let rest = &self.lexer.text[self.lexer.at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\'') else {
            return Err(SyntaxError::new(from, "unterminated `'`"));
        };
        let text = rest[..length].to_vec();
        self.lexer.at += length + 1;
        self.push(kind(text), Quoting::Single, from);
        Ok(())
    }

    /// bash's `$'…'`: as single quotes, but a backslash keeps the next quote inside.
    fn ansi_quoted(&mut self, from: usize) -> Result<(), SyntaxError> {
        self.lexer.bashism(from, "`$'…'`");
        self.lexer.at += 2;
        loop {
            match self.lexer.peek(0) {
                None => return Err(SyntaxError::new(from, "unterminated `$'`")),
                Some(b'\'') => break,
                Some(b'\\') => self.lexer.at += 2,
                Some(_) => self.lexer.at += 1,
            }
            self.lexer.at = self.lexer.at.min(self.lexer.text.len());
        }
        self.lexer.at += 1;
        self.push(PartKind::Ansi, Quoting::Single, from);
        Ok(())
    }

    fn double_quoted(&mut self, from: usize) -> Result<(), SyntaxError> {
        self.lexer.at += 1;
        let parts = self.parts.len();
        loop {
            let at = self.lexer.at;
            match self.lexer.peek(0) {
                None => return Err(SyntaxError::new(from, "unterminated `\"`")),
                Some(b'"') => break,
                Some(b'`') => self.backquoted(Quoting::Double)?,
                Some(b'$') => self.dollar(Quoting::Double)?,
                Some(b'\\') => self.escaped(Quoting::Double),
                Some(_) => {
                    while self
                        .lexer
                        .peek(0)
                        .is_some_and(|byte| !b"\"`$\\".contains(&byte))
                    {
                        self.lexer.at += 1;
                    }
                    let text = self.lexer.text[at..self.lexer.at].to_vec();
                    self.literal(text, Quoting::Double, at);
                }
            }
        }
        self.lexer.at += 1;
        if self.parts.len() == parts {
            // `""` is an argument too.
            self.push(PartKind::Literal(Vec::new()), Quoting::Double, from);
        }
        Ok(())
    }

    /// At a backslash.
    fn escaped(&mut self, within: Quoting) {
        let from = self.lexer.at;
        let next = self.lexer.peek(1);
        self.lexer.at = (from + 2).min(self.lexer.text.len());
        match next {
            Some(b'\n') => {}
            // Within double quotes only these lose their backslash (POSIX XCU 2.2.3).
            Some(byte) if within == Quoting::Double && !b"$`\"\\".contains(&byte) => {
                self.literal(vec![b'\\', byte], within, from);
            }
            Some(byte) => self.literal(vec![byte], Quoting::Escaped, from),
            None => self.literal(vec![b'\\'], within, from),
        }
    }

    /// At a backquote.
    fn backquoted(&mut self, quoting: Quoting) -> Result<(), SyntaxError> {
        let from = self.lexer.at;
        self.lexer.at += 1;
        loop {
            match self.lexer.peek(0) {
                None => return Err(SyntaxError::new(from, "unterminated backquote")),
                Some(b'`') => break,
                Some(b'\\') => self.lexer.at = (self.lexer.at + 2).min(self.lexer.text.len()),
                Some(_) => self.lexer.at += 1,
            }
        }
        let inner = from + 1..self.lexer.at;
        self.lexer.at += 1;
        self.push(PartKind::Command(inner), quoting, from);
        Ok(())
    }

    /// At a dollar sign.
    fn dollar(&mut self, quoting: Quoting) -> Result<(), SyntaxError> {
        let from = self.lexer.at;
        match self.lexer.peek(1) {
            Some(b'(') => {
                if self.lexer.peek(2) == Some(b'(')
                    && let Some(end) = arithmetic_end(self.lexer.text, from + 3)
                {
                    self.lexer.at = end;
                    self.push(PartKind::Arithmetic, quoting, from);
                    return Ok(());
                }
                self.lexer.at += 2;
                self.lexer.nested(from)?;
                let inner = from + 2..self.lexer.at;
                self.lexer.at += 1;
                self.push(PartKind::Command(inner), quoting, from);
            }
            Some(b'{') => {
                let inner = self.braces(from)?;
                let text = String::from_utf8_lossy(&self.lexer.text[inner]);
                let kind = if is_parameter(&text) {
                    PartKind::Variable(text.into_owned())
                } else {
                    if is_bash_expansion(&text) {
                        self.lexer.bashism(from, "a bash parameter expansion");
                    }
                    PartKind::Parameter
                };
                self.push(kind, quoting, from);
            }
            Some(b'\'') if quoting == Quoting::None => self.ansi_quoted(from)?,
            Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
                self.lexer.at += 1;
                while self
                    .lexer
                    .peek(0)
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                {
                    self.lexer.at += 1;
                }
                self.variable(from, quoting);
            }
            Some(byte) if byte.is_ascii_digit() || b"@*#?-$!".contains(&byte) => {
                self.lexer.at += 2;
                self.variable(from, quoting);
            }
            _ => {
                self.lexer.at += 1;
                self.literal(b"$".to_vec(), quoting, from);
            }
        }
        Ok(())
    }

    fn variable(&mut self, from: usize, quoting: Quoting) {
        let name = String::from_utf8_lossy(&self.lexer.text[from + 1..self.lexer.at]).into_owned();
        self.push(PartKind::Variable(name), quoting, from);
    }

    /// At `${`; reads up to and with the `}` and returns what is inside.
    fn braces(&mut self, from: usize) -> Result<Span, SyntaxError> {
        let mut depth = 1_usize;
        self.lexer.at += 2;
        let inner = self.lexer.at;
        loop {
            let Some(byte) = self.lexer.peek(0) else {
                return Err(SyntaxError::new(from, "unterminated `${`"));
            };
            let at = self.lexer.at;
            match byte {
                b'}' => {
                    depth -= 1;
                    self.lexer.at += 1;
                    if depth == 0 {
                        return Ok(inner..at);
                    }
                }
                b'$' if self.lexer.peek(1) == Some(b'{') => {
                    depth += 1;
                    self.lexer.at += 2;
                }
                b'$' if self.lexer.peek(1) == Some(b'(') => {
                    self.lexer.at += 2;
                    self.lexer.nested(at)?;
                    self.lexer.at += 1;
                }
                b'`' | b'"' => self.skip_quoted(at, byte)?,
                b'\\' => self.lexer.at = (at + 2).min(self.lexer.text.len()),
                _ => self.lexer.at += 1,
            }
        }
    }

    fn skip_quoted(&mut self, from: usize, quote: u8) -> Result<(), SyntaxError> {
        self.lexer.at += 1;
        loop {
            match self.lexer.peek(0) {
                None => return Err(SyntaxError::new(from, "unterminated quote within `${…}`")),
                Some(b'\\') => self.lexer.at = (self.lexer.at + 2).min(self.lexer.text.len()),
                Some(byte) => {
                    self.lexer.at += 1;
                    if byte == quote {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn literal(&mut self, text: Vec<u8>, quoting: Quoting, from: usize) {
        self.push(PartKind::Literal(text), quoting, from);
    }

    fn push(&mut self, kind: PartKind, quoting: Quoting, from: usize) {
        self.parts.push(Part {
            kind,
            quoting,
            span: from..self.lexer.at,
        });
    }
}

/// The offset after `))`, if the text from `at` on is an arithmetic expression; otherwise it is a
/// subshell within a command substitution (POSIX XCU 2.6.3).
fn arithmetic_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *text.get(at)? {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b')' => return (text.get(at + 1) == Some(&b')')).then_some(at + 2),
            b'\n' | b';' | b'`' => return None,
            _ => {}
        }
        at += 1;
    }
}

fn is_parameter(text: &str) -> bool {
    is_name(text)
        || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        || ["@", "*", "#", "?", "-", "$", "!"].contains(&text)
}

/// `${a[1]}`, `${a/x/y}`, `${a:1:2}`, `${a^^}`, `${!a}`: not in POSIX XCU 2.6.2.
fn is_bash_expansion(text: &str) -> bool {
    let rest = text.strip_prefix('#').unwrap_or(text);
    let operator = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let mut operator = operator.bytes();
    match operator.next() {
        Some(b'[' | b'/' | b'^' | b',') => true,
        Some(b'!') => rest.len() > 1,
        Some(b':') => !operator
            .next()
            .is_some_and(|second| b"-=?+".contains(&second)),
        _ => false,
    }
}

fn is_special(byte: u8) -> bool {
    b" \t\n;&|<>()'\"\\`$".contains(&byte)
}
