use super::edit::Edits;
use crate::report::EditKind;

/// A file name that changes wherever a launcher or a class path names it.
///
/// Only whole names match: `routines.jar` is no part of `myroutines.jar` or `routines.jar.bak`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rename {
    from: String,
    to: String,
}

impl Rename {
    /// A file is called `to` that was called `from`; both without directories.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
        }
    }

    /// The old name.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The new name.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Offsets of the old name in `text`.
    pub(crate) fn occurrences(&self, text: &[u8]) -> Vec<usize> {
        let name = self.from.as_bytes();
        if name.is_empty() {
            return Vec::new();
        }
        text.windows(name.len())
            .enumerate()
            .filter(|(at, window)| {
                *window == name
                    && !at
                        .checked_sub(1)
                        .is_some_and(|before| is_name(text[before]))
                    && !text.get(at + name.len()).copied().is_some_and(is_name)
            })
            .map(|(at, _)| at)
            .collect()
    }

    pub(super) fn apply(&self, text: &[u8], edits: &mut Edits<'_>) {
        for at in self.occurrences(text) {
            edits.replace(EditKind::Rename, at..at + self.from.len(), &self.to);
        }
    }
}

/// Whether a byte goes on with a file name, bytes beyond ASCII included.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.+".contains(&byte) || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_match() {
        let rename = Rename::new("routines.jar", "routines_a.jar");
        for (text, expected) in [
            ("../lib/routines.jar:x", 1),
            ("..\\lib\\routines.jar;..\\lib\\routines.jar;", 2),
            ("routines.jar", 1),
            ("'routines.jar'", 1),
            (
                "lib/myroutines.jar:lib/my-routines.jar:lib/routines.jar.bak",
                0,
            ),
            ("routines_a.jar routinesxjar", 0),
        ] {
            assert_eq!(
                rename.occurrences(text.as_bytes()).len(),
                expected,
                "{text}"
            );
        }
    }
}
