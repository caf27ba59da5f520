use super::{
    Span,
    lexer::lex,
    position::SyntaxError,
    token::{Operator, Token, TokenKind, Word},
};

/// The simple commands of a script in the order of the text, each with its surroundings.
///
/// That is all that is needed to say what runs after what; no tree is built.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) commands: Vec<Command>,
    /// Names of the functions that the script defines.
    pub(crate) functions: Vec<String>,
    /// Syntax that a plain `sh` does not have: offset and what it is.
    pub(crate) bashisms: Vec<(usize, &'static str)>,
}

/// A simple command (POSIX XCU 2.9.1), or bash's `[[…]]` and `((…))` with no words.
#[derive(Debug)]
pub(crate) struct Command {
    /// `name=value` words before the command's name.
    pub(crate) assignments: Vec<Word>,
    /// The command's name and its arguments, without redirections.
    pub(crate) words: Vec<Word>,
    /// First word to last word or redirection.
    pub(crate) span: Span,
    /// Compound commands around it, outermost first.
    pub(crate) nesting: Vec<Nesting>,
    /// What joins it to the command before.
    pub(crate) before: Link,
    /// What joins it to the command after.
    pub(crate) after: Link,
    /// Whether `!` inverts its status.
    pub(crate) negated: bool,
    /// Whether any redirection is part of it.
    pub(crate) redirected: bool,
}

/// How neighbors in a list are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// `;`, a line end, or nothing.
    Sequence,
    And,
    Or,
    Pipe,
    Background,
}

/// A compound command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nesting {
    If,
    Loop,
    Case,
    Group,
    Subshell,
    Function,
}

impl Nesting {
    /// Its name in messages.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::If => "an `if`",
            Self::Loop => "a loop",
            Self::Case => "a `case`",
            Self::Group => "a `{…}` group",
            Self::Subshell => "a subshell",
            Self::Function => "a function",
        }
    }
}

/// Scripts with more commands are refused: no launcher comes near, and each command is compared
/// with others.
const MAX_COMMANDS: usize = 5_000;
/// Compound commands that are nested deeper are refused.
const MAX_NESTING: usize = 64;

/// Parses a script with `\n` line ends.
pub(crate) fn parse(text: &[u8]) -> Result<Script, SyntaxError> {
    let lexed = lex(text)?;
    let mut parser = Parser {
        end: text.len(),
        tokens: lexed.tokens,
        at: 0,
        open: Vec::new(),
        before: Link::Sequence,
        negated: false,
        script: Script {
            bashisms: lexed.bashisms,
            ..Script::default()
        },
    };
    parser.script()?;
    let mut script = parser.script;
    script.bashisms.sort_unstable();
    Ok(script)
}

#[derive(Debug)]
struct Parser {
    end: usize,
    tokens: Vec<Token>,
    at: usize,
    /// Compound commands that are open, with where they began.
    open: Vec<(Nesting, usize)>,
    /// State of the next command.
    before: Link,
    negated: bool,
    script: Script,
}

impl Parser {
    /// Each turn begins where a command may begin.
    fn script(&mut self) -> Result<(), SyntaxError> {
        loop {
            let Some(token) = self.tokens.get(self.at) else {
                return match self.open.last() {
                    Some((nesting, offset)) => Err(SyntaxError::new(
                        *offset,
                        format!("{} is not closed", nesting.what()),
                    )),
                    None => Ok(()),
                };
            };
            let offset = token.span.start;
            if self.script.commands.len() > MAX_COMMANDS {
                let message = format!("more than {MAX_COMMANDS} commands");
                return Err(SyntaxError::new(offset, message));
            }
            if self.open.len() > MAX_NESTING {
                return Err(SyntaxError::new(offset, "commands are nested too deep"));
            }
            match &token.kind {
                TokenKind::Newline => self.at += 1,
                TokenKind::Operator(Operator::Open) => {
                    if self.is_operator(self.at + 1, Operator::Open)
                        && self.tokens[self.at + 1].span.start == offset + 1
                    {
                        self.arithmetic()?;
                    } else {
                        self.at += 1;
                        self.enter(Nesting::Subshell, offset);
                    }
                }
                TokenKind::Operator(Operator::Close) => self.leave(Nesting::Subshell)?,
                TokenKind::Operator(Operator::CaseEnd) => {
                    if !self.innermost_is(Nesting::Case) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                    self.case_patterns()?;
                }
                TokenKind::Operator(Operator::Redirect | Operator::HereDocument)
                | TokenKind::IoNumber => self.simple()?,
                TokenKind::Operator(_) => return Err(self.unexpected()),
                TokenKind::Word(word) => match word.bare().map(<[u8]>::to_vec) {
                    Some(bare) => self.command(&bare, offset)?,
                    None => self.simple()?,
                },
            }
        }
    }

