//! Which job of an image is started.

use std::collections::BTreeMap;

use ocicore::Class;

use crate::{Failure, Result};

/// What an image says of the jobs in it.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    pub(super) labels: BTreeMap<String, String>,
    /// Its environment, as `NAME=VALUE`.
    pub(super) env: Vec<String>,
    /// What it starts by itself; nothing if empty.
    pub(super) entrypoint: Vec<String>,
}

impl Jobs {
    /// Directory of all jobs in the image.
    pub(super) fn parent(&self) -> &str {
        let mut values = self.env.iter().filter_map(|one| one.split_once('='));
        let parent = values.find(|(name, _)| *name == "JOB_PARENT_DIR");
        parent.map_or("/talend", |(_, directory)| directory)
    }

    /// What starts `job`; none where the image starts it by itself.
    ///
    /// # Errors
    /// If the image has no such job, or starts nothing by itself and none is chosen.
    pub(super) fn start(&self, job: Option<&str>) -> Result<Option<String>> {
        let several = self.labels.get("talend.entrypoints");
        let names: Vec<&str> = several.map_or(Vec::new(), |names| names.split(',').collect());
        let starts = !self.entrypoint.is_empty();
        match (job, self.labels.get("talend.job.name")) {
            (Some(job), _) if several.is_some() && !names.contains(&job) => {
                let error = format!("the image has no job `{job}`, only {}", quoted(&names));
                Err(Failure::new(Class::NotFound, error))
            }
            (Some(_), _) if names.len() == 1 && starts => Ok(None),
            (Some(job), _) if several.is_some() => Ok(Some(format!("{}/bin/{job}", self.parent()))),
            (Some(job), Some(only)) if only == job => Ok(None),
            (Some(job), Some(only)) => {
                let error = format!("the image has no job `{job}`, only `{only}`");
                Err(Failure::new(Class::NotFound, error))
            }
            (Some(_), None) => {
                let error = "the image was not made by job2docker: its labels name no job";
                Err(Failure::new(Class::Invalid, error))
            }
            (None, _) if several.is_some() && !starts => {
                let error = "the image has several jobs, and starts none by itself";
                let hint = format!("choose one by `--job`: {}", names.join(", "));
                Err(Failure::new(Class::Invalid, error).with_hint(hint))
            }
            (None, _) => Ok(None),
        }
    }
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: &[&str] = &["/jobs/bin/load"];
    const NOTHING: &[&str] = &[];

    fn check(label: (&str, &str), starts: &[&str], job: Option<&str>, expected: &str) {
        let jobs = Jobs {
            labels: BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]),
            env: vec!["A=".to_owned(), "JOB_PARENT_DIR=/jobs".to_owned()],
            entrypoint: starts.iter().map(ToString::to_string).collect(),
        };
        let shown = match jobs.start(job) {
            Ok(Some(path)) => path,
            Ok(None) => "itself".to_owned(),
            Err(failure) => match failure.hint() {
                Some(hint) => format!("{failure}; {hint}"),
                None => failure.to_string(),
            },
        };
        assert_eq!(shown, expected, "{label:?} {starts:?} {job:?}");
    }

    #[test]
    fn a_job_must_be_in_the_image() {
        let several = ("talend.entrypoints", "load,nightly");
        check(several, STARTS, None, "itself");
        check(several, STARTS, Some("load"), "/jobs/bin/load");
        check(several, NOTHING, Some("nightly"), "/jobs/bin/nightly");
        let missing = "the image has no job `export`, only `load`, `nightly`";
        check(several, STARTS, Some("export"), missing);
        let choose = "the image has several jobs, and starts none by itself; \
                      choose one by `--job`: load, nightly";
        check(several, NOTHING, None, choose);

        // The one job of a manifest; on a base without a shell its script would not run.
        let single = ("talend.entrypoints", "load");
        check(single, STARTS, Some("load"), "itself");
        check(
            single,
            STARTS,
            Some("x"),
            "the image has no job `x`, only `load`",
        );

        let one = ("talend.job.name", "load");
        check(one, STARTS, None, "itself");
        check(one, STARTS, Some("load"), "itself");
        check(
            one,
            STARTS,
            Some("x"),
            "the image has no job `x`, only `load`",
        );

        let foreign = ("maintainer", "me");
        check(foreign, NOTHING, None, "itself");
        let unknown = "the image was not made by job2docker: its labels name no job";
        check(foreign, STARTS, Some("load"), unknown);
    }
}
