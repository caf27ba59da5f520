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
    let text = read(path, "`imggate run-buildset` writes it")?;
    Ok(BuildsetRegistry::parse(&path.display().to_string(), &text)?)
}

/// Reads what `upload` wrote.
fn read_record(path: &Path) -> Result<Record> {
    let text = read(path, "`imggate upload` writes it")?;
    Ok(Record::parse(&path.display().to_string(), &text)?)
}

/// Reads a file; `origin` says where it comes from, should it be missing.
fn read(path: &Path, origin: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let failure = Failure::from(gating::Error::io("read", path, error));
        if missing {
            failure.with_hint(origin)
        } else {
            failure
        }
    })
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}
