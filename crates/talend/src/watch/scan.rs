//! What is in the folder.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::Stamp;

/// Deepest directory that is looked into.
const MAX_DEPTH: usize = 64;

/// The zips in a folder.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Path below the folder, with `/`, to stamp.
    pub(crate) files: BTreeMap<String, Stamp>,
    /// What could not be looked at, and why.
    pub(crate) faults: BTreeMap<String, String>,
}

/// Finds all zips in a folder and its directories. Hidden files and directories are passed over, and
/// so are symbolic links to directories, which could lead in circles.
///
/// # Errors
/// If the folder itself cannot be read. What is wrong below it is a fault of its path.
pub(crate) fn scan(folder: &Path) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let mut waiting = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((directory, prefix, depth)) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            // Gone since its parent was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                seen.faults.insert(prefix, error.to_string());
                continue;
            }
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let path = format!("{prefix}{}", name.to_string_lossy());
                let fault = "its name is not UTF-8".to_owned();
                seen.faults.insert(path, fault);
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                match depth < MAX_DEPTH {
                    true => waiting.push((entry.path(), path + "/", depth + 1)),
                    false => {
                        let fault = format!("it lies deeper than {MAX_DEPTH} directories");
                        seen.faults.insert(path, fault);
                    }
                }
                continue;
            }
            if !is_zip(name) {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => {
                    seen.files.insert(path, Stamp::of(&metadata));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    seen.faults.insert(path, error.to_string());
                }
            }
        }
    }
    Ok(seen)
}

fn is_zip(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end);
    end.is_some_and(|end| end.eq_ignore_ascii_case("zip"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn zips_are_found_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("team/eu")).unwrap();
        fs::create_dir_all(at(".hidden")).unwrap();
        fs::create_dir_all(at("directory.zip")).unwrap();
        for file in [
            "a_0.1.zip",
            "team/eu/B.ZIP",
            "notes.txt",
            ".tmp.zip",
            ".hidden/c.zip",
            "zip",
        ] {
            fs::write(at(file), "x").unwrap();
        }
        symlink(folder.path(), at("team/round")).unwrap();
        symlink(at("a_0.1.zip"), at("team/link.zip")).unwrap();
        symlink(at("nowhere"), at("team/broken.zip")).unwrap();
        let seen = scan(folder.path()).unwrap();
        let paths: Vec<_> = seen.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a_0.1.zip", "team/eu/B.ZIP", "team/link.zip"]);
        assert!(seen.faults.is_empty(), "{:?}", seen.faults);
        assert!(scan(&at("nowhere")).is_err());
    }

    #[test]
    fn a_stamp_tells_a_file_from_what_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::write(at("a.zip"), "one").unwrap();
        let first = Stamp::read(&at("a.zip")).unwrap();
        assert_eq!(first, Stamp::read(&at("a.zip")).unwrap());
        fs::write(at("b"), "two").unwrap();
        fs::rename(at("b"), at("a.zip")).unwrap();
        assert_ne!(first, Stamp::read(&at("a.zip")).unwrap());
    }
}
