//! Images files (IMAGES.json) and the images that they list.

mod entry;
mod image;
mod parts;

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    path::{Path, PathBuf},
};

use jsonc_parser::ast::Value;

pub use image::{BuilderType, Image};

use crate::{
    Fault, Located, Note, Problem, Remark,
    json::{self, Document},
};

/// What an images file does not say itself.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Surroundings {
    /// The directory that all paths are relative to, absolute; only fields like `{working_dir}`
    /// show it.
    pub root: PathBuf,
    /// Name of images that have none; empty for none.
    pub name: String,
    /// Arguments of all builds that do not have their own `builder_args`.
    pub builder_args: String,
    /// The environment, for `$NAME` in arguments and for `--build-arg NAME`.
    pub env: BTreeMap<String, String>,
}

impl Surroundings {
    /// What follows from a directory: images without a name are called as it is, without `setups.`.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let name = root.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().replace("setups.", ""),
            root,
            ..Self::default()
        }
    }
}

/// Of the environment, in which there may be secrets, only the names.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut env = self.env.clone();
        env.values_mut().for_each(|value| "***".clone_into(value));
        f.debug_struct("Surroundings")
            .field("root", &self.root)
            .field("name", &self.name)
            .field("builder_args", &self.builder_args)
            .field("env", &env)
            .finish()
    }
}

/// What images files list.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listed {
    /// The images, in the order of the files.
    pub images: Vec<Image>,
    /// What may surprise.
    pub notes: Vec<Note>,
    /// All that is wrong; the images above are those without a fault.
    pub problems: Vec<Problem>,
}

/// Reads the text of an images file. `path` is where it lies, for messages and because paths in it
/// are relative to its directory.
///
/// ```
/// use chain::file::{self, Surroundings};
///
/// let text = r#"{"images": [
///     {"tag": "corpusops/app:1.0", "dockerfile": "Dockerfile.{version}"},
///     {"tag": "Corpusops/App"}
/// ]}"#;
/// let listed = file::parse("docker/IMAGES.json".as_ref(), text, &Surroundings::of("/src/app"));
/// assert_eq!(listed.images[0].file.to_str(), Some("Dockerfile.1.0"));
/// assert_eq!(listed.problems[0].place.to_string(), "docker/IMAGES.json:3:13");
/// ```
pub fn parse(path: &Path, text: &str, surroundings: &Surroundings) -> Listed {
    let mut listed = Listed::default();
    let document = match Document::parse(path, text) {
        Ok(document) => document,
        Err(problem) => {
            listed.problems.push(problem);
            return listed;
        }
    };
    let Value::Object(root) = document.root() else {
        let problem = document.fault(document.root(), Fault::NoImages);
        listed.problems.push(problem);
        return listed;
    };
    listed.notes.extend(document.repeated(root));
    match json::member(root, "images").map(|member| &member.value) {
        None => listed.problems.push(document.fault(root, Fault::NoImages)),
        Some(Value::Array(array)) => {
            for (index, value) in array.elements.iter().enumerate() {
                entry::read(&document, path, index, value, surroundings, &mut listed);
            }
            listed.problems.sort_by(|a, b| a.place.cmp(&b.place));
        }
        Some(other) => {
            listed
                .problems
                .push(document.wrong_type("images", other, "an array of objects"));
        }
    }
    listed
}

