//! Which images a Dockerfile uses.

use std::{collections::BTreeMap, fmt};

use ocicore::Reference;

use super::{
    Dockerfile, Instruction, Stage, Wrong,
    expand::{Failure, Lookup, expand},
};
use crate::place::Position;

/// An image that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Base {
    /// The image.
    pub image: BaseImage,
    /// How it is used.
    pub instruction: Instruction,
    /// Where.
    pub position: Position,
}

/// The name of an image that is used. Closed: it is known or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseImage {
    /// Its name.
    Known(Reference),
    /// Only the build will know it; as it is written.
    Unknown(String),
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(reference) => reference.fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl Dockerfile {
    /// The images that all stages up to the target use, which is the last one if none is named; in
    /// the order of the text. `args` are values of the `ARG`s before the first `FROM`.
    ///
    /// All stages up to the target, for that is what an engine without BuildKit builds.
    ///
    /// # Errors
    /// All names that are wrong; at least one.
    pub fn bases(
        &self,
        args: &BTreeMap<&str, &str>,
        target: Option<&str>,
    ) -> Result<Vec<Base>, Vec<Wrong>> {
        let stages = self.up_to(target).map_err(|wrong| vec![wrong])?;
        let mut wrong = Vec::new();
        let scope = self.scope(args, &mut wrong);
        let mut bases = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            let before = &stages[..index];
            let position = line(stage.line);
            match self.base(stage, &scope) {
                Ok(base) if base == "scratch" || is_stage(&base, before) => {}
                Ok(base) => match base.parse() {
                    Ok(reference) => bases.push(Base {
                        image: BaseImage::Known(reference),
                        instruction: Instruction::From,
                        position,
                    }),
                    Err(error) => wrong.push(no_reference(position, &base, error)),
                },
                Err(Failure::Unknown) => bases.push(Base {
                    image: BaseImage::Unknown(stage.base.clone()),
                    instruction: Instruction::From,
                    position,
                }),
                Err(Failure::Wrong(message)) => {
                    wrong.push(Wrong::new(position, format!("`{}`: {message}", stage.base)));
                }
            }
            for import in &stage.imports {
                let position = line(import.line);
                let number = import
                    .from
                    .parse()
                    .is_ok_and(|number: usize| number < index);
                if number || is_stage(&import.from, before) {
                    continue;
                }
                // Variables are not filled in here, so that a name with one is the engine's affair.
                let image = match import.from.parse() {
                    Ok(reference) => BaseImage::Known(reference),
                    Err(_) if import.from.contains('$') => BaseImage::Unknown(import.from.clone()),
                    Err(error) => {
                        wrong.push(no_reference(position, &import.from, error));
                        continue;
                    }
                };
                bases.push(Base {
                    image,
                    instruction: import.instruction,
                    position,
                });
            }
        }
        match wrong.is_empty() {
            true => Ok(bases),
            false => Err(wrong),
        }
    }

    fn up_to(&self, target: Option<&str>) -> Result<&[Stage], Wrong> {
        let Some(target) = target else {
            return Ok(&self.stages);
        };
        let named = |stage: &Stage| stage.name.as_deref() == Some(&*target.to_lowercase());
        let index = self.stages.iter().rposition(named);
        let index = index.or_else(|| {
            target
                .parse()
                .ok()
                .filter(|number| *number < self.stages.len())
        });
        match index {
            Some(index) => Ok(&self.stages[..=index]),
            None => {
                let names = self.stages.iter().filter_map(|stage| stage.name.as_ref());
                let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
                let message = match names.is_empty() {
                    true => format!("there is no stage `{target}` to build, none has a name"),
                    false => format!(
                        "there is no stage `{target}` to build, only {}",
                        names.join(", ")
                    ),
                };
                Err(Wrong::at_line(1, message))
            }
        }
    }

    fn base(&self, stage: &Stage, scope: &Scope) -> Result<String, Failure> {
        let base = expand(&stage.base, self.escape, scope)?;
        if !base.is_empty() {
            return Ok(base);
        }
        // Only a variable can have been there.
        let name = stage
            .base
            .trim_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        Err(Failure::Wrong(format!(
            "is empty, the build argument `{name}` has no value"
        )))
    }

    /// The `ARG`s before the first `FROM`; a default may use those before it.
    fn scope(&self, args: &BTreeMap<&str, &str>, wrong: &mut Vec<Wrong>) -> Scope {
        let mut scope = Scope::default();
        for arg in &self.args {
            let value = match (args.get(&*arg.name), &arg.default) {
                (Some(value), _) => Some(Ok((*value).to_owned())),
                (None, Some(default)) => Some(expand(default, self.escape, &scope)),
                (None, None) => None,
            };
            let value = match value {
                Some(Ok(value)) => Value::Set(value),
                None if is_platform(&arg.name) => Value::Unknown,
                None => Value::Unset,
                Some(Err(Failure::Unknown)) => Value::Unknown,
                Some(Err(Failure::Wrong(message))) => {
                    let message = format!("default of `{}`: {message}", arg.name);
                    wrong.push(Wrong::at_line(arg.line, message));
                    Value::Unknown
                }
            };
            scope.0.insert(arg.name.clone(), value);
        }
        scope
    }
}

#[derive(Debug, Default)]
struct Scope(BTreeMap<String, Value>);

#[derive(Debug)]
enum Value {
    Set(String),
    Unset,
    Unknown,
}

impl Lookup for Scope {
    fn get(&self, name: &str) -> Result<Option<&str>, Failure> {
        match self.0.get(name) {
            Some(Value::Set(value)) => Ok(Some(value)),
            Some(Value::Unset) => Ok(None),
            Some(Value::Unknown) => Err(Failure::Unknown),
            None if is_platform(name) => Err(Failure::Unknown),
            None => Ok(None),
        }
    }
}

/// What BuildKit sets by itself (Dockerfile reference, "Automatic platform ARGs in the global scope").
fn is_platform(name: &str) -> bool {
    let rest = name.strip_prefix("TARGET").or(name.strip_prefix("BUILD"));
    matches!(rest, Some("PLATFORM" | "OS" | "ARCH" | "VARIANT"))
}

fn is_stage(name: &str, before: &[Stage]) -> bool {
    let name = name.to_lowercase();
    before
        .iter()
        .any(|stage| stage.name.as_ref() == Some(&name))
}

fn line(line: u32) -> Position {
    Position { line, column: 1 }
}

fn no_reference(position: Position, name: &str, error: ocicore::Error) -> Wrong {
    let expected = match error {
        ocicore::Error::Parse { expected, .. } => expected.to_owned(),
        other => other.to_string(),
    };
    Wrong::new(
        position,
        format!("`{name}` is no name of an image: {expected}"),
    )
}
