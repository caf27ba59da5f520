//! Rust in a README is compiled: some source file takes the README in as documentation.

use super::{Fault, File};

pub(super) fn check(files: &[File]) -> Vec<Fault> {
    let included: Vec<String> = files.iter().flat_map(includes).collect();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("```rust") && line.contains("ignore") {
                faults.push(Fault::new(
                    file,
                    number + 1,
                    "an example that nobody compiles",
                ));
            } else if line.starts_with("```rust") && !included.contains(&file.path) {
                let message = "Rust that no source file takes in with `include_str!`";
                faults.push(Fault::new(file, number + 1, message));
            }
        }
    }
    faults
}

/// The files that a source file takes in, as paths from the root.
fn includes(file: &File) -> Vec<String> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let calls = file.text.split("include_str!(\"").skip(1);
    let paths = calls.filter_map(|rest| rest.split('"').next());
    paths.map(|path| join(&file.path, path)).collect()
}

/// A path that is relative to the folder of a file.
fn join(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_example_must_be_taken_in() {
        let readme = || file("crates/x/README.md", "# x\n\n```rust\nlet a = 1;\n```\n");
        assert_eq!(check(&[readme()]).len(), 1);
        let lib = file(
            "crates/x/src/lib.rs",
            "#![doc = include_str!(\"../README.md\")]\n",
        );
        assert_eq!(check(&[readme(), lib]), []);
        let other = file(
            "crates/y/src/lib.rs",
            "#![doc = include_str!(\"../README.md\")]\n",
        );
        assert_eq!(check(&[readme(), other]).len(), 1);
    }

    #[test]
    fn an_ignored_example_is_none() {
        let lib = file("src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n");
        let readme = file("README.md", "```rust,ignore\n```\n```toml\n```\n");
        let faults = check(&[readme, lib]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].message, "an example that nobody compiles");
    }
}
