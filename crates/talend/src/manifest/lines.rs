use super::{Manifest, ManifestJob, source::Source};
use crate::launcher::Position;

/// One job per line; blank lines and lines that begin with `#`, indented or not, are skipped.
pub(super) fn parse(text: &str, fault: &mut dyn FnMut(usize, String)) -> Manifest {
    let mut manifest = Manifest::default();
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_start_matches('\u{feff}').trim();
        if !content.is_empty() && !content.starts_with('#') {
            let indent = line.find(content).unwrap_or(0);
            match Source::any(content) {
                Ok(source) => manifest.jobs.push(ManifestJob {
                    source,
                    context: None,
                    entrypoint: None,
                    position: Position {
                        line: index + 1,
                        column: line[..indent].chars().count() + 1,
                    },
                }),
                Err(message) => fault(start + indent, message),
            }
        }
        start += line.len();
    }
    manifest
}
