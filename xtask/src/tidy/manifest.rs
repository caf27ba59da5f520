//! Rules for `Cargo.toml`.

use super::{Fault, File};

/// Every crate takes the lints of the workspace; the one that defines them is the workspace itself.
/// The fuzz targets are outside it.
pub(super) fn check(file: &File) -> Vec<Fault> {
    let is_crate = file.text.lines().any(|line| line.trim() == "[package]");
    if !is_crate || file.path.starts_with("fuzz/") || takes_lints(&file.text) {
        return Vec::new();
    }
    vec![Fault::new(
        file,
        1,
        "the crate does not take the lints of the workspace",
    )]
}

fn takes_lints(text: &str) -> bool {
    let mut table = "";
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            table = line;
        }
        let setting = line.replace(' ', "");
        if (table == "[lints]" && setting == "workspace=true")
            || (table.is_empty() && setting == "lints.workspace=true")
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_lints() {
        let cases = [
            (
                "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n",
                true,
            ),
            ("lints.workspace = true\n\n[package]\nname = \"x\"\n", true),
            ("[package]\nversion.workspace = true\n", false),
            (
                "[package]\nname = \"x\"\n[features]\nworkspace = true\n",
                false,
            ),
            ("[package]\n#[lints]\n#workspace = true\n", false),
            ("[workspace]\nmembers = []\n", true),
        ];
        for (text, expected) in cases {
            let file = File {
                path: "crates/x/Cargo.toml".to_owned(),
                text: text.to_owned(),
            };
            assert_eq!(check(&file).is_empty(), expected, "{text}");
        }
    }
}
