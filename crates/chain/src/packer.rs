//! Packer templates in JSON, as far as it matters which images they use and make.

use std::{collections::BTreeMap, path::Path};

use jsonc_parser::{
    ast::{Object, Value},
    common::Ranged,
};
use ocicore::Reference;

use crate::{
    Fault, Problem,
    dockerfile::{Base, BaseImage, Instruction},
    json::{self, Document},
};

/// Longest value in bytes: a few variables can double each other.
const LIMIT: usize = 64 << 10;
/// Most variables in one value, those in variables included, which bounds their nesting, too.
const FIELDS: usize = 128;

/// What a packer template says about images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Template {
    /// The images that its containers begin with.
    pub bases: Vec<Base>,
    /// What its image is called: what a `docker-tag` post-processor says, else the variable `tag`.
    /// None if only packer knows it.
    pub tags: Vec<Reference>,
}

/// Reads the text of a template. `path` is for messages, `overrides` are variables that were given
/// on the command line.
///
/// # Errors
/// All that is wrong; at least one.
pub fn parse(
    path: &Path,
    text: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<Template, Vec<Problem>> {
    let document = Document::parse(path, text).map_err(|problem| vec![problem])?;
    let Value::Object(root) = document.root() else {
        return Err(vec![document.fault(document.root(), Fault::NoBuilders)]);
    };
    let mut reader = Reader {
        document: &document,
        variables: BTreeMap::new(),
        problems: Vec::new(),
    };
    reader.variables(root, overrides);
    let mut template = Template::default();
    reader.bases(root, &mut template);
    reader.tags(root, &mut template);
    match reader.problems.is_empty() {
        true => Ok(template),
        false => Err(reader.problems),
    }
}

/// The variables that arguments of packer set: `-var NAME=VALUE`, `-var=NAME=VALUE`.
pub(crate) fn overrides(args: &[String]) -> BTreeMap<String, String> {
    let mut overrides = BTreeMap::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let flag = arg.strip_prefix("--").or(arg.strip_prefix('-'));
        let assignment = match flag {
            Some("var") => args.next().map(String::as_str),
            Some(flag) => flag.strip_prefix("var="),
            None => None,
        };
        if let Some((name, value)) = assignment.and_then(|assignment| assignment.split_once('=')) {
            overrides.insert(name.to_owned(), value.to_owned());
        }
    }
    overrides
}