/// Makes one of images that are listed more than once: it keeps the first place and gets the last
/// content.
pub(crate) fn collapse(images: Vec<Image>) -> (Vec<Image>, Vec<Note>) {
    let mut index = BTreeMap::new();
    let mut collapsed: Vec<Image> = Vec::new();
    let mut notes = Vec::new();
    for image in images {
        match index.entry(image.key.clone()) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert((collapsed.len(), image.place.to_string()));
                collapsed.push(image);
            }
            btree_map::Entry::Occupied(entry) => {
                let (at, first) = entry.get();
                let remark = Remark::RepeatedImage {
                    key: image.key.clone(),
                    first: first.clone(),
                };
                notes.push(Located::new(image.place.clone(), remark));
                collapsed[*at] = image;
            }
        }
    }
    (collapsed, notes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Listed {
        let mut surroundings = Surroundings::of("/src/setups.app");
        surroundings.env.insert("TOKEN".to_owned(), "t".to_owned());
        parse("docker/IMAGES.json".as_ref(), text, &surroundings)
    }

    fn problems(text: &str) -> String {
        let problems = read(text).problems;
        problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect()
    }

    #[test]
    fn entries_are_resolved_as_the_original_does_it() {
        let listed = read(include_str!("samples/resolved.json"));
        assert_eq!(listed.problems, []);
        insta::assert_json_snapshot!(listed.images);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        insta::assert_snapshot!(problems(include_str!("samples/wrong.json")));
    }

    #[test]
    fn a_file_that_is_no_list_of_images_is_told() {
        let all: String = [
            "",
            "[]",
            "{}",
            r#"{"images": {}}"#,
            "{\"images\": [\n{\"tag\": \"a\",},\n]}",
            "{ # comment\n}",
            "{\"images\": [] } x",
            r#"{"images": ["#,
            "{\"images\": [\"\\q\"]}",
        ]
        .map(problems)
        .concat();
        insta::assert_snapshot!(all);
        assert!(problems(&"[".repeat(100_000)).contains("nesting"));
    }

    #[test]
    fn an_image_listed_again_keeps_its_place_and_gets_the_last_content() {
        let text = r#"{"images": [
            {"tag": "a:1", "file": "one"}, {"tag": "b:1", "file": "b", "file": "c", "dockerfile": "d"},
            {"builder_type": "docker", "tag": "a:1", "file": "two"}
        ]}"#
            .replace("{\"tag\": \"a:1\", \"file\": \"one\"}", "{\"builder_type\": \"docker\", \"tag\": \"a:1\", \"file\": \"one\"}");
        let listed = read(&text);
        let (images, notes) = collapse(listed.images);
        let seen: Vec<_> = images
            .iter()
            .map(|image| (&*image.key, image.file.to_str().unwrap_or_default()))
            .collect();
        assert_eq!(seen, [("dockerfile__a:1", "two"), ("dockerfile__b:1", "c")]);
        let notes: Vec<_> = listed
            .notes
            .iter()
            .chain(&notes)
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(notes.join("\n"));
    }

    #[test]
    fn what_comes_from_the_environment_is_not_shown() {
        let mut surroundings = Surroundings::of("/src/app");
        surroundings
            .env
            .insert("TOKEN".to_owned(), "geheim".to_owned());
        let text = r#"{"images": [{"tag": "a:1", "builder_type": "docker",
            "extra_args": "--build-arg TOKEN --build-arg URL=https://x:$TOKEN@y"}]}"#;
        let listed = parse("IMAGES.json".as_ref(), text, &surroundings);
        let args = &listed.images[0].flags.build_args;
        assert_eq!(args["TOKEN"].value(), "geheim");
        assert_eq!(args["URL"].value(), "https://x:geheim@y");
        let shown = serde_json::to_string(&listed.images).unwrap()
            + &format!("{listed:?} {surroundings:?}");
        assert!(
            shown.contains("***") && !shown.contains("geheim"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"(\{|\}|\[|\]|"images"|"tag"|"file"|:|,|"a/b:1"|"\{x"|"\{0\}"|1|null| |ä){0,20}"#) {
            read(&text);
        }

        #[test]
        fn no_entry_panics(tag in "[a-zA-Z0-9:/@.\\[\\]-]{0,20}", file in "[{}\\[\\]a-z0-9/.]{0,12}", args in "[-a-z=$'\\\\ {}]{0,16}") {
            let escape = |text: &str| text.replace('\\', "\\\\");
            read(&format!(r#"{{"images": [{{"builder_type": "docker", "tag": "{tag}", "file": "{file}", "extra_args": "{}"}}]}}"#, escape(&args)));
        }
    }
}
