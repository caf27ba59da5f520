//! What `imggate` does: the parts of `gating` with a registry server and a registry client.

use std::{fs, path::Path};

use gating::{artifacts::Record, buildset::BuildsetRegistry};

use crate::{Failure, Result};

mod promote;
mod run_buildset;
mod upload;
mod use_buildset;

pub use promote::Promote;
pub use run_buildset::RunBuildset;
pub use upload::Upload;
pub use use_buildset::{Client, UseBuildset};

impl From<gating::Error> for Failure {
    fn from(error: gating::Error) -> Self {
        match error {
            gating::Error::Store(error) => error.into(),
            error => {
                let hint = error.hint();
                let failure = Self::new(error.class(), error);
                match hint {
                    Some(hint) => failure.with_hint(hint),
                    None => failure,
                }
            }
        }
    }
}

/// Reads what `run-buildset` wrote.
fn read_buildset(path: &Path) -> Result<BuildsetRegistry> {
    Ok(BuildsetRegistry::parse(
        &path.display().to_string(),
        &read(path)?,
    )?)
}

/// Reads what `upload` wrote.
fn read_record(path: &Path) -> Result<Record> {
    Ok(Record::parse(&path.display().to_string(), &read(path)?)?)
}

fn read(path: &Path) -> Result<String> {
    Ok(fs::read_to_string(path).map_err(|error| gating::Error::io("read", path, error))?)
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}