struct Reader<'d, 'a> {
    document: &'d Document<'a>,
    variables: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Reader<'_, '_> {
    fn variables(&mut self, root: &Object<'_>, overrides: &BTreeMap<String, String>) {
        match json::member(root, "variables").map(|member| &member.value) {
            None => {}
            Some(Value::Object(object)) => {
                for member in &object.properties {
                    let value = match &member.value {
                        Value::StringLit(text) => text.value.to_string(),
                        Value::NumberLit(number) => number.value.to_owned(),
                        Value::BooleanLit(flag) => flag.value.to_string(),
                        // Has no default: it must be given on the command line.
                        _ => continue,
                    };
                    self.variables
                        .insert(member.name.as_str().to_owned(), value);
                }
            }
            Some(other) => self.wrong_type("variables", other, "an object"),
        }
        self.variables.extend(overrides.clone());
    }

    fn bases(&mut self, root: &Object<'_>, template: &mut Template) {
        let Some(builders) = json::member(root, "builders") else {
            self.problems
                .push(self.document.fault(root, Fault::NoBuilders));
            return;
        };
        for builder in self.objects("builders", &builders.value) {
            let Some(image) = json::member(builder, "image") else {
                continue;
            };
            let Value::StringLit(text) = &image.value else {
                self.wrong_type("image", &image.value, "a string");
                continue;
            };
            let image = match self.fill_in(&text.value) {
                None => BaseImage::Unknown(text.value.to_string()),
                Some(name) => match self.reference(text, &name) {
                    Some(reference) => BaseImage::Known(reference),
                    None => continue,
                },
            };
            template.bases.push(Base {
                image,
                instruction: Instruction::Image,
                position: self.document.position(text),
            });
        }
    }

    /// Post-processors, of which some are sequences, else the variable that the corpusops templates
    /// all have.
    fn tags(&mut self, root: &Object<'_>, template: &mut Template) {
        let steps = match json::member(root, "post-processors").map(|member| &member.value) {
            Some(Value::Array(array)) => array.elements.iter().collect(),
            Some(other) => vec![other],
            None => Vec::new(),
        };
        let steps = steps.into_iter().flat_map(|step| match step {
            Value::Array(sequence) => sequence.elements.iter().collect(),
            step => vec![step],
        });
        let mut tagged = false;
        for step in steps.filter_map(Value::as_object) {
            let is_tag = json::member(step, "type").and_then(|kind| kind.value.as_string_lit());
            if is_tag.is_some_and(|kind| kind.value == "docker-tag") {
                tagged = true;
                self.docker_tag(step, template);
            }
        }
        if !tagged && let Some(tag) = self.fill_in("{{user `tag`}}") {
            template.tags.extend(self.reference(root, &tag));
        }
    }

    /// `repository`, with each of `tag` or `tags`, which may be a list or a text with commas.
    fn docker_tag(&mut self, step: &Object<'_>, template: &mut Template) {
        let text = |key| json::member(step, key).and_then(|member| member.value.as_string_lit());
        let Some(literal) = text("repository") else {
            return;
        };
        let Some(repository) = self.fill_in(&literal.value) else {
            return;
        };
        let mut tags = Vec::new();
        for key in ["tag", "tags"] {
            match json::member(step, key).map(|member| &member.value) {
                Some(Value::StringLit(text)) => tags.push(&*text.value),
                Some(Value::Array(array)) => {
                    tags.extend(
                        array
                            .elements
                            .iter()
                            .filter_map(|tag| Some(&*tag.as_string_lit()?.value)),
                    );
                }
                _ => {}
            }
        }
        let Some(tags) = tags
            .into_iter()
            .map(|tag| self.fill_in(tag))
            .collect::<Option<Vec<_>>>()
        else {
            return;
        };
        let tags: Vec<_> = tags
            .iter()
            .flat_map(|tags| tags.split(','))
            .map(str::trim)
            .collect();
        if tags.is_empty() {
            template.tags.extend(self.reference(literal, &repository));
        }
        for tag in tags {
            let name = format!("{repository}:{tag}");
            template.tags.extend(self.reference(literal, &name));
        }
    }

    /// Fills in variables; none if there is something that only packer knows.
    fn fill_in(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        self.fill_into(&mut out, text, &mut 0)?;
        Some(out)
    }

    fn fill_into(&self, out: &mut String, text: &str, fields: &mut usize) -> Option<()> {
        let mut rest = text;
        while let Some((before, field)) = rest.split_once("{{") {
            out.push_str(before);
            *fields += 1;
            if *fields > FIELDS || out.len() > LIMIT {
                return None;
            }
            let (call, after) = field.split_once("}}")?;
            let name = call.trim().strip_prefix("user")?.trim();
            let quoted = |quote| name.strip_prefix(quote)?.strip_suffix(quote);
            let name = quoted('`').or_else(|| quoted('"'))?;
            self.fill_into(out, self.variables.get(name)?, fields)?;
            rest = after;
        }
        out.push_str(rest);
        (out.len() <= LIMIT).then_some(())
    }

    fn reference(&mut self, at: &impl Ranged, name: &str) -> Option<Reference> {
        match name.parse() {
            Ok(reference) => Some(reference),
            Err(error) => {
                let expected = match error {
                    ocicore::Error::Parse { expected, .. } => expected.to_owned(),
                    other => other.to_string(),
                };
                let fault = Fault::Reference {
                    value: name.chars().take(256).collect(),
                    expected,
                };
                self.problems.push(self.document.fault(at, fault));
                None
            }
        }
    }

    fn objects<'v, 'a>(&mut self, key: &str, value: &'v Value<'a>) -> Vec<&'v Object<'a>> {
        let Value::Array(array) = value else {
            self.wrong_type(key, value, "an array of objects");
            return Vec::new();
        };
        let mut objects = Vec::new();
        for (index, element) in array.elements.iter().enumerate() {
            match element {
                Value::Object(object) => objects.push(object),
                other => self.wrong_type(&format!("{key}[{index}]"), other, "an object"),
            }
        }
        objects
    }

    fn wrong_type(&mut self, key: &str, value: &Value<'_>, expected: &'static str) {
        self.problems
            .push(self.document.wrong_type(key, value, expected));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, args: &[&str], bases: &[&str], tags: &[&str]) {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let template = parse("t.json".as_ref(), text, &overrides(&args)).unwrap();
        let seen: Vec<_> = template
            .bases
            .iter()
            .map(|base| base.image.to_string())
            .collect();
        assert_eq!(seen, bases, "{text}");
        let seen: Vec<_> = template.tags.iter().map(ToString::to_string).collect();
        assert_eq!(seen, tags, "{text}");
    }

    #[test]
    fn images_and_tags_are_found() {
        let base = "docker.io/corpusops/ubuntu:16.04";
        check(
            r#"{"variables": {"tag": "corpusops/pg:9"}, "builders": [{"type": "docker", "image": "corpusops/ubuntu:16.04"}]}"#,
            &[],
            &[base],
            &["docker.io/corpusops/pg:9"],
        );
        check(
            r#"{"variables": {"v": "16.04", "b": "corpusops/ubuntu:{{user `v`}}", "r": null}, "builders": [{"image": "{{ user \"b\" }}"}],
               "post-processors": [[{"type": "docker-tag", "repository": "a/b", "tags": ["1", "{{user `v`}}"]}], "docker-push"]}"#,
            &[],
            &[base],
            &["docker.io/a/b:1", "docker.io/a/b:16.04"],
        );
        check(
            r#"{"variables": {"v": "1"}, "builders": [{"image": "a:{{user `v`}}"}, {"image": "{{build_name}}"}, {}],
               "post-processors": {"type": "docker-tag", "repository": "x", "tag": "1,{{user `v`}}"}}"#,
            &["-var", "v=2", "-only=x", "-var=w=3"],
            &["docker.io/library/a:2", "{{build_name}}"],
            &["docker.io/library/x:1", "docker.io/library/x:2"],
        );
        check(
            r#"{"variables": {"tag": "{{env `TAG`}}"}, "builders": []}"#,
            &[],
            &[],
            &[],
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut all = String::new();
        for text in [
            "[]",
            "{}",
            "{\"builders\": {}, \"variables\": []}",
            "{\"builders\": [1,\n {\"image\": 1},\n {\"image\": \"A/B\"}], \"variables\": {\"tag\": \":\"}}",
            "{\"builders\": [],}",
        ] {
            for problem in parse("t.json".as_ref(), text, &BTreeMap::new()).unwrap_err() {
                all.push_str(&format!("{problem}\n"));
            }
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn expansion_is_bounded() {
        let mut text =
            "{\"builders\": [{\"image\": \"{{user `v0`}}\"}], \"variables\": {".to_owned();
        for n in 0..30 {
            let next = n + 1;
            text.push_str(&format!(
                "\"v{n}\": \"{{{{user `v{next}`}}}}{{{{user `v{next}`}}}}\", "
            ));
        }
        text.push_str("\"v30\": \"\"}}");
        check(&text, &[], &["{{user `v0`}}"], &[]);
    }

    #[test]
    fn variables_that_need_themselves_are_unknown() {
        check(
            r#"{"variables": {"a": "{{user `a`}}{{user `a`}}"}, "builders": [{"image": "{{user `a`}}"}]}"#,
            &[],
            &["{{user `a`}}"],
            &[],
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"(\{|\}|\[|\]|"builders"|"variables"|"image"|:|,|"a:1"|"\{\{user `a`\}\}"|"a"|1| |ä){0,20}"#) {
            drop(parse("t.json".as_ref(), &text, &BTreeMap::new()));
        }
    }
}
