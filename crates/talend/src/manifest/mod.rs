//! Manifests: the jobs that are released together.
//!
//! The original's form is one URL per line, with `#` before comments; ours takes coordinates and
//! files, too. The TOML form says more:
//!
//! ```toml
//! [application]
//! name = "orders"
//! version = "1.2"
//! default = "load"            # what the image starts
//!
//! [[job]]
//! coordinates = "org.example:load:0.1.0"
//! context = "Production"
//!
//! [[job]]
//! url = "https://nexus.example.com/repository/releases/org/example/export-0.3.0.zip"
//! entrypoint = "export-orders"
//!
//! [[job]]
//! file = "built/report_0.1.zip"
//! ```

mod lines;
mod source;
mod toml;

use std::{collections::BTreeMap, fmt};

use crate::{Error, Result, launcher::Position};
pub use source::{Coordinates, Source};

/// The jobs of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Name of the application, if the manifest says so.
    pub name: Option<String>,
    /// Version of the application, if the manifest says so.
    pub version: Option<String>,
    /// Maven group in which it is published, if the manifest says so.
    pub group: Option<String>,
    /// Name of the entry point that an image starts, if the manifest says so.
    pub default: Option<String>,
    /// The jobs in the order of the manifest.
    pub jobs: Vec<ManifestJob>,
}

/// One job of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ManifestJob {
    /// Where its built job is.
    pub source: Source,
    /// The context to run with, if the manifest says so.
    pub context: Option<String>,
    /// Name of its entry point, if the manifest says so; else that of the job.
    pub entrypoint: Option<String>,
    /// Where the manifest says all this.
    pub position: Position,
}

/// Something wrong in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestFault {
    /// Where.
    pub position: Position,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Manifest {
    /// Parses a manifest; `name` is that of the file: what ends in `.toml` is TOML, else there is
    /// a job on each line.
    ///
    /// # Errors
    /// [`Error::Manifest`] with all that is wrong in it.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self> {
        let mut faults = Vec::new();
        let mut fault = |offset, message: String| {
            faults.push(ManifestFault {
                position: Position::of(text, offset),
                message,
            });
        };
        let manifest = match std::str::from_utf8(text) {
            Err(error) => {
                fault(error.valid_up_to(), "it is not UTF-8".to_owned());
                Self::default()
            }
            Ok(text) if is_toml(name) => toml::parse(text, &mut fault),
            Ok(text) => lines::parse(text, &mut fault),
        };
        if faults.is_empty() && manifest.jobs.is_empty() {
            faults.push(ManifestFault {
                position: Position::of(text, text.len()),
                message: "it names no job".to_owned(),
            });
        }
        faults.extend(duplicates(&manifest.jobs));
        if faults.is_empty() {
            return Ok(manifest);
        }
        faults.sort_by_key(|fault| fault.position);
        Err(Error::Manifest {
            path: name.to_owned(),
            faults,
        })
    }
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.message)
    }
}

fn is_toml(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("toml"))
}

fn duplicates(jobs: &[ManifestJob]) -> Vec<ManifestFault> {
    let mut seen: BTreeMap<&Source, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for job in jobs {
        let line = *seen.entry(&job.source).or_insert(job.position.line);
        if line != job.position.line {
            faults.push(ManifestFault {
                position: job.position,
                message: format!("`{}` is on line {line} already", job.source),
            });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(name: &str, text: &str) -> String {
        match Manifest::parse(name, text.as_bytes()) {
            Ok(manifest) => serde_json::to_string_pretty(&manifest).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn lines_may_be_blank_indented_and_end_as_on_windows() {
        let text = "\u{feff}# jobs\r\n\r\n  # indented\r\nhttp://nexus:8081/a/load-0.1.0.zip\r\n\
                    \t https://nexus/b/export_0.3.zip \r\norg.example:report:1.0.0\r\n\
                    built/last_0.1.zip";
        insta::assert_snapshot!(shown("jobs.txt", text));
    }

    #[test]
    fn all_bad_lines_are_reported() {
        let mut text = String::new();
        for number in 0..50 {
            text.push_str(&format!("http://nexus/job{number}_0.1.zip\n"));
        }
        let text = text
            .replace("http://nexus/job7_", "htp://nexus/job7_")
            .replace("nexus/job9_", "me:secret@nexus/job9_")
            .replace("job20_0.1.zip", "job20 0.1.zip")
            .replace("nexus/job33_0.1.zip", "")
            .replace("nexus/job34_0.1.zip", "nexus/")
            .replace("http://nexus/job35_0.1.zip", "a:b")
            .replace("job49", "job48");
        insta::assert_snapshot!(shown("jobs.txt", &text));
        insta::assert_snapshot!(shown("jobs.txt", "# nothing\n"), @"jobs.txt:2:1: it names no job");
    }

    #[test]
    fn toml_says_more() {
        let text = r#"
            [application]
            name = "orders"
            version = "1.2"
            group = "org.example"
            default = "load"

            [[job]]
            coordinates = "org.example:load:0.1.0-SNAPSHOT:dist"
            context = "Production"

            [[job]]
            url = "https://nexus.example.com/export-0.3.0.zip"
            entrypoint = "export-orders"

            [[job]]
            file = "built/report_0.1.zip"
        "#;
        insta::assert_snapshot!(shown("jobs.toml", text));
    }

    #[test]
    fn all_faults_of_a_toml_manifest_are_reported() {
        let text = r#"
version = "1"
[application]
nam = "orders"
version = 1.2
[[job]]
url = "https://nexus/export-0.3.0.zip"
file = "report_0.1.zip"
[[job]]
context = "Production"
[[job]]
coordinates = "a:b"
contxt = "x"
"#;
        insta::assert_snapshot!(shown("jobs.toml", text));
        insta::assert_snapshot!(shown("jobs.toml", "[application\n"));
        insta::assert_snapshot!(shown("jobs.toml", "job = 1\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|[a-z:/.\\[\\]=\"#\n ]{0,60}") {
            let _ = Manifest::parse("a.txt", text.as_bytes());
            let _ = Manifest::parse("a.toml", text.as_bytes());
        }
    }
}
