//! Words of a command line, as a POSIX shell splits them.
//!
//! Quotes and backslashes work as in the shell, and `$NAME` and `${NAME}` are looked up; one that
//! is not set is empty. What only a shell can do is refused, never passed on as text: `$(…)`,
//! backquotes, other `${…}`, and unquoted `;&|<>()*?[~#!{` where the shell would act on them.

use std::{collections::BTreeMap, iter::Peekable, str::CharIndices};

/// Longest result in bytes: a short text can repeat a long variable.
const LIMIT: usize = 1 << 20;

/// A word, and at which byte of the text it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) offset: usize,
    pub(crate) text: String,
    /// Whether some of it comes from the environment.
    pub(crate) inherited: bool,
}

/// What cannot be split, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// Splits a text into words.
pub(crate) fn split(text: &str, env: &BTreeMap<String, String>) -> Result<Vec<Word>, Wrong> {
    let mut splitter = Splitter {
        chars: text.char_indices().peekable(),
        env,
        words: Vec::new(),
        word: None,
        length: 0,
    };
    splitter.run()?;
    Ok(splitter.words)
}

struct Splitter<'a> {
    chars: Peekable<CharIndices<'a>>,
    env: &'a BTreeMap<String, String>,
    words: Vec<Word>,
    word: Option<Word>,
    length: usize,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), Wrong> {
        while let Some((at, c)) = self.chars.next() {
            match c {
                ' ' | '\t' | '\n' | '\r' => self.end(),
                '\'' => self.single(at)?,
                '"' => self.double(at)?,
                '\\' => match self.chars.next() {
                    Some((_, '\n')) => {}
                    Some((_, c)) => self.push(at, c)?,
                    None => return Err(wrong(at, "`\\` at the end")),
                },
                '$' => {
                    // What a variable holds is split into words, as the shell does it.
                    for c in self.variable(at)?.chars() {
                        if c.is_ascii_whitespace() {
                            self.end();
                        } else {
                            self.push(at, c)?;
                            self.open(at).inherited = true;
                        }
                    }
                }
                '`' => return Err(wrong(at, "a command in backquotes")),
                ';' | '&' | '|' | '<' | '>' | '(' | ')' => {
                    return Err(wrong(at, format!("`{c}` outside quotes")));
                }
                '*' | '?' | '[' => {
                    return Err(wrong(at, format!("the pattern `{c}` outside quotes")));
                }
                '~' | '#' if self.word.is_none() => {
                    return Err(wrong(
                        at,
                        format!("`{c}` at the beginning of a word, outside quotes"),
                    ));
                }
                c => self.push(at, c)?,
            }
        }
        self.end();
        Ok(())
    }

    fn single(&mut self, start: usize) -> Result<(), Wrong> {
        self.open(start);
        loop {
            match self.chars.next() {
                Some((_, '\'')) => return Ok(()),
                Some((at, c)) => self.push(at, c)?,
                None => return Err(wrong(start, "`'` without its partner")),
            }
        }
    }

    fn double(&mut self, start: usize) -> Result<(), Wrong> {
        self.open(start);
        loop {
            match self.chars.next() {
                Some((_, '"')) => return Ok(()),
                Some((at, '$')) => {
                    for c in self.variable(at)?.chars() {
                        self.push(at, c)?;
                        self.open(at).inherited = true;
                    }
                }
                Some((at, '`')) => return Err(wrong(at, "a command in backquotes")),
                Some((at, '\\')) => match self.chars.next_if(|(_, c)| "$`\"\\\n".contains(*c)) {
                    Some((_, '\n')) => {}
                    Some((_, c)) => self.push(at, c)?,
                    None => self.push(at, '\\')?,
                },
                Some((at, c)) => self.push(at, c)?,
                None => return Err(wrong(start, "`\"` without its partner")),
            }
        }
    }

    /// What stands behind a `$`.
    fn variable(&mut self, start: usize) -> Result<String, Wrong> {
        let braces = match self.chars.peek() {
            Some((_, '(')) => return Err(wrong(start, "a command in `$(…)`")),
            Some((_, '{')) => self.chars.next().is_some(),
            Some((_, c)) if c.is_ascii_alphabetic() || *c == '_' => false,
            Some((_, c)) if c.is_ascii_digit() || "@*#?-$!".contains(*c) => {
                return Err(wrong(start, format!("the shell's parameter `${c}`")));
            }
            _ => return Ok("$".to_owned()),
        };
        let mut name = String::new();
        while let Some((_, c)) = self
            .chars
            .next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(c);
        }
        let plain = name
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit());
        if braces && (self.chars.next_if(|(_, c)| *c == '}').is_none() || !plain) {
            return Err(wrong(start, "an expansion other than `${NAME}`"));
        }
        Ok(self.env.get(&name).cloned().unwrap_or_default())
    }

    /// Begins a word, so that `''` is an empty one.
    fn open(&mut self, at: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word {
            offset: at,
            text: String::new(),
            inherited: false,
        })
    }

    fn push(&mut self, at: usize, c: char) -> Result<(), Wrong> {
        self.length += c.len_utf8();
        if self.length > LIMIT {
            return Err(wrong(at, format!("more than {LIMIT} bytes of words")));
        }
        self.open(at).text.push(c);
        Ok(())
    }

    fn end(&mut self) {
        self.words.extend(self.word.take());
    }
}

fn wrong(offset: usize, message: impl Into<String>) -> Wrong {
    Wrong {
        offset,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env() -> BTreeMap<String, String> {
        let pairs = [("HOME", "/root"), ("TWO", "a  b")];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn words_are_split_as_a_shell_does_it() {
        for (text, expected) in [
            ("", &[] as &[&str]),
            ("  a\tb\n c ", &["a", "b", "c"]),
            (
                r#"--build-arg A="x y" 'z w'q"#,
                &["--build-arg", "A=x y", "z wq"],
            ),
            (r#"'' "" a"#, &["", "", "a"]),
            (r"a\ b \\ \'", &["a b", "\\", "'"]),
            (r#""\$HOME \" \n" '$HOME'"#, &["$HOME \" \\n", "$HOME"]),
            ("a\\\nb", &["ab"]),
            ("$HOME/x ${HOME}y $NONE z", &["/root/x", "/rooty", "z"]),
            ("$TWO \"$TWO\"", &["a", "b", "a  b"]),
            ("cost=5$ a#b x~ $", &["cost=5$", "a#b", "x~", "$"]),
        ] {
            let words: Vec<_> = split(text, &env())
                .unwrap()
                .into_iter()
                .map(|word| word.text)
                .collect();
            assert_eq!(words, expected, "{text}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        let wrong: Vec<_> = [
            "--build-arg V=$(git describe)",
            "a `date`",
            "\"`date`\"",
            "a; b",
            "a > b",
            "*.txt",
            "$1",
            "${A:-b}",
            "${",
            "'a",
            "\"a",
            "a\\",
            "~/x",
            "# x",
        ]
        .map(|text| match split(text, &env()) {
            Ok(words) => panic!("{text} gives {words:?}"),
            Err(wrong) => format!("{text:30} {}: {}", wrong.offset, wrong.message),
        })
        .into();
        insta::assert_snapshot!(wrong.join("\n"));
    }

    #[test]
    fn the_result_is_bounded() {
        let env = [("X".to_owned(), "x".repeat(1 << 10))].into();
        assert!(split(&"$X".repeat(10_000), &env).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z $'\"\\\\{}(`ä\n-]{0,24}") {
            drop(split(&text, &env()));
        }
    }
}
