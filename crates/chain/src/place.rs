use std::{fmt, path::PathBuf};

use serde::Serialize;

/// A position in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A position in a file of the user; the file as a whole where there is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file, as it was named or found.
    pub file: PathBuf,
    /// Where in it.
    #[serde(flatten)]
    pub position: Option<Position>,
}

impl Place {
    /// A position in a file.
    pub fn new(file: impl Into<PathBuf>, position: Position) -> Self {
        Self {
            file: file.into(),
            position: Some(position),
        }
    }

    /// A file as a whole.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            position: None,
        }
    }
}

/// `FILE:LINE:COLUMN`, what terminals make links of.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.position {
            Some(position) => write!(f, ":{position}"),
            None => Ok(()),
        }
    }
}

/// Something that was found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Where.
    pub place: Place,
    /// What.
    pub what: T,
}

impl<T> Located<T> {
    /// `what` at `place`.
    pub fn new(place: Place, what: T) -> Self {
        Self { place, what }
    }
}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Finds positions in a text by byte offsets.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = [0].into_iter().chain(feeds.map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The position of a byte, or of the end if it is beyond.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        // The first start is 0, so that there is always one that is not beyond.
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = self.text[self.starts[line - 1]..offset].chars().count() + 1;
        Position {
            line: number(line),
            column: number(column),
        }
    }
}

/// Counts of lines and columns; texts are far smaller than where this saturates.
pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let lines = Lines::new("ab\näöx\n\n");
        let cases = [
            (0, "1:1"),
            (2, "1:3"),
            (3, "2:1"),
            (5, "2:2"),
            (6, "2:2"),
            (7, "2:3"),
            (9, "3:1"),
            (99, "4:1"),
        ];
        for (offset, expected) in cases {
            assert_eq!(lines.position(offset).to_string(), expected, "{offset}");
        }
        assert_eq!(Lines::new("").position(7).to_string(), "1:1");
    }
}
