//! The tests that had to do without a peer.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// What a test helper writes down: lines `test name: skipped: no TOOL`.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// How often each test lacked each thing: crates may have tests of one name.
    lacked: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Skipped {
    pub(super) fn parse(text: &str) -> Self {
        let mut skipped = Self::default();
        for line in text.lines() {
            // A line of another form is a skip, too.
            let (test, why) = line
                .split_once(": skipped: ")
                .unwrap_or((line, "no reason given"));
            if !test.is_empty() {
                let reasons = skipped.lacked.entry(test.to_owned()).or_default();
                *reasons.entry(why.to_owned()).or_default() += 1;
            }
        }
        skipped
    }

    /// The number of tests. One that lacks two things counts once.
    pub(super) fn tests(&self) -> usize {
        self.lacked.values().map(tests_of_one_name).sum()
    }
}

impl Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (test, reasons) in &self.lacked {
            let why: Vec<&str> = reasons.keys().map(String::as_str).collect();
            write!(f, "  {test}: {}", why.join(", "))?;
            match tests_of_one_name(reasons) {
                1 => writeln!(f)?,
                more => writeln!(f, " ({more} tests)")?,
            }
        }
        let mut by_reason = BTreeMap::<&str, usize>::new();
        for (why, times) in self.lacked.values().flatten() {
            *by_reason.entry(why).or_default() += times;
        }
        let totals: Vec<String> = by_reason
            .iter()
            .map(|(why, times)| format!("{why}: {times}"))
            .collect();
        writeln!(f, "  in all {} ({})", self.tests(), totals.join(", "))
    }
}

fn tests_of_one_name(reasons: &BTreeMap<String, usize>) -> usize {
    reasons.values().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_sorted_and_counted() {
        let text = "\
z::last: skipped: no SKOPEO
a::first: skipped: no DOCKER
a::first: skipped: no DOCKER
z::last: skipped: no UMOCI
";
        let skipped = Skipped::parse(text);
        assert_eq!(skipped.tests(), 3);
        assert_eq!(
            skipped.to_string(),
            "  a::first: no DOCKER (2 tests)\n  z::last: no SKOPEO, no UMOCI\n  in all 3 (no \
             DOCKER: 2, no SKOPEO: 1, no UMOCI: 1)\n"
        );
    }

    #[test]
    fn no_line_is_no_skip() {
        assert_eq!(Skipped::parse("").tests(), 0);
    }
}
