//! The `classpath.jar` of a job, which holds nothing but a manifest with a `Class-Path`.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::rewrite::Rename;

const MANIFEST: &str = "META-INF/MANIFEST.MF";
/// Longest manifest that is read: 16 MiB.
const MAX_MANIFEST: u64 = 16 << 20;
/// Longest line in bytes without its end (JAR File Specification, "Line length").
const MAX_LINE: usize = 72;

/// Keeps renamed files in step in the manifest of a jar; none if it names none of them. All other
/// entries are copied as they are.
pub(crate) fn rename(
    jar: &Bytes,
    renames: &[Rename],
) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let mut archive = ZipArchive::new(Cursor::new(jar.clone()))?;
    let Some(at) = archive.index_for_name(MANIFEST) else {
        return Ok(None);
    };
    let mut manifest = Vec::new();
    archive
        .by_index(at)?
        .take(MAX_MANIFEST + 1)
        .read_to_end(&mut manifest)?;
    if manifest.len() as u64 > MAX_MANIFEST {
        return Err(format!("`{MANIFEST}` is larger than {MAX_MANIFEST} bytes").into());
    }
    let Some(edited) = rename_in_manifest(&manifest, renames) else {
        return Ok(None);
    };
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if index == at {
            // The time of the entry that it replaces, so that the same jar gives the same bytes.
            let options = SimpleFileOptions::default()
                .last_modified_time(entry.last_modified().unwrap_or_default());
            drop(entry);
            writer.start_file(MANIFEST, options)?;
            writer.write_all(&edited)?;
        } else {
            writer.raw_copy_file(entry)?;
        }
    }
    Ok(Some(writer.finish()?.into_inner().into()))
}

/// Renames in the `Class-Path` of the main section; none if nothing changes.
fn rename_in_manifest(manifest: &[u8], renames: &[Rename]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(manifest.len());
    let mut changed = false;
    let mut lines = manifest.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let content = line.trim_ascii_end();
        let is_class_path = content
            .get(..11)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"Class-Path:"));
        if !is_class_path {
            out.extend_from_slice(line);
            continue;
        }
        let end: &[u8] = if line.ends_with(b"\r\n") {
            b"\r\n"
        } else {
            b"\n"
        };
        let mut raw = line.to_vec();
        let mut whole = without_end(line).to_vec();
        while let Some(more) = lines.next_if(|line| line.starts_with(b" ")) {
            raw.extend_from_slice(more);
            whole.extend_from_slice(&without_end(more)[1..]);
        }
        let renamed = renames
            .iter()
            .fold(whole.clone(), |text, rename| replaced(&text, rename));
        if renamed == whole {
            out.extend_from_slice(&raw);
            continue;
        }
        changed = true;
        fold(&renamed, end, &mut out);
    }
    changed.then_some(out)
}

fn replaced(text: &[u8], rename: &Rename) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for found in rename.occurrences(text) {
        out.extend_from_slice(&text[at..found]);
        out.extend_from_slice(rename.to().as_bytes());
        at = found + rename.from().len();
    }
    out.extend_from_slice(&text[at..]);
    out
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Breaks a header into lines that are not too long.
fn fold(header: &[u8], end: &[u8], out: &mut Vec<u8>) {
    let (first, rest) = header.split_at(header.len().min(MAX_LINE));
    out.extend_from_slice(first);
    out.extend_from_slice(end);
    for chunk in rest.chunks(MAX_LINE - 1) {
        out.push(b' ');
        out.extend_from_slice(chunk);
        out.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Vec<u8> {
        let class_path = "Class-Path: ../lib/routines.jar ../lib/myroutines.jar ../lib/dom4j-1.6.1\r\n \
             .jar ../lib/rou\r\n tines.jar load_0_1.jar \r\n";
        format!("Manifest-Version: 1.0\r\n{class_path}Created-By: routines.jar\r\n\r\n")
            .into_bytes()
    }

    #[test]
    fn names_are_renamed_across_folded_lines() {
        let rename = [Rename::new("routines.jar", "routines_load.jar")];
        let edited = rename_in_manifest(&manifest(), &rename).unwrap();
        let text = String::from_utf8(edited.clone()).unwrap();
        assert!(text.lines().all(|line| line.len() <= MAX_LINE));
        let unfolded = text.replace("\r\n ", "");
        assert_eq!(
            unfolded,
            "Manifest-Version: 1.0\r\nClass-Path: ../lib/routines_load.jar ../lib/myroutines.jar \
             ../lib/dom4j-1.6.1.jar ../lib/routines_load.jar load_0_1.jar \r\n\
             Created-By: routines.jar\r\n\r\n"
        );
        assert_eq!(rename_in_manifest(&edited, &rename), None);
    }

    #[test]
    fn a_jar_keeps_its_other_entries() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default();
        writer.start_file(MANIFEST, options).unwrap();
        writer.write_all(&manifest()).unwrap();
        writer.start_file("other", options).unwrap();
        writer.write_all(b"routines.jar").unwrap();
        let jar: Bytes = writer.finish().unwrap().into_inner().into();
        let renames = [Rename::new("routines.jar", "routines_load.jar")];
        let edited = rename(&jar, &renames).unwrap().unwrap();
        let mut archive = ZipArchive::new(Cursor::new(edited.clone())).unwrap();
        let mut other = String::new();
        archive
            .by_name("other")
            .unwrap()
            .read_to_string(&mut other)
            .unwrap();
        assert_eq!(other, "routines.jar");
        assert_eq!(rename(&edited, &renames).unwrap(), None);
        assert_eq!(rename(&jar, &renames).unwrap().unwrap(), edited);
        assert!(rename(&Bytes::from_static(b"no zip"), &renames).is_err());
    }
}
