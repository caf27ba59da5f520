//! One entry of an images file.

use std::{collections::BTreeMap, path::Path};

use jsonc_parser::ast::{Object, StringLit, Value};
use ocicore::Reference;

use super::{BuilderType, Image, Listed, Surroundings, image::clean, parts::Parts};
use crate::{
    BuildFlags, Fault, Problem,
    json::{self, Document},
    vars::{self, Scope},
    words,
};

/// Reads an entry: an image or at least one problem.
pub(super) fn read(
    document: &Document<'_>,
    path: &Path,
    index: usize,
    value: &Value<'_>,
    surroundings: &Surroundings,
    listed: &mut Listed,
) {
    let Value::Object(object) = value else {
        let problem = document.wrong_type(&format!("images[{index}]"), value, "an object");
        listed.problems.push(problem);
        return;
    };
    listed.notes.extend(document.repeated(object));
    let mut entry = Entry {
        document,
        object,
        problems: Vec::new(),
    };
    let image = entry.image(path, surroundings);
    // Whatever kept the image from being made is among the problems.
    listed
        .images
        .extend(image.filter(|_| entry.problems.is_empty()));
    listed.problems.append(&mut entry.problems);
}

struct Entry<'d, 'a> {
    document: &'d Document<'a>,
    object: &'d Object<'a>,
    problems: Vec<Problem>,
}

impl<'d, 'a> Entry<'d, 'a> {
    fn image(&mut self, path: &Path, surroundings: &Surroundings) -> Option<Image> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let dockerfile = self.text("dockerfile").or(self.text("docker_file"));
        let builder = self.builder(dockerfile.is_some());
        let written_tag = self.text("tag");
        let reference = self.reference(written_tag, builder);
        let parts = match (&written_tag, &reference) {
            (Some(text), Some(reference)) => Some(Parts::of(&text.value, reference)),
            _ => None,
        };

        let given_name = self
            .scalar("name")
            .or_else(|| Some(surroundings.name.clone()));
        let given_name = given_name.filter(|name| !name.is_empty());
        let given_version = self.scalar("version");
        let file = self.text("file").or(dockerfile);
        if given_name.is_none() {
            self.fault(Fault::NoName);
        }
        let (given_name, builder) = (given_name?, builder?);
        // The default is made of what the entry says, before the tag overrides it.
        let file_name = match file {
            Some(file) => file.value.to_string(),
            None => default_file(builder, &given_name, given_version.as_deref()),
        };
        let (mut name, mut version) = (given_name, given_version);
        if let Some(parts) = parts
            .as_ref()
            .filter(|_| builder == BuilderType::Dockerfile)
        {
            name.clone_from(&parts.image);
            version = parts.tag.clone().or(version);
        }

        let working_dir = match self.text("working_dir") {
            Some(text) => clean(&directory.join(&*text.value)),
            None => clean(&directory.join("..")),
        };
        let absolute = |path: &Path| clean(&surroundings.root.join(path)).display().to_string();
        let mut scope = Scope {
            positional: vec![(&*name).into(), version.as_deref().into()],
            named: self.members(),
        };
        let define = |scope: &mut Scope, key: &str, value: vars::Value| {
            scope.named.insert(key.to_owned(), value);
        };
        define(&mut scope, "builder_type", (&*builder.to_string()).into());
        define(&mut scope, "name", (&*name).into());
        define(&mut scope, "version", version.as_deref().into());
        define(&mut scope, "file", (&*file_name).into());
        define(&mut scope, "images_file", (&*absolute(path)).into());
        define(&mut scope, "working_dir", (&*absolute(&working_dir)).into());
        if let Some(parts) = &parts {
            define(&mut scope, "img_parts", parts.to_value());
        }
        let file_name = match (builder, file) {
            (BuilderType::Dockerfile, Some(literal)) => self.format("file", literal, &scope)?,
            _ => file_name,
        };

        let version = version
            .filter(|version| !version.is_empty())
            .or_else(|| stem(&file_name));
        let version = match (version, builder) {
            (None, BuilderType::Dockerfile) => Some("latest".to_owned()),
            (version, _) => version,
        };
        if version.is_none() {
            self.fault(Fault::NoVersion);
        }
        let version = version?;
        let file_path = clean(&match builder {
            BuilderType::Packer => directory.join("packer").join(&file_name),
            _ => working_dir.join(&file_name),
        });
        define(&mut scope, "file", (&*file_name).into());
        define(&mut scope, "fimage_file", (&*absolute(&file_path)).into());
        define(&mut scope, "version", (&*version).into());

