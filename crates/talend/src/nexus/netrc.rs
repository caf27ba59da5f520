//! The format of `~/.netrc`, as curl and wget read it.

use super::{
    Error, Result,
    credentials::{Credentials, Logins},
};

/// Reads a netrc file: `machine HOST login USER password PASSWORD`, `default` for all others.
/// Values may be in double quotes, which end on their line; `#` begins a comment where a keyword may be, and macros are
/// passed over. Of several entries for one host the first counts.
///
/// ```
/// use talend::nexus::netrc;
///
/// let logins = netrc::parse(".netrc", "machine nexus.example.com login ci password secret\n")?;
/// assert!(!format!("{logins:?}").contains("secret"));
/// # Ok::<(), talend::nexus::Error>(())
/// ```
///
/// # Errors
/// [`Error::Netrc`] with the line, without the text.
pub fn parse(path: &str, text: &str) -> Result<Logins> {
    let mut words = Words {
        text,
        at: 0,
        line: 1,
        unclosed: None,
    };
    let mut found: Vec<Entry> = Vec::new();
    let fault = |fault, line| Error::Netrc {
        path: path.to_owned(),
        line,
        fault,
    };
    while let Some(word) = words.next() {
        let line = words.line;
        let mut value = || {
            words
                .next()
                .ok_or_else(|| fault("expected a value at the end of the file", line))
        };
        match word.as_str() {
            "machine" => found.push(Entry {
                host: Some(value()?),
                ..Entry::default()
            }),
            "default" => found.push(Entry::default()),
            "macdef" => words.skip_macro(),
            "login" | "password" | "account" => {
                let value = value()?;
                let entry = found
                    .last_mut()
                    .ok_or_else(|| fault("expected `machine` or `default` first", line))?;
                match word.as_str() {
                    "login" => entry.login = Some(value),
                    "password" => entry.password = Some(value),
                    _ => {}
                }
            }
            comment if comment.starts_with('#') => words.skip_line(),
            _ => {
                let expected =
                    "expected `machine`, `default`, `login`, `password`, `account` or `macdef`";
                return Err(fault(expected, line));
            }
        }
    }
    // Else a name would be all that follows, passwords included.
    if let Some(line) = words.unclosed {
        return Err(fault("expected `\"` at the end of a value in quotes", line));
    }
    let mut logins = Logins::default();
    for entry in found {
        let Some(login) = entry.login else { continue };
        let credentials = Credentials::new(login, entry.password.unwrap_or_default());
        let one = match entry.host {
            Some(host) => Logins::default().with(host, credentials),
            None => Logins::default().with_others(credentials),
        };
        logins = logins.and(one);
    }
    Ok(logins)
}

#[derive(Default)]
struct Entry {
    host: Option<String>,
    login: Option<String>,
    password: Option<String>,
}

struct Words<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// Of the first value whose quotes do not end.
    unclosed: Option<usize>,
}

impl Words<'_> {
    fn next(&mut self) -> Option<String> {
        while self.peek()?.is_whitespace() {
            self.bump();
        }
        let mut word = String::new();
        if self.peek() == Some('"') {
            self.bump();
            while let Some(next) = self.peek().filter(|&next| next != '\n') {
                self.bump();
                match next {
                    '"' => return Some(word),
                    '\\' => word.extend(self.bump()),
                    other => word.push(other),
                }
            }
            self.unclosed.get_or_insert(self.line);
            return Some(word);
        }
        while let Some(next) = self.peek().filter(|next| !next.is_whitespace()) {
            word.push(next);
            self.bump();
        }
        Some(word)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|next| next != '\n') {
            self.bump();
        }
    }

    /// A macro ends with an empty line.
    fn skip_macro(&mut self) {
        loop {
            self.skip_line();
            self.bump();
            match self.peek() {
                None | Some('\n' | '\r') => return,
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_read_as_curl_reads_them() {
        let text = "# mine\nmachine a.io login me password one\n\
                    machine b.io\n  login you\n  account x\n  password \"two \\\" # three\"\n\
                    macdef init\n machine c.io login no\n\n\
                    machine a.io login late password late\n\
                    default login anyone password #four";
        let expected = Logins::default()
            .with("a.io", Credentials::new("me", "one"))
            .with("b.io", Credentials::new("you", "two \" # three"))
            .with_others(Credentials::new("anyone", "#four"));
        assert_eq!(parse("x", text).unwrap(), expected);
        assert_eq!(parse("x", "").unwrap(), Logins::default());
        assert_eq!(parse("x", "machine a.io\n").unwrap(), Logins::default());
    }

    #[test]
    fn mistakes_have_a_line_and_no_text() {
        let shown = [
            "machine",
            "\nlogin hunter2",
            "machine a\nhunter2 x",
            "\nmachine a login \"me password\nmachine b password hunter2",
        ]
        .map(|text| parse(".netrc", text).unwrap_err().to_string());
        insta::assert_snapshot!(shown.join("\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}|(machine |login |macdef |\"|\\\\|\n|a){0,20}") {
            let _ = parse("x", &text);
        }
    }
}
