//! `$NAME`, `${NAME:-default}` and quotes in words of a Dockerfile.

use std::{iter::Peekable, str::Chars};

/// Longest result in bytes: a few `ARG`s can double each other.
const LIMIT: usize = 64 << 10;
/// Deepest nesting of `${A:-${B:-…}}`.
const DEPTH: usize = 16;

/// Why a word has no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is wrong.
    Wrong(String),
    /// It is right, but not understood here.
    Unknown,
}

/// What variables are looked up in.
pub(super) trait Lookup {
    /// The value of a variable, none if it is not set.
    ///
    /// # Errors
    /// [`Failure::Unknown`] if only the engine knows it.
    fn get(&self, name: &str) -> Result<Option<&str>, Failure>;
}

/// Fills in variables and takes quotes away.
pub(super) fn expand(word: &str, escape: char, lookup: &dyn Lookup) -> Result<String, Failure> {
    let mut expander = Expander {
        chars: word.chars().peekable(),
        escape,
        lookup,
        depth: 0,
    };
    expander.until_end()
}

struct Expander<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    lookup: &'a dyn Lookup,
    depth: usize,
}

impl Expander<'_> {
    /// All that is left, or, within braces, all up to the closing one.
    fn until_end(&mut self) -> Result<String, Failure> {
        let mut out = String::new();
        let mut quote = None;
        while let Some(c) = self.chars.next() {
            match c {
                '}' if self.depth > 0 && quote.is_none() => return Ok(out),
                '\'' if quote != Some('"') => {
                    quote = if quote.is_some() { None } else { Some('\'') }
                }
                '"' if quote != Some('\'') => {
                    quote = if quote.is_some() { None } else { Some('"') }
                }
                c if c == self.escape && quote != Some('\'') => out.extend(self.chars.next()),
                '$' if quote != Some('\'') => out.push_str(&self.variable()?),
                c => out.push(c),
            }
            if out.len() > LIMIT {
                return Err(Failure::Wrong(format!(
                    "the value is longer than {LIMIT} bytes"
                )));
            }
        }
        match self.depth {
            0 => Ok(out),
            _ => Err(Failure::Wrong("`${` without `}`".to_owned())),
        }
    }

    fn variable(&mut self) -> Result<String, Failure> {
        let braces = self.chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = self
            .chars
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(c);
        }
        if name.is_empty() {
            return match braces {
                true => Err(Failure::Wrong("`${` without a name".to_owned())),
                false => Ok("$".to_owned()),
            };
        }
        let value = self.lookup.get(&name);
        if !braces {
            return Ok(value?.unwrap_or_default().to_owned());
        }
        let colon = self.chars.next_if_eq(&':').is_some();
        let operator = self.chars.next();
        if operator == Some('}') && !colon {
            return Ok(value?.unwrap_or_default().to_owned());
        }
        let operator = match operator {
            Some(operator @ ('-' | '+' | '?')) => operator,
            Some('#' | '%' | '/') if !colon => return Err(Failure::Unknown),
            _ => return Err(Failure::Wrong(format!("`${{{name}` without `}}`"))),
        };
        if self.depth == DEPTH {
            return Err(Failure::Wrong(format!(
                "variables are nested deeper than {DEPTH}"
            )));
        }
        self.depth += 1;
        let word = self.until_end();
        self.depth -= 1;
        let word = word?;
        // With a colon, a variable that is empty counts as one that is not set.
        let value = value?.filter(|value| !(colon && value.is_empty()));
        match (operator, value) {
            ('-', Some(value)) => Ok(value.to_owned()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.to_owned()),
            (_, None) => Err(Failure::Wrong(format!("`{name}` has no value: {word}"))),
        }
    }
}
