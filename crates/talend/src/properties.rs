//! Java properties: `jobInfo.properties` and context files.
//!
//! ```
//! use talend::properties::Properties;
//!
//! let file = Properties::parse(b"# context\r\npath=C\\:/Users\\\r\n   /eost\nname=Zo\\u00eb\n")?;
//! assert_eq!(file.get("path"), Some("C:/Users/eost"));
//! assert_eq!(file.get("name"), Some("Zo\u{eb}"));
//! # Ok::<(), talend::properties::Fault>(())
//! ```

use crate::launcher::{Position, Span};

/// Keys and values in the order of the file, as `java.util.Properties.load` reads them: encoded in
/// ISO 8859-1, with escapes and continuation lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Properties {
    entries: Vec<Property>,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Property {
    /// The key, without escapes.
    pub key: String,
    /// The value, without escapes.
    pub value: String,
    /// Line where the key begins, from 1.
    pub line: usize,
    /// The whole logical line in the file, with its end.
    #[serde(skip)]
    pub(crate) span: Span,
}

/// Why a file is not a properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
#[non_exhaustive]
pub struct Fault {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub message: &'static str,
}

impl Properties {
    /// Parses a file.
    ///
    /// # Errors
    /// If `\u` is not followed by four hexadecimal digits, which Java refuses, too.
    pub fn parse(text: &[u8]) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        let mut lines = Lines {
            text,
            at: 0,
            line: 0,
        };
        while let Some((line, start)) = lines.next_logical() {
            let span = start..lines.at;
            let mut reader = LineReader {
                text,
                at: start,
                units: Vec::new(),
            };
            let key = reader.key()?;
            let value = reader.value()?;
            entries.push(Property {
                key,
                value,
                line,
                span,
            });
        }
        Ok(Self { entries })
    }

    /// The value of a key; of the last one, if there are several, as in Java.
    pub fn get(&self, key: &str) -> Option<&str> {
        let last = self.entries.iter().rfind(|entry| entry.key == key)?;
        Some(&last.value)
    }

    /// All entries in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Property> {
        self.entries.iter()
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = &'a Property;
    type IntoIter = std::slice::Iter<'a, Property>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Writes a key and a value so that Java reads them back; all ASCII, without a line end.
pub fn escape(key: &str, value: &str) -> String {
    let mut line = String::new();
    for (text, is_key) in [(key, true), (value, false)] {
        let mut leading = true;
        for character in text.chars() {
            match character {
                ' ' if is_key || leading => line.push_str("\\ "),
                '\t' => line.push_str("\\t"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\u{c}' => line.push_str("\\f"),
                '\\' | '=' | ':' | '#' | '!' => {
                    line.push('\\');
                    line.push(character);
                }
                ' '..='~' => line.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        line.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            leading = false;
        }
        if is_key {
            line.push('=');
        }
    }
    line
}

/// Finds where logical lines begin.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// Line number and offset of the next line that is neither blank nor a comment; its
    /// continuation lines are skipped.
    fn next_logical(&mut self) -> Option<(usize, usize)> {
        while self.at < self.text.len() {
            let start = skip_blanks(self.text, self.at);
            let (first, mut continued) = self.skip_line();
            match self.text.get(start) {
                None | Some(b'\n' | b'\r' | b'#' | b'!') => continue,
                Some(_) => {}
            }
            while continued && self.at < self.text.len() {
                (_, continued) = self.skip_line();
            }
            return Some((first, start));
        }
        None
    }

    /// Number of the line, and whether it ends in an odd number of backslashes.
    fn skip_line(&mut self) -> (usize, bool) {
        self.line += 1;
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| b"\r\n".contains(byte));
        let length = length.unwrap_or(rest.len());
        let backslashes = rest[..length]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        self.at = skip_line_end(self.text, self.at + length);
        (self.line, backslashes % 2 == 1)
    }
}

/// Reads one logical line.
#[derive(Debug)]
struct LineReader<'a> {
    text: &'a [u8],
    at: usize,
    /// What was read of the key or value, in UTF-16 as in Java: `\u` may give half a character.
    units: Vec<u16>,
}

