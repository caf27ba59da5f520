use std::{fmt, path::PathBuf, str::FromStr};

use ocicore::Error;
use talend::{Job, naming};

use crate::{Place, Result};

/// What stands for the job's name.
const JOB: &str = "{job}";
/// What stands for the job's version.
const VERSION: &str = "{version}";

/// A place for an image. Closed: `{job}` and `{version}` are in it, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This place.
    Place(Place),
    /// A place in whose name `{job}` and `{version}` stand for those of the job, as registries want
    /// them.
    Named(String),
}

/// A path of an archive. Closed: `{job}` and `{version}` are in it, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePath {
    /// This path.
    Path(PathBuf),
    /// A path in which `{job}` and `{version}` stand for those of the job, as they are.
    Named(String),
}

impl Target {
    /// The place for a job.
    ///
    /// # Errors
    /// If the job's name cannot be one of an image.
    pub fn place(&self, job: &Job) -> Result<Place> {
        match self {
            Self::Place(place) => Ok(place.clone()),
            Self::Named(template) => {
                let name = naming::image_name(&job.name)?;
                let tag = naming::image_tag(&job.version)?;
                Ok(filled(template, name.as_str(), tag.as_str()).parse()?)
            }
        }
    }

    /// Whether each job has a place of its own.
    pub fn names_the_job(&self) -> bool {
        matches!(self, Self::Named(template) if template.contains(JOB))
    }
}

impl ArchivePath {
    /// The path for a job, whose name and version have no separator.
    pub fn path(&self, job: &Job) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Named(template) => filled(template, &job.name, &job.version).into(),
        }
    }

    /// Whether each job has a path of its own.
    pub fn names_the_job(&self) -> bool {
        matches!(self, Self::Named(template) if template.contains(JOB))
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        if !is_template("place for images", input)? {
            return Ok(Self::Place(input.parse()?));
        }
        filled(input, "job", "0.1").parse::<Place>()?;
        Ok(Self::Named(input.to_owned()))
    }
}

impl FromStr for ArchivePath {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        match is_template("path of an archive", input)? {
            true => Ok(Self::Named(input.to_owned())),
            false => Ok(Self::Path(input.into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Named(template) => f.write_str(template),
        }
    }
}

fn filled(template: &str, job: &str, version: &str) -> String {
    template.replace(JOB, job).replace(VERSION, version)
}

/// Only the two placeholders may be there, so that a slip is no name of a file.
fn is_template(what: &'static str, input: &str) -> Result<bool, Error> {
    const EXPECTED: &str = "expected no braces but those of {job} and {version}";
    let rest = filled(input, "", "");
    match rest.contains(['{', '}']) {
        true => Err(Error::parse(what, input, EXPECTED)),
        false => Ok(rest != input),
    }
}

#[cfg(test)]
mod tests {
    use ocicore::Cx;
    use repack::{Entry, Tree};

    use super::*;

    fn job() -> Job {
        let mut tree = Tree::new();
        let launcher = Entry::file("#!/bin/sh\njava a.B \"$@\"\n");
        let path = "_Load_Orders/_Load_Orders_run.sh".parse().unwrap();
        tree.insert(path, launcher).unwrap();
        let options = talend::ConvertOptions::default();
        let found = talend::inspect(&Cx::default(), &tree, "_Load_Orders_0.1.zip", &options);
        found.unwrap().job
    }

    #[test]
    fn placeholders_become_names() {
        let target: Target = "docker://h.io/team/{job}:{version}".parse().unwrap();
        let place = target.place(&job()).unwrap();
        assert_eq!(place.to_string(), "docker://h.io/team/load_orders:0.1");
        let path: ArchivePath = "out/{job}_{version}.tgz".parse().unwrap();
        assert_eq!(path.path(&job()), PathBuf::from("out/_Load_Orders_0.1.tgz"));
        for input in [
            "oci:{name}",
            "oci:{job",
            "docker://h.io/{job}/{version}/{x}",
            "s3:{job}",
        ] {
            assert!(input.parse::<Target>().is_err(), "{input}");
        }
        assert!("{jobs}.tgz".parse::<ArchivePath>().is_err());
    }
}
