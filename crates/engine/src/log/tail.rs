use std::fmt;

use super::Event;

/// Lines kept.
const LINES: usize = 40;
/// Bytes kept of each.
const WIDTH: usize = 1 << 10;

/// The last lines of a log, for errors: at most 40, each of at most 1 KiB.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tail {
    lines: Vec<String>,
    /// The last line lacks its line feed.
    open: bool,
}

impl Tail {
    /// The lines, oldest first, without line feeds.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The last lines of a text.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut tail = Self::default();
        for line in text.lines() {
            tail.push_line(line);
        }
        tail
    }

    /// Remembers what an event prints.
    pub fn push(&mut self, event: &Event) {
        match event {
            Event::Stdout(text) | Event::Stderr(text) => self.push_text(text),
            Event::Step { instruction, .. } => self.push_line(instruction),
            Event::Message(line) => self.push_line(line),
            Event::Cached { .. } | Event::Progress { .. } => {}
        }
    }

    fn push_text(&mut self, text: &str) {
        let line = text.strip_suffix('\n');
        let piece = line.unwrap_or(text);
        let piece = piece.strip_suffix('\r').unwrap_or(piece);
        match self.lines.last_mut() {
            Some(last) if self.open => {
                last.push_str(shortened(piece, WIDTH.saturating_sub(last.len())));
            }
            _ => self.push_line(piece),
        }
        self.open = line.is_none();
    }

    fn push_line(&mut self, line: &str) {
        if self.lines.len() == LINES {
            self.lines.remove(0);
        }
        self.lines.push(shortened(line, WIDTH).to_owned());
        self.open = false;
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.fmt(f)
    }
}

fn shortened(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(&Event::Stdout(format!("{n}\n")));
        }
        assert_eq!(tail.lines().len(), LINES);
        assert_eq!(tail.lines()[0], "60");
        assert_eq!(tail.lines()[LINES - 1], "99");
    }

    #[test]
    fn pieces_of_a_line_are_one_line_of_bounded_width() {
        let mut tail = Tail::default();
        tail.push(&Event::Stderr("€".repeat(300)));
        tail.push(&Event::Stderr("€".repeat(300)));
        tail.push(&Event::Stderr("end\r\n".to_owned()));
        tail.push(&Event::Message("next".to_owned()));
        assert_eq!(tail.lines().len(), 2);
        assert!(tail.lines()[0].len() <= WIDTH);
        assert_eq!(tail.lines()[1], "next");
    }
}
