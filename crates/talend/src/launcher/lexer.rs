use std::mem;

use super::{
    position::SyntaxError,
    token::{Operator, Token, TokenKind},
    word::WordReader,
};

/// Nested substitutions deeper than this are refused: no real launcher comes near.
const MAX_DEPTH: usize = 32;

/// Result of [`lex`].
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    /// Syntax that a plain `sh` does not have: offset and what it is.
    pub(crate) bashisms: Vec<(usize, &'static str)>,
}

/// Splits a script with `\n` line ends into tokens; comments, line continuations and bodies of
/// here-documents are skipped.
pub(crate) fn lex(text: &[u8]) -> Result<Lexed, SyntaxError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        depth: 0,
        out: Lexed::default(),
        here_documents: Vec::new(),
    };
    lexer.tokens(None)?;
    Ok(lexer.out)
}

/// Reads a text once, from start to end. Substitutions are lexed by the same reader, one level
/// deeper, because only so can their end be found.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    out: Lexed,
    /// Delimiters whose bodies begin after the next line end.
    here_documents: Vec<HereDocument>,
}

#[derive(Debug)]
struct HereDocument {
    offset: usize,
    delimiter: Vec<u8>,
    strip_tabs: bool,
}

impl Lexer<'_> {
    /// Lexes up to and without the `)` that closes a substitution opened at `open`, or to the end.
    fn tokens(&mut self, open: Option<usize>) -> Result<(), SyntaxError> {
        let mut parentheses = 0_usize;
        loop {
            self.skip_blanks();
            let start = self.at;
            let Some(byte) = self.peek(0) else {
                if let Some(pending) = self.here_documents.first() {
                    return Err(unterminated_here_document(pending));
                }
                return match open {
                    Some(open) => Err(SyntaxError::new(open, "unterminated `$(`")),
                    None => Ok(()),
                };
            };
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.push(start, TokenKind::Newline);
                    self.skip_here_documents()?;
                }
                b'#' => self.skip_line(),
                b'<' | b'>' if self.peek(1) == Some(b'(') => self.word()?,
                b'(' | b')' | b';' | b'&' | b'|' | b'<' | b'>' => {
                    if byte == b')' && parentheses == 0 && open.is_some() {
                        return Ok(());
                    }
                    let operator = self.operator(byte);
                    match operator {
                        Operator::Open => parentheses += 1,
                        Operator::Close => parentheses = parentheses.saturating_sub(1),
                        _ => {}
                    }
                    self.push(start, TokenKind::Operator(operator));
                    if operator == Operator::HereDocument {
                        self.here_document(start)?;
                    }
                }
                _ => {
                    self.word()?;
                    if open.is_some() && &self.text[start..self.at] == b"case" {
                        // Its patterns end in `)`, which a lexer cannot tell from the end of `$(`.
                        return Err(SyntaxError::new(start, "`case` within `$(…)`"));
                    }
                }
            }
        }
    }

    /// Skips over a substitution whose `(` was just read, up to and without its `)`.
    pub(super) fn nested(&mut self, open: usize) -> Result<(), SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(SyntaxError::new(open, "substitutions are nested too deep"));
        }
        self.depth += 1;
        let outer_tokens = mem::take(&mut self.out.tokens);
        let outer_documents = mem::take(&mut self.here_documents);
        let result = self.tokens(Some(open));
        self.out.tokens = outer_tokens;
        self.here_documents = outer_documents;
        self.depth -= 1;
        result
    }

    pub(super) fn bashism(&mut self, offset: usize, what: &'static str) {
        self.out.bashisms.push((offset, what));
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether the bytes at the reading position are `expected`.
    pub(super) fn looking_at(&self, expected: &[u8]) -> bool {
        self.text[self.at..].starts_with(expected)
    }

    fn word(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        let word = WordReader::new(self).read()?;
        let followed_by_redirection = matches!(self.peek(0), Some(b'<' | b'>'));
        let is_number = self.text[start..self.at].iter().all(u8::is_ascii_digit);
        let kind = if followed_by_redirection && is_number {
            TokenKind::IoNumber
        } else {
            TokenKind::Word(word)
        };
        self.push(start, kind);
        Ok(())
    }

    fn operator(&mut self, first: u8) -> Operator {
        let start = self.at;
        let (length, operator, bashism) = match first {
            b'(' => (1, Operator::Open, None),
            b')' => (1, Operator::Close, None),
            b';' if self.looking_at(b";;&") => (3, Operator::CaseEnd, Some("`;;&`")),
            b';' if self.looking_at(b";;") => (2, Operator::CaseEnd, None),
            b';' if self.looking_at(b";&") => (2, Operator::CaseEnd, Some("`;&`")),
            b';' => (1, Operator::Semicolon, None),
            b'&' if self.looking_at(b"&&") => (2, Operator::And, None),
            b'&' if self.looking_at(b"&>>") => (3, Operator::Redirect, Some("`&>>`")),
            b'&' if self.looking_at(b"&>") => (2, Operator::Redirect, Some("`&>`")),
            b'&' => (1, Operator::Background, None),
            b'|' if self.looking_at(b"||") => (2, Operator::Or, None),
            b'|' if self.looking_at(b"|&") => (2, Operator::Pipe, Some("`|&`")),
            b'|' => (1, Operator::Pipe, None),
            _ if self.looking_at(b"<<<") => (3, Operator::Redirect, Some("`<<<`")),
            _ if self.looking_at(b"<<-") => (3, Operator::HereDocument, None),
            _ if self.looking_at(b"<<") => (2, Operator::HereDocument, None),
            _ if [b">>", b">&", b"<&", b">|", b"<>"]
                .iter()
                .any(|two| self.looking_at(*two)) =>
            {
                (2, Operator::Redirect, None)
            }
            _ => (1, Operator::Redirect, None),
        };
        if let Some(what) = bashism {
            self.bashism(start, what);
        }
        self.at += length;
        operator
    }

    fn here_document(&mut self, start: usize) -> Result<(), SyntaxError> {
        let strip_tabs = self.text[start..self.at].ends_with(b"-");
        self.skip_blanks();
        let offset = self.at;
        let at_word = self
            .peek(0)
            .is_some_and(|byte| !b"\n;&|<>()#".contains(&byte));
        if !at_word {
            return Err(SyntaxError::new(start, "`<<` without a delimiter"));
        }
        self.word()?;
        let delimiter = match self.out.tokens.last() {
            Some(Token {
                kind: TokenKind::Word(word),
                ..
            }) => word.literal(),
            _ => None,
        };
        let Some(delimiter) = delimiter else {
            return Err(SyntaxError::new(
                offset,
                "delimiter of `<<` is not plain text",
            ));
        };
        self.here_documents.push(HereDocument {
            offset: start,
            delimiter,
            strip_tabs,
        });
        Ok(())
    }

    fn skip_here_documents(&mut self) -> Result<(), SyntaxError> {
        for document in mem::take(&mut self.here_documents) {
            loop {
                if self.at >= self.text.len() {
                    return Err(unterminated_here_document(&document));
                }
                let start = self.at;
                self.skip_line();
                let mut line = &self.text[start..self.at];
                self.at = (self.at + 1).min(self.text.len());
                while let (true, Some(rest)) = (document.strip_tabs, line.strip_prefix(b"\t")) {
                    line = rest;
                }
                if line == document.delimiter {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Skips blanks and line continuations.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.peek(1) == Some(b'\n') => self.at += 2,
                _ => return,
            }
        }
    }

    /// Skips to the end of the line, which is not read.
    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn push(&mut self, start: usize, kind: TokenKind) {
        let span = start..self.at;
        self.out.tokens.push(Token { kind, span });
    }
}

fn unterminated_here_document(document: &HereDocument) -> SyntaxError {
    SyntaxError::new(
        document.offset,
        format!(
            "here-document without its end `{}`",
            String::from_utf8_lossy(&document.delimiter)
        ),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match lex(text.as_bytes()) {
            Ok(lexed) => lexed
                .tokens
                .iter()
                .map(|token| format!("{:?}", &text[token.span.clone()]))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{}: {}", error.offset, error.message),
        }
    }

    #[test]
    fn tokens_end_where_the_shell_ends_them() {
        for (text, expected) in [
            ("a b;c&&d", r#""a" "b" ";" "c" "&&" "d""#),
            ("a#b #c\nd", r##""a#b" "\n" "d""##),
            ("a \\\n b", r#""a" "b""#),
            ("a>&2 2>b", r#""a" ">&" "2" "2" ">" "b""#),
            ("x=$(a \"$(b ')')\" )c d", r#""x=$(a \"$(b ')')\" )c" "d""#),
            ("`a \\` b` c", r#""`a \\` b`" "c""#),
            ("a $((1+(2)*3)) b", r#""a" "$((1+(2)*3))" "b""#),
            ("a $((b); c) d", r#""a" "$((b); c)" "d""#),
            ("a ${b:-\"}\"} c", r#""a" "${b:-\"}\"}" "c""#),
            ("a <<E b\n$(\nE\nc", r#""a" "<<" "E" "b" "\n" "c""#),
            ("a <<-'E'\n\t`\n\t\tE\nc", r#""a" "<<-" "'E'" "\n" "c""#),
            ("a > >(b c) d", r#""a" ">" ">(b c)" "d""#),
            ("a '\n' b", r#""a" "'\n'" "b""#),
            ("a 'b", "2: unterminated `'`"),
            ("a \"b$(", "4: unterminated `$(`"),
            ("a `b", "2: unterminated backquote"),
            ("a ${b", "2: unterminated `${`"),
            ("a <<E\nb", "2: here-document without its end `E`"),
            ("a <<E", "2: here-document without its end `E`"),
            ("a <<\n", "2: `<<` without a delimiter"),
            ("$(case a in b) ;; esac)", "2: `case` within `$(…)`"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for open in ["$(", "\"$(", "${a:-", "\"${a:-", "$((", ">("] {
            assert!(lex(open.repeat(100_000).as_bytes()).is_err(), "{open}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z $(){}'\"`\\\\<>&|;#=\\[\\]\n-]{0,80}") {
            let lexed = lex(text.as_bytes());
            if let Ok(lexed) = lexed {
                let mut end = 0;
                for token in lexed.tokens {
                    prop_assert!(token.span.start >= end && token.span.end > token.span.start);
                    end = token.span.end;
                }
                prop_assert!(end <= text.len());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = lex(&bytes);
        }
    }
}