impl LineReader<'_> {
    fn key(&mut self) -> Result<String, Fault> {
        while let Some(byte) = self.peek() {
            if b"=: \t\x0c".contains(&byte) {
                break;
            }
            self.character(byte)?;
        }
        self.at = skip_blanks(self.text, self.at);
        if matches!(self.peek(), Some(b'=' | b':')) {
            self.at = skip_blanks(self.text, self.at + 1);
        }
        Ok(self.take())
    }

    fn value(&mut self) -> Result<String, Fault> {
        while let Some(byte) = self.peek() {
            self.character(byte)?;
        }
        Ok(self.take())
    }

    /// The next byte of the logical line, with continuations passed.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b'\n' | b'\r' => return None,
                b'\\' => match self.text.get(self.at + 1) {
                    Some(b'\n' | b'\r') => {
                        let next = skip_line_end(self.text, self.at + 1);
                        self.at = skip_blanks(self.text, next);
                    }
                    _ => return Some(b'\\'),
                },
                byte => return Some(byte),
            }
        }
    }

    fn character(&mut self, byte: u8) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        if byte != b'\\' {
            self.units.push(byte.into());
            return Ok(());
        }
        let Some(escaped) = self.text.get(self.at).copied() else {
            return Ok(());
        };
        self.at += 1;
        let unit = match escaped {
            b't' => u16::from(b'\t'),
            b'n' => u16::from(b'\n'),
            b'r' => u16::from(b'\r'),
            b'f' => 0xc,
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4);
                let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let unit = digits
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| Fault {
                        position: Position::of(self.text, start),
                        message: "`\\u` without four hexadecimal digits",
                    })?;
                self.at += 4;
                unit
            }
            other => other.into(),
        };
        self.units.push(unit);
        Ok(())
    }

    fn take(&mut self) -> String {
        let text = String::from_utf16_lossy(&self.units);
        self.units.clear();
        text
    }
}

fn skip_blanks(text: &[u8], at: usize) -> usize {
    let blanks = text[at..]
        .iter()
        .take_while(|byte| b" \t\x0c".contains(byte));
    at + blanks.count()
}

/// The offset after the line end at `at`, if there is one.
fn skip_line_end(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'\r') if text.get(at + 1) == Some(&b'\n') => at + 2,
        Some(_) => at + 1,
        None => at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match Properties::parse(text.as_bytes()) {
            Ok(file) => file
                .iter()
                .map(|entry| format!("{}:{:?}={:?}", entry.line, entry.key, entry.value))
                .collect::<Vec<_>>()
                .join(" "),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn files_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("", ""),
            ("a=b", r#"1:"a"="b""#),
            ("#x\n!y\n \n\ta : b \r\nc", r#"4:"a"="b " 5:"c"="""#),
            ("a b=c", r#"1:"a"="b=c""#),
            ("a\\ b\\=c d", r#"1:"a b=c"="d""#),
            ("a=1\\\n   2\\\r\n3\nb=", r#"1:"a"="123" 4:"b"="""#),
            ("#no \\\na=1", r#"2:"a"="1""#),
            ("a=C\\:\\\\x\\q\\t.", r#"1:"a"="C:\\xq\t.""#),
            ("a=\\ud83d\\ude00\\u00e9", "1:\"a\"=\"\u{1f600}é\""),
            ("=x\r\r: y", r#"1:""="x" 3:""="y""#),
            ("a=b\\", r#"1:"a"="b""#),
            (
                "x=1\na=\\u12g4",
                "2:3: `\\u` without four hexadecimal digits",
            ),
            ("a=\\u12", "1:3: `\\u` without four hexadecimal digits"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
        let latin = Properties::parse(b"a=\xe9").unwrap();
        assert_eq!(latin.get("a"), Some("é"));
        let twice = Properties::parse(b"a=1\na=2").unwrap();
        assert_eq!(twice.get("a"), Some("2"));
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(key in "\\PC{1,12}|[ =:#!\\\\\t\n]{1,5}", value in "(?s).{0,20}") {
            let line = escape(&key, &value);
            prop_assert!(line.is_ascii());
            let file = Properties::parse(line.as_bytes()).unwrap();
            prop_assert_eq!(file.get(&key), Some(value.as_str()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Properties::parse(&bytes);
        }

        #[test]
        fn no_text_panics(text in "[au01 =:\\\\#\r\n]{0,40}") {
            let _ = Properties::parse(text.as_bytes());
        }
    }
}