    fn command(&mut self, word: &[u8], offset: usize) -> Result<(), SyntaxError> {
        match word {
            b"!" => {
                self.at += 1;
                self.negated = true;
            }
            b"if" => self.enter_word(Nesting::If, offset),
            b"while" | b"until" => self.enter_word(Nesting::Loop, offset),
            b"{" => self.enter_word(Nesting::Group, offset),
            b"then" | b"else" | b"elif" if self.innermost_is(Nesting::If) => self.at += 1,
            b"do" if self.innermost_is(Nesting::Loop) => self.at += 1,
            b"fi" => self.leave(Nesting::If)?,
            b"done" => self.leave(Nesting::Loop)?,
            b"esac" => self.leave(Nesting::Case)?,
            b"}" => self.leave(Nesting::Group)?,
            b"then" | b"else" | b"elif" | b"do" => return Err(self.unexpected()),
            b"for" | b"select" => self.for_loop(offset)?,
            b"case" => {
                self.enter_word(Nesting::Case, offset);
                self.expect_word()?;
                self.skip_newlines();
                if self.bare() != Some(b"in") {
                    return Err(self.unexpected());
                }
                self.at += 1;
                self.case_patterns()?;
            }
            b"function" => {
                self.script.bashisms.push((offset, "`function`"));
                self.at += 1;
                let name = self.expect_word()?;
                if self.is_operator(self.at, Operator::Open) {
                    self.at += 1;
                    self.expect_operator(Operator::Close)?;
                }
                self.function(name, offset)?;
            }
            b"[[" => {
                self.script.bashisms.push((offset, "`[[`"));
                while self.bare() != Some(b"]]") {
                    if self.at == self.tokens.len() {
                        return Err(SyntaxError::new(offset, "`[[` is not closed"));
                    }
                    self.at += 1;
                }
                self.at += 1;
                self.opaque(offset)?;
            }
            b"coproc" => return Err(SyntaxError::new(offset, "`coproc` is not understood")),
            _ if self.is_operator(self.at + 1, Operator::Open)
                && self.is_operator(self.at + 2, Operator::Close) =>
            {
                let name = String::from_utf8_lossy(word).into_owned();
                self.at += 3;
                self.function(name, offset)?;
            }
            _ => self.simple()?,
        }
        Ok(())
    }

    /// At the first token of a simple command.
    fn simple(&mut self) -> Result<(), SyntaxError> {
        let start = self.offset();
        let mut command = Command {
            assignments: Vec::new(),
            words: Vec::new(),
            span: start..start,
            nesting: self.nesting(),
            before: self.before,
            after: Link::Sequence,
            negated: self.negated,
            redirected: false,
        };
        loop {
            if self.redirection()? {
                command.redirected = true;
            } else if let Some(TokenKind::Word(word)) = self.kind() {
                if command.words.is_empty() && word.assignment().is_some() {
                    command.assignments.push(word.clone());
                } else {
                    command.words.push(word.clone());
                }
                self.at += 1;
            } else {
                break;
            }
            command.span.end = self.tokens[self.at - 1].span.end;
        }
        command.after = self.link()?;
        self.script.commands.push(command);
        Ok(())
    }

    /// `((…))`, of which only the place matters.
    fn arithmetic(&mut self) -> Result<(), SyntaxError> {
        let start = self.offset();
        self.script.bashisms.push((start, "`((`"));
        self.skip_parentheses()?;
        self.opaque(start)
    }

    /// Ends a command from `start` whose words do not matter.
    fn opaque(&mut self, start: usize) -> Result<(), SyntaxError> {
        let span = start..self.tokens[self.at - 1].span.end;
        let (nesting, before, negated) = (self.nesting(), self.before, self.negated);
        let redirected = self.redirections()?;
        let after = self.link()?;
        self.script.commands.push(Command {
            assignments: Vec::new(),
            words: Vec::new(),
            span,
            nesting,
            before,
            after,
            negated,
            redirected,
        });
        Ok(())
    }

