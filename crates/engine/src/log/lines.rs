/// Longest piece of a line.
const LIMIT: usize = 16 << 10;

/// Cuts bytes into lines of repaired UTF-8, keeping at most one unfinished piece of a line.
///
/// ```
/// use engine::log::Lines;
///
/// let mut lines = Lines::default();
/// assert_eq!(lines.push(b"one\ntw"), ["one\n"]);
/// assert_eq!(lines.push(b"o\xff\n"), ["two\u{fffd}\n"]);
/// assert_eq!(lines.finish(), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives the lines that they complete, each with its line feed, and pieces of
    /// 16 KiB of lines that are longer.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let room = LIMIT - self.rest.len();
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let take = end.map_or(bytes.len(), |at| at + 1).min(room);
            self.rest.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.rest.last() == Some(&b'\n') {
                lines.push(repaired(&self.rest));
                self.rest.clear();
            } else if self.rest.len() == LIMIT {
                let cut = character_boundary(&self.rest);
                lines.push(repaired(&self.rest[..cut]));
                self.rest.drain(..cut);
            }
        }
        lines
    }

    /// The last line, if it has no line feed.
    pub fn finish(self) -> Option<String> {
        (!self.rest.is_empty()).then(|| repaired(&self.rest))
    }
}

fn repaired(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where to cut so that no character that may still be completed is torn.
fn character_boundary(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let at = bytes.len() - back;
        let length = match bytes[at] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let mut lines = Lines::default();
        let mut seen: Vec<String> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        seen.extend(lines.finish());
        assert_eq!(seen, expected, "{chunks:?}");
    }

    #[test]
    fn bytes_become_lines() {
        check(&[], &[]);
        check(&[b"a\nb\n"], &["a\n", "b\n"]);
        check(&[b"a", b"b\r\nc"], &["ab\r\n", "c"]);
        check(&[b"\n\n"], &["\n", "\n"]);
        check(&["ä\n".as_bytes()], &["ä\n"]);
        // Torn between two chunks.
        check(&[b"\xe2\x82", b"\xac\n"], &["€\n"]);
        check(
            &[b"\xff\xfe\n", b"\xe2\x82"],
            &["\u{fffd}\u{fffd}\n", "\u{fffd}"],
        );
    }

    #[test]
    fn a_long_line_comes_in_pieces_between_characters() {
        let text = format!("x{}\n", "€".repeat(20_000));
        let mut lines = Lines::default();
        let mut pieces = Vec::new();
        for chunk in text.as_bytes().chunks(777) {
            pieces.extend(lines.push(chunk));
            assert!(lines.rest.len() <= LIMIT);
        }
        assert!(pieces.iter().all(|piece| piece.len() <= LIMIT));
        assert_eq!(pieces.len(), text.len().div_ceil(LIMIT));
        assert_eq!(pieces.concat(), text);
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn garbage_makes_progress() {
        let mut lines = Lines::default();
        let pieces = lines.push(&vec![0x80; 3 * LIMIT]);
        assert_eq!(pieces.len(), 3);
    }
}