        let (flags, packer_args) = self.arguments(builder, &scope, surroundings);
        let written_tag = written_tag.map(|text| text.value.to_string());
        let id = match builder {
            BuilderType::Packer => &file_name,
            _ => written_tag.as_ref()?,
        };
        Some(Image {
            key: format!("{builder}__{id}"),
            place: self.document.place(self.object),
            builder,
            tag: reference,
            name,
            version,
            file: file_path,
            working_dir,
            flags,
            packer_args,
            written_tag,
        })
    }

    /// A Dockerfile forces its builder.
    fn builder(&mut self, dockerfile: bool) -> Option<BuilderType> {
        let value = self.text("builder_type");
        if dockerfile {
            return Some(BuilderType::Dockerfile);
        }
        match value.map(|text| &*text.value) {
            None | Some("packer") => Some(BuilderType::Packer),
            Some("dockerfile" | "docker") => Some(BuilderType::Dockerfile),
            Some(other) => {
                let fault = Fault::BuilderType {
                    value: other.to_owned(),
                };
                self.fault_at("builder_type", fault);
                None
            }
        }
    }

    fn reference(
        &mut self,
        tag: Option<&StringLit<'_>>,
        builder: Option<BuilderType>,
    ) -> Option<Reference> {
        let Some(tag) = tag else {
            // One that is no string was told already.
            let wrong = json::member(self.object, "tag").is_some_and(|tag| {
                !matches!(tag.value, Value::StringLit(_) | Value::NullKeyword(_))
            });
            if builder == Some(BuilderType::Dockerfile) && !wrong {
                self.fault(Fault::NoTag);
            }
            return None;
        };
        let value = tag.value.to_string();
        match value.parse::<Reference>() {
            Ok(reference) if reference.digest().is_none() => Some(reference),
            Ok(_) => {
                self.fault_at("tag", Fault::Digest { value });
                None
            }
            Err(error) => {
                let expected = match error {
                    ocicore::Error::Parse { expected, .. } => expected.to_owned(),
                    other => other.to_string(),
                };
                self.fault_at("tag", Fault::Reference { value, expected });
                None
            }
        }
    }

    /// Arguments of the build: first those for all images, then the image's own.
    fn arguments(
        &mut self,
        builder: BuilderType,
        scope: &Scope,
        surroundings: &Surroundings,
    ) -> (BuildFlags, Vec<String>) {
        let mut flags = BuildFlags::default();
        let mut packer_args = Vec::new();
        let own = self.text("builder_args");
        let builder_args = own.map_or(&*surroundings.builder_args, |own| &own.value);
        let extra = self.text("extra_args");
        let extra_args = extra.and_then(|extra| self.format("extra_args", extra, scope));
        let sources = [
            ("builder_args", own, Some(builder_args)),
            ("extra_args", extra, extra_args.as_deref()),
        ];
        for (key, literal, text) in sources {
            let env = &surroundings.env;
            let words = match words::split(text.unwrap_or_default(), env) {
                Ok(words) => words,
                Err(wrong) => {
                    self.fault_in(
                        key,
                        literal,
                        wrong.offset,
                        Fault::Words {
                            key,
                            message: wrong.message,
                        },
                    );
                    continue;
                }
            };
            if builder == BuilderType::Packer {
                packer_args.extend(words.into_iter().map(|word| word.text));
            } else if let Err(wrong) = flags.parse(words, env) {
                self.fault_in(
                    key,
                    literal,
                    wrong.offset,
                    Fault::Argument {
                        key,
                        message: wrong.message,
                    },
                );
            }
        }
        (flags, packer_args)
    }

    fn format(
        &mut self,
        key: &'static str,
        literal: &StringLit<'_>,
        scope: &Scope,
    ) -> Option<String> {
        match vars::format(&literal.value, scope) {
            Ok(text) => Some(text),
            Err(wrong) => {
                let fault = Fault::Format {
                    key,
                    message: wrong.message,
                };
                self.fault_in(key, Some(literal), wrong.offset, fault);
                None
            }
        }
    }

    /// A string that is not empty; null is as good as none.
    fn text(&mut self, key: &str) -> Option<&'d StringLit<'a>> {
        match &json::member(self.object, key)?.value {
            Value::StringLit(text) => Some(text).filter(|text| !text.value.is_empty()),
            Value::NullKeyword(_) => None,
            other => {
                let problem = self.document.wrong_type(key, other, "a string");
                // Asked for twice, a key is still wrong only once.
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                None
            }
        }
    }

    /// As [`Entry::text`]; a number counts as it is written.
    fn scalar(&mut self, key: &str) -> Option<String> {
        match json::member(self.object, key).map(|member| &member.value) {
            Some(Value::NumberLit(number)) => Some(number.value.to_owned()),
            _ => self.text(key).map(|text| text.value.to_string()),
        }
    }

    fn members(&self) -> BTreeMap<String, vars::Value> {
        let members = self.object.properties.iter();
        members
            .map(|member| {
                (
                    member.name.as_str().to_owned(),
                    json::to_value(&member.value),
                )
            })
            .collect()
    }

    fn fault(&mut self, fault: Fault) {
        self.problems.push(self.document.fault(self.object, fault));
    }

    fn fault_at(&mut self, key: &str, fault: Fault) {
        let problem = match json::member(self.object, key) {
            Some(member) => self.document.fault(&member.value, fault),
            None => self.document.fault(self.object, fault),
        };
        self.problems.push(problem);
    }

    fn fault_in(
        &mut self,
        key: &str,
        literal: Option<&StringLit<'_>>,
        offset: usize,
        fault: Fault,
    ) {
        // Filled in fields move what is behind them, so that the offset may be beyond.
        match literal.filter(|literal| offset < literal.value.len()) {
            Some(literal) => {
                let place = self.document.place_in(literal, offset);
                self.problems.push(Problem::new(place, fault));
            }
            None => self.fault_at(key, fault),
        }
    }
}

fn default_file(builder: BuilderType, name: &str, version: Option<&str>) -> String {
    match (builder, version) {
        (BuilderType::Packer, Some(version)) => format!("{name}-{version}.json"),
        (BuilderType::Packer, None) => format!("{name}.json"),
        (_, Some(version)) => format!("Dockerfile.{name}-{version}"),
        (_, None) => "Dockerfile".to_owned(),
    }
}

/// All before the last dot.
fn stem(file: &str) -> Option<String> {
    let (stem, _) = file.rsplit_once('.')?;
    Some(stem.trim().to_owned()).filter(|stem| !stem.is_empty())
}