    /// At `for` or `select`; up to and without `do`.
    fn for_loop(&mut self, offset: usize) -> Result<(), SyntaxError> {
        if self.bare() == Some(b"select") {
            self.script.bashisms.push((offset, "`select`"));
        }
        self.enter_word(Nesting::Loop, offset);
        if self.is_operator(self.at, Operator::Open) {
            self.script.bashisms.push((offset, "`for ((`"));
            self.skip_parentheses()?;
        } else {
            self.expect_word()?;
            self.skip_newlines();
            if self.bare() == Some(b"in") {
                self.at += 1;
                while matches!(self.kind(), Some(TokenKind::Word(_))) {
                    self.at += 1;
                }
            }
        }
        if self.is_operator(self.at, Operator::Semicolon) {
            self.at += 1;
        }
        self.skip_newlines();
        if self.bare() == Some(b"do") {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// After `in` or `;;`: patterns up to and with their `)`, or `esac`.
    fn case_patterns(&mut self) -> Result<(), SyntaxError> {
        self.before = Link::Sequence;
        self.skip_newlines();
        if self.bare() == Some(b"esac") {
            return Ok(());
        }
        if self.is_operator(self.at, Operator::Open) {
            self.at += 1;
        }
        loop {
            self.expect_word()?;
            if self.is_operator(self.at, Operator::Pipe) {
                self.at += 1;
            } else {
                return self.expect_operator(Operator::Close);
            }
        }
    }

    /// After the head of a function definition: its body must be a compound command.
    fn function(&mut self, name: String, offset: usize) -> Result<(), SyntaxError> {
        self.script.functions.push(name);
        self.enter(Nesting::Function, offset);
        self.skip_newlines();
        let compound: [&[u8]; 7] = [b"{", b"if", b"while", b"until", b"for", b"case", b"[["];
        if self.is_operator(self.at, Operator::Open)
            || self.bare().is_some_and(|word| compound.contains(&word))
        {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn enter_word(&mut self, nesting: Nesting, offset: usize) {
        self.at += 1;
        self.enter(nesting, offset);
    }

    fn enter(&mut self, nesting: Nesting, offset: usize) {
        self.open.push((nesting, offset));
        self.before = Link::Sequence;
        self.negated = false;
    }

    /// At the word or operator that closes `nesting`.
    fn leave(&mut self, nesting: Nesting) -> Result<(), SyntaxError> {
        if !self.innermost_is(nesting) {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.open.pop();
        if self.innermost_is(Nesting::Function) {
            self.open.pop();
        }
        self.redirections()?;
        // A word that closes the next level may follow without a separator: `{ (a) }`.
        let closers: [&[u8]; 8] = [
            b"then", b"else", b"elif", b"fi", b"do", b"done", b"esac", b"}",
        ];
        if self.bare().is_none_or(|word| !closers.contains(&word)) {
            self.link()?;
        }
        Ok(())
    }

    /// Reads what follows a command, and sets the state of the next one.
    fn link(&mut self) -> Result<Link, SyntaxError> {
        self.negated = false;
        let after = match self.kind() {
            None => Link::Sequence,
            // Left for `script`, which closes what they close.
            Some(TokenKind::Operator(Operator::Close | Operator::CaseEnd)) => {
                self.before = Link::Sequence;
                return Ok(Link::Sequence);
            }
            Some(TokenKind::Newline | TokenKind::Operator(Operator::Semicolon)) => Link::Sequence,
            Some(TokenKind::Operator(Operator::Background)) => Link::Background,
            Some(TokenKind::Operator(Operator::And)) => Link::And,
            Some(TokenKind::Operator(Operator::Or)) => Link::Or,
            Some(TokenKind::Operator(Operator::Pipe)) => Link::Pipe,
            Some(_) => return Err(self.unexpected()),
        };
        self.at = (self.at + 1).min(self.tokens.len());
        self.before = match after {
            Link::And | Link::Or | Link::Pipe => after,
            Link::Sequence | Link::Background => Link::Sequence,
        };
        Ok(after)
    }

    fn redirections(&mut self) -> Result<bool, SyntaxError> {
        let mut any = false;
        while self.redirection()? {
            any = true;
        }
        Ok(any)
    }

    /// Reads one redirection, if there is one.
    fn redirection(&mut self) -> Result<bool, SyntaxError> {
        match self.kind() {
            Some(TokenKind::IoNumber) => self.at += 1,
            Some(TokenKind::Operator(Operator::Redirect | Operator::HereDocument)) => {}
            _ => return Ok(false),
        }
        match self.kind() {
            Some(TokenKind::Operator(Operator::Redirect | Operator::HereDocument)) => self.at += 1,
            _ => return Err(self.unexpected()),
        }
        self.expect_word()?;
        Ok(true)
    }

    /// At `(`: up to and with the `)` that matches.
    fn skip_parentheses(&mut self) -> Result<(), SyntaxError> {
        let start = self.offset();
        let mut depth = 0_usize;
        loop {
            match self.kind() {
                None => return Err(SyntaxError::new(start, "`(` is not closed")),
                Some(TokenKind::Operator(Operator::Open)) => depth += 1,
                Some(TokenKind::Operator(Operator::Close)) => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_newlines(&mut self) {
        while matches!(self.kind(), Some(TokenKind::Newline)) {
            self.at += 1;
        }
    }

    fn expect_word(&mut self) -> Result<String, SyntaxError> {
        let Some(TokenKind::Word(word)) = self.kind() else {
            return Err(self.unexpected());
        };
        let text = String::from_utf8_lossy(word.bare().unwrap_or_default()).into_owned();
        self.at += 1;
        Ok(text)
    }

    fn expect_operator(&mut self, operator: Operator) -> Result<(), SyntaxError> {
        if !self.is_operator(self.at, operator) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn kind(&self) -> Option<&TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn bare(&self) -> Option<&[u8]> {
        match self.kind()? {
            TokenKind::Word(word) => word.bare(),
            _ => None,
        }
    }

    fn is_operator(&self, at: usize, operator: Operator) -> bool {
        matches!(self.tokens.get(at), Some(token) if token.kind == TokenKind::Operator(operator))
    }

    fn innermost_is(&self, nesting: Nesting) -> bool {
        matches!(self.open.last(), Some((innermost, _)) if *innermost == nesting)
    }

    fn nesting(&self) -> Vec<Nesting> {
        self.open.iter().map(|(nesting, _)| *nesting).collect()
    }

    fn offset(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.end, |token| token.span.start)
    }

    fn unexpected(&self) -> SyntaxError {
        let what = match self.kind() {
            None => "end of file",
            Some(TokenKind::Newline) => "line end",
            Some(TokenKind::Word(_) | TokenKind::IoNumber) => "word",
            Some(TokenKind::Operator(_)) => "operator",
        };
        SyntaxError::new(self.offset(), format!("unexpected {what}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let script = match parse(text.as_bytes()) {
            Ok(script) => script,
            Err(error) => return format!("{}: {}", error.offset, error.message),
        };
        script
            .commands
            .iter()
            .map(|command| {
                format!(
                    "{:?}{}{:?}{:?}{}",
                    command.nesting,
                    &text[command.span.clone()],
                    command.before,
                    command.after,
                    if command.negated { "!" } else { "" }
                )
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn every_command_knows_its_surroundings() {
        for (text, expected) in [
            ("a", "[]aSequenceSequence"),
            ("a b; c", "[]a bSequenceSequence []cSequenceSequence"),
            ("a &&\n b &", "[]aSequenceAnd []bAndBackground"),
            ("! a | b", "[]aSequencePipe! []bPipeSequence"),
            ("X=1 a >b 2>&1 c", "[]X=1 a >b 2>&1 cSequenceSequence"),
            (
                "if a; then b; fi",
                "[If]aSequenceSequence [If]bSequenceSequence",
            ),
            (
                "for x in 1 2\ndo a; done | b",
                "[Loop]aSequenceSequence []bPipeSequence",
            ),
            ("for x do a; done", "[Loop]aSequenceSequence"),
            (
                "case $1 in (x|y) a;; *) b; esac",
                "[Case]aSequenceSequence [Case]bSequenceSequence",
            ),
            ("case x in esac\na", "[]aSequenceSequence"),
            (
                "{ (a) }; b",
                "[Group, Subshell]aSequenceSequence []bSequenceSequence",
            ),
            (
                "f() { a; }\nb",
                "[Function, Group]aSequenceSequence []bSequenceSequence",
            ),
            ("f()\n(\na\n)", "[Function, Subshell]aSequenceSequence"),
            (
                "[[ a && (b) ]] && c",
                "[][[ a && (b) ]]SequenceAnd []cAndSequence",
            ),
            ("((a < 1)) || b", "[]((a < 1))SequenceOr []bOrSequence"),
            ("echo if then fi", "[]echo if then fiSequenceSequence"),
            ("a )", "2: unexpected operator"),
            ("a;;", "1: unexpected operator"),
            ("if a; then b", "0: an `if` is not closed"),
            ("fi", "0: unexpected word"),
            ("for x in a; b", "12: unexpected word"),
            ("a >", "3: unexpected end of file"),
            ("f() a", "4: unexpected word"),
            ("&& a", "0: unexpected operator"),
            ("coproc a", "0: `coproc` is not understood"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
        assert!(shown(&"a\n".repeat(6_000)).ends_with("more than 5000 commands"));
        assert!(shown(&"{ ".repeat(100_000)).ends_with("commands are nested too deep"));
        assert!(shown(&"( ".repeat(100_000)).ends_with("commands are nested too deep"));
        assert!(shown(&"f() ".repeat(100_000)).ends_with("unexpected word"));
    }

    proptest! {
        #[test]
        fn no_text_panics(
            words in proptest::collection::vec(
                prop::sample::select(vec![
                    "if ", "then ", "fi ", "for ", "in ", "do ", "done ", "case ", "esac ", "(",
                    ")", "{ ", "} ", ";", ";;", "&", "&&", "|", "\n", "a ", "x=1 ", "> ", "[[ ",
                    "]] ", "f() ", "! ", "function ", "((", "))", "2>", "<<E ", "\nE\n",
                ]),
                0..30,
            ),
        ) {
            let _ = parse(words.concat().as_bytes());
        }
    }
}
