//! What test runners say at their end.

use std::fmt::{self, Display};
use std::ops::Add;

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    /// The same count with tests moved from passed to skipped: a runner takes a test that returned
    /// early for one that passed.
    pub(super) fn without(self, skipped: usize) -> Self {
        let passed = self.passed.saturating_sub(skipped);
        Self {
            passed,
            skipped: self.skipped + skipped,
            ..self
        }
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            passed: self.passed + more.passed,
            failed: self.failed + more.failed,
            skipped: self.skipped + more.skipped,
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The count of nextest's summary; none if there is none or not every test was run.
pub(super) fn nextest(output: &str) -> Option<Count> {
    let output = without_colors(output);
    let summary = output
        .lines()
        .rfind(|line| line.trim_start().starts_with("Summary ["))?;
    let (run, outcomes) = summary.split_once("] ")?.1.split_once(" run: ")?;
    // `3 tests`, or `3/5 tests` when the run was cut short.
    let run: usize = run.split(' ').next()?.trim().parse().ok()?;
    let mut count = Count::default();
    for outcome in without_parentheses(outcomes).split(',') {
        let (number, what) = outcome.trim().split_once(' ')?;
        let number: usize = number.parse().ok()?;
        match what.trim() {
            "passed" => count.passed = number,
            "skipped" => count.skipped = number,
            // Failed, timed out, could not be started.
            _ => count.failed += number,
        }
    }
    (count.passed + count.failed == run).then_some(count)
}

/// The sum of cargo's results, one for each test program; none if there are none.
pub(super) fn cargo(output: &str) -> Option<Count> {
    let output = without_colors(output);
    let results = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: "));
    let counts: Vec<Count> = results.map(cargo_line).collect::<Option<_>>()?;
    (!counts.is_empty()).then(|| counts.into_iter().fold(Count::default(), Add::add))
}

fn cargo_line(line: &str) -> Option<Count> {
    let (_, outcomes) = line.split_once(". ")?;
    let number = |what: &str| -> Option<usize> {
        let found = outcomes
            .split(';')
            .find_map(|one| one.trim().strip_suffix(what))?;
        found.trim().parse().ok()
    };
    Some(Count {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
    })
}

/// The text without escape sequences of terminals.
fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or("", |end| &after[end + 1..]);
    }
    plain + rest
}

/// The text without remarks such as `(1 slow, 2 flaky)`.
fn without_parentheses(text: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: fn(&str) -> Option<Count>, output: &str, expected: Option<&str>) {
        assert_eq!(
            count(output).map(|count| count.to_string()).as_deref(),
            expected,
            "{output}"
        );
    }

    #[test]
    fn nextest_summaries() {
        let cases = [
            (
                "     Summary [   0.1s] 2 tests run: 2 passed, 0 skipped\n",
                Some("2 passed, 0 failed, 0 skipped"),
            ),
            (
                "\u{1b}[31;1m     Summary\u{1b}[0m [   0.0s] \u{1b}[1m3\u{1b}[0m tests run: \
                 \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 2 failed, 1 skipped\n  FAIL x\n",
                Some("1 passed, 2 failed, 1 skipped"),
            ),
            (
                "Summary [ 1s] 9 tests run: 5 passed (1 slow, 2 flaky), 1 failed, 1 exec failed, 2 \
                 timed out, 3 skipped",
                Some("5 passed, 4 failed, 3 skipped"),
            ),
            (
                "Summary [ 1s] 1 test run: 1 passed, 0 skipped",
                Some("1 passed, 0 failed, 0 skipped"),
            ),
            (
                "Summary [ 1s] 3/9 tests run: 2 passed, 1 failed, 0 skipped",
                None,
            ),
            ("error: could not compile", None),
        ];
        for (output, expected) in cases {
            check(nextest, output, expected);
        }
    }

    #[test]
    fn cargo_results_are_summed() {
        let output = "\
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
   Doc-tests x
test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s
";
        check(cargo, output, Some("4 passed, 2 failed, 1 skipped"));
        check(cargo, "error: could not compile", None);
    }

    #[test]
    fn a_skip_is_no_pass() {
        let count = Count {
            passed: 5,
            failed: 1,
            skipped: 0,
        };
        assert_eq!(
            count.without(2).to_string(),
            "3 passed, 1 failed, 2 skipped"
        );
    }
}
