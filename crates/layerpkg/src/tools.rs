//! The tools of a package: what a container of its image would find.

use std::collections::BTreeMap;

use ocicore::Config;
use repack::{EntryPath, Kind, Tree};

use crate::confine::{Target, resolve};

/// Where programs are searched for if the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs by name: all that lie in a directory of the image's `PATH`, of which the first one
/// counts, and its entry point.
pub(crate) fn find(tree: &Tree, config: &Config) -> BTreeMap<String, EntryPath> {
    let env = config.env();
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH="));
    let mut tools = BTreeMap::new();
    for directory in path.unwrap_or(PATH).split(':') {
        let Some(directory) = inside(directory) else {
            continue;
        };
        // By its own name if it is a link, as `/bin` often is.
        let Some(real) = directory_of(tree, &directory) else {
            continue;
        };
        let depth = real.components().count() + 1;
        for (path, _) in tree.under(&real) {
            if path.components().count() == depth {
                add(&mut tools, tree, &path);
            }
        }
    }
    if let Some(path) = config.entrypoint().first().and_then(|path| inside(path)) {
        add(&mut tools, tree, &path);
    }
    tools
}

fn add(tools: &mut BTreeMap<String, EntryPath>, tree: &Tree, path: &EntryPath) {
    let Ok(name) = str::from_utf8(path.file_name()) else {
        return;
    };
    // Names that would hide, or drive a terminal.
    if !name.starts_with('.') && !name.contains(char::is_control) && is_program(tree, path) {
        tools.entry(name.to_owned()).or_insert_with(|| path.clone());
    }
}

fn is_program(tree: &Tree, path: &EntryPath) -> bool {
    let Target::Inside(real) = resolve(tree, path) else {
        return false;
    };
    tree.get(&real).is_some_and(|entry| {
        matches!(entry.kind, Kind::File(_) | Kind::Hardlink(_)) && entry.metadata.mode & 0o111 != 0
    })
}

fn directory_of(tree: &Tree, path: &EntryPath) -> Option<EntryPath> {
    match resolve(tree, path) {
        Target::Inside(real) => Some(real),
        _ => None,
    }
}

/// A path of a container in the tree.
fn inside(path: &str) -> Option<EntryPath> {
    path.strip_prefix('/')?.trim_end_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use ocicore::{ImageBuilder, Platform};
    use repack::Entry;

    use super::*;

    fn tools(build: impl FnOnce(ImageBuilder) -> ImageBuilder) -> String {
        let mut tree = Tree::new();
        let program = || Entry::file("#!/bin/sh\n").with_mode(0o755);
        for (path, entry) in [
            ("usr/bin/hello", program()),
            ("usr/bin/sub/deep", program()),
            ("usr/bin/data", Entry::file("x")),
            ("usr/bin/link", Entry::symlink("../../opt/run")),
            ("usr/bin/dangling", Entry::symlink("../../opt/none")),
            ("usr/bin/.hidden", program()),
            ("usr/local/bin/hello", program()),
            ("bin", Entry::symlink("usr/bin")),
            ("opt/run", program()),
        ] {
            tree.insert(path.parse().unwrap(), entry).unwrap();
        }
        let image = build(ImageBuilder::scratch(&Platform::host())).build();
        let found = find(&tree, image.unwrap().config());
        let found: Vec<_> = found.iter().map(|(n, p)| format!("{n}={p}")).collect();
        found.join(" ")
    }

    #[test]
    fn tools_are_what_a_container_finds() {
        assert_eq!(
            tools(|image| image),
            "hello=usr/local/bin/hello link=usr/bin/link"
        );
        assert_eq!(
            tools(|image| image.env("PATH", "/bin:/opt/:/none:relative:/")),
            "hello=usr/bin/hello link=usr/bin/link run=opt/run"
        );
        assert_eq!(
            tools(|image| image.env("PATH", "").entrypoint(["/opt/run", "x"])),
            "run=opt/run"
        );
        assert_eq!(
            tools(|image| image.env("PATH", "").entrypoint(["hello"])),
            ""
        );
    }
}
