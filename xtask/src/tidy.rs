//! `cargo xtask tidy`: what neither rustfmt nor clippy looks at.

use std::env;
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

mod manifest;
mod readme;
mod source;

use crate::failure::{Context as _, Failure, Result, USAGE};
use crate::workspace;

/// Folders that are not ours or not sources.
const NOT_SOURCES: &[&str] = &[".git", "target", "corpus", "artifacts", "node_modules"];

pub(crate) fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        return Err(Failure::with_status(
            USAGE,
            "`cargo xtask tidy` takes no arguments",
        ));
    }
    let root = workspace::root();
    let files = read_all(&root)?;
    let mut faults: Vec<Fault> = files.iter().flat_map(|file| check(file, &root)).collect();
    faults.extend(readme::check(&files));
    faults.sort();
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => {
            println!("{} files are tidy", files.len());
            Ok(())
        }
        number => Err(Failure::new(format!("{number} places are not tidy"))),
    }
}

/// A text file, with its path from the root of the workspace, `/` between the parts.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

/// A place that is not as it should be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    path: String,
    line: usize,
    message: String,
}

impl Fault {
    fn new(file: &File, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: file.path.clone(),
            line,
            message: message.into(),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn check(file: &File, root: &Path) -> Vec<Fault> {
    let mut faults = machine_paths(file, &private_folders(root));
    if file.path.ends_with(".rs") {
        faults.extend(source::check(file));
    } else if file.path.ends_with("Cargo.toml") {
        faults.extend(manifest::check(file));
    } else if file.path.ends_with(".snap.new") {
        faults.push(Fault::new(
            file,
            1,
            "a snapshot that nobody has accepted or refused",
        ));
    }
    faults
}

/// Folders of this machine and its user that no file may name.
fn private_folders(root: &Path) -> Vec<String> {
    let home = env::var("HOME").unwrap_or_default();
    let mut folders = vec![format!("{}/", root.display())];
    for home in [home.trim_end_matches('/'), concat!("/ro", "ot")] {
        if !home.is_empty() {
            // The whole folder would be too much: images have one of the same name.
            folders.extend(
                [".cargo", ".rustup", ".cache", ".pyenv"].map(|dir| format!("{home}/{dir}")),
            );
        }
    }
    folders
}

fn machine_paths(file: &File, folders: &[String]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if let Some(folder) = folders.iter().find(|folder| line.contains(folder.as_str())) {
            faults.push(Fault::new(
                file,
                number + 1,
                format!("names `{folder}` of one machine"),
            ));
        } else if let Some(user) = user_folder(line) {
            faults.push(Fault::new(
                file,
                number + 1,
                format!("names the folder of a user, `{user}`"),
            ));
        }
    }
    faults
}

/// A folder such as that of user `x` with a checkout or a settings folder in it.
fn user_folder(line: &str) -> Option<&str> {
    let start = line.find("/home/")?;
    let path = &line[start..];
    let path = &path[..path
        .find(|c: char| c.is_whitespace() || "\"'`);,".contains(c))
        .unwrap_or(path.len())];
    let inside = path.splitn(4, '/').nth(3)?;
    let private = [
        ".cargo", ".rustup", ".cache", ".config", ".pyenv", "src", "git", "work", "projects",
    ];
    private.contains(&inside.split('/').next()?).then_some(path)
}

/// All text files of the workspace, sorted by path.
fn read_all(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("reading `{}`", folder.display());
        for entry in fs::read_dir(&folder).context(reading)? {
            let entry = entry.context(reading)?;
            let (path, kind) = (entry.path(), entry.file_type().context(reading)?);
            if kind.is_dir() {
                if !NOT_SOURCES.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                // What is not UTF-8 is not text.
                files.push(File {
                    path: relative(&path, root),
                    text,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn relative(path: &Path, root: &Path) -> String {
    let inside: PathBuf = path
        .strip_prefix(root)
        .unwrap_or(path)
        .components()
        .collect();
    inside.to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_folders_are_found_and_those_of_images_are_not() {
        let folders = private_folders(Path::new("/srv/checkout"));
        let cases = [
            ("see /srv/checkout/x", true),
            (concat!("ls /ro", "ot/.cargo/bin"), true),
            (concat!("cd /ho", "me/ann/src/x"), true),
            ("USER grocker in /home/grocker/", false),
            ("WORKDIR /home/grocker/app", false),
            ("COPY --from=x /root/app /app", false),
        ];
        for (line, expected) in cases {
            let file = File {
                path: "x.md".to_owned(),
                text: line.to_owned(),
            };
            assert_eq!(
                !machine_paths(&file, &folders).is_empty(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn a_fault_is_shown_as_compilers_do() {
        let file = File {
            path: "a/b.rs".to_owned(),
            text: String::new(),
        };
        assert_eq!(Fault::new(&file, 3, "why").to_string(), "a/b.rs:3: why");
    }
}
