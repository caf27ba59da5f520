//! What was had and what was not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::Path;

use crate::failure::{Failure, Result, USAGE};
use crate::table::Table;
use crate::workspace;

use super::home;

/// The parts in the order in which they were tried, and the variables of those that work.
#[derive(Debug, Default)]
pub(super) struct Report {
    parts: Vec<(String, Result<String, String>)>,
    env: BTreeMap<String, String>,
}

impl Report {
    /// Sets a variable of the peers file.
    pub(super) fn set(&mut self, key: &str, value: impl Display) {
        self.env.insert(key.to_owned(), value.to_string());
    }

    /// Notes a part that works.
    pub(super) fn have(&mut self, part: &str, what: impl Display) {
        self.parts.push((part.to_owned(), Ok(what.to_string())));
    }

    /// Notes a part that could not be had, with the reason.
    pub(super) fn lack(&mut self, part: &str, reason: impl Display) {
        self.parts.push((part.to_owned(), Err(reason.to_string())));
    }

    /// Notes a part either way and passes it on if it works.
    pub(super) fn part<T: Part>(&mut self, part: &str, made: Result<T>) -> Option<T> {
        match made {
            Ok(it) => {
                self.have(part, it.what());
                it.variables(self);
                Some(it)
            }
            Err(failure) => {
                self.lack(part, failure);
                None
            }
        }
    }

    /// One line for each part.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&["part", "state", "what"]);
        for (part, outcome) in &self.parts {
            let (state, what) = match outcome {
                Ok(what) => ("ready", what),
                Err(reason) => ("MISSING", reason),
            };
            table.row([part.clone(), state.to_owned(), what.clone()]);
        }
        table.render()
    }

    /// Writes the peers file.
    pub(super) fn write_env(&self, file: &Path) -> Result<()> {
        let lines: String = self
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        home::write(file, &lines)
    }

    /// Whether the task failed: not because a part is missing, unless parts are required or this
    /// machine is one on which none can be installed.
    pub(super) fn verdict(&self, can_install: bool) -> Result<()> {
        let missing: Vec<&str> = self
            .parts
            .iter()
            .filter(|(_, had)| had.is_err())
            .map(|(part, _)| &**part)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        if !can_install {
            let message = format!(
                "missing: {missing}; they can be installed on Debian as root only, elsewhere please \
                 install and start them yourself"
            );
            return Err(Failure::with_status(USAGE, message));
        }
        if workspace::flag("REQUIRE_PEERS") {
            return Err(Failure::new(format!(
                "missing, while REQUIRE_PEERS is set: {missing}"
            )));
        }
        Ok(())
    }
}

/// Something that a part's start returns.
pub(super) trait Part {
    /// What it is, for the table.
    fn what(&self) -> String;

    /// Adds its variables.
    fn variables(&self, _report: &mut Report) {}
}

impl Part for String {
    fn what(&self) -> String {
        self.clone()
    }
}

impl Part for std::path::PathBuf {
    fn what(&self) -> String {
        self.display().to_string()
    }
}

/// Reads a peers file; a missing one has no variables.
pub(super) fn read_env(file: &Path) -> BTreeMap<String, String> {
    parse_env(&fs::read_to_string(file).unwrap_or_default())
}

fn parse_env(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_contain_the_separator() {
        let env = parse_env("A=1\nB=x=y z\n\n");
        assert_eq!(env.get("B").map(String::as_str), Some("x=y z"));
        assert_eq!(env.len(), 2);
    }

    #[test]
    fn a_missing_part_is_usage_where_nothing_can_be_installed() {
        let mut report = Report::default();
        report.have("tar", "1.34");
        assert!(report.verdict(false).is_ok());
        report.lack("podman", "no program is called `podman`");
        let failure = report.verdict(false).expect_err("a part is missing");
        assert_eq!(failure.status(), USAGE);
        assert!(
            failure.to_string().starts_with("missing: podman;"),
            "{failure}"
        );
    }

    #[test]
    fn the_table_says_why() {
        let mut report = Report::default();
        report.lack("umoci", "not packaged");
        assert_eq!(
            report.table(),
            "part   state    what\numoci  MISSING  not packaged\n"
        );
    }
}
