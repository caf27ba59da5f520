use super::{Manifest, ManifestJob, source::Source};
use crate::launcher::Position;

/// One job per line; blank lines and lines that begin with `#`, indented or not, are skipped.
pub(super) fn parse(text: &str, fault: &mut dyn FnMut(usize, String)) -> Manifest {
    let mut manifest = Manifest::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches('\u{feff}').trim();
        if !content.is_empty() && !content.starts_with('#') {
            let offset = start + line.find(content).unwrap_or(0);
            match Source::any(content) {
                Ok(source) => manifest.jobs.push(ManifestJob {
                    source,
                    context: None,
                    entrypoint: None,
                    position: Position::of(text.as_bytes(), offset),
                }),
                Err(message) => fault(offset, message),
            }
        }
        start += line.len();
    }
    manifest
}
