//! Contexts: the sets of variables that a job is run with.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use repack::Tree;

use crate::{
    Error, Result,
    job::{ContextFile, Job, MAX_TEXT},
    options::ConvertOptions,
    properties::{self, Properties},
};

/// Parts of names that say that a value is secret.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "privatekey",
];

/// A context file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Context {
    /// Where it is, and whose.
    #[serde(flatten)]
    pub file: ContextFile,
    /// Its variables in the order of the file.
    pub variables: Vec<Variable>,
}

/// A variable of a context.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, which may be secret: `Debug` and JSON show `***` then.
    pub value: String,
    /// Line in the file, from 1.
    pub line: usize,
}

impl Variable {
    /// Whether the name says that the value is secret, and there is one that is not encrypted.
    pub fn is_secret(&self) -> bool {
        is_secret(&self.name, &self.value)
    }

    fn shown(&self) -> &str {
        if self.is_secret() { "***" } else { &self.value }
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}={:?}", self.line, self.name, self.shown())
    }
}

impl serde::Serialize for Variable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut variable = serializer.serialize_struct("Variable", 3)?;
        variable.serialize_field("name", &self.name)?;
        variable.serialize_field("value", self.shown())?;
        variable.serialize_field("line", &self.line)?;
        variable.end()
    }
}

/// All contexts of a job and of its child jobs with their variables, in the order of their paths.
///
/// # Errors
/// [`Error::Text`] if a file cannot be parsed; [`Error::Tree`] if it cannot be read.
pub fn contexts(tree: &Tree, job: &Job) -> Result<Vec<Context>> {
    let mut contexts = Vec::new();
    for file in &job.contexts {
        let text = tree.read(&file.path, MAX_TEXT)?;
        let variables = parse(file, &text)?
            .iter()
            .map(|property| Variable {
                name: property.key.clone(),
                value: property.value.clone(),
                line: property.line,
            })
            .collect();
        contexts.push(Context {
            file: file.clone(),
            variables,
        });
    }
    Ok(contexts)
}

/// Checks that the chosen context is there, and gives variables of it the other values of the
/// options; of the context that the launcher asks for if none is chosen. Returns what a person should
/// know.
pub(crate) fn apply(tree: &mut Tree, job: &Job, options: &ConvertOptions) -> Result<Vec<String>> {
    let chosen = options.context.as_deref();
    let chosen = chosen.map(|name| choose(job, name)).transpose()?;
    if options.overrides.iter().next().is_some() {
        let default = || choose(job, job.default_context().unwrap_or("Default"));
        let file = chosen.map_or_else(default, Ok)?;
        let before = contexts(tree, job)?;
        override_values(tree, file, &options.overrides)?;
        let known = variable_names(&before);
        let names = options.overrides.iter().map(|value| value.key.as_str());
        let new = names.filter(|name| !known.contains(name));
        let warning = |name| format!("`{name}` gets a value, but no context of the job has it");
        return Ok(new.map(warning).collect());
    }
    Ok(Vec::new())
}

/// The job's own context of that name.
fn choose<'j>(job: &'j Job, context: &str) -> Result<&'j ContextFile> {
    let mut own = job.contexts.iter().filter(|file| file.own);
    own.find(|file| file.context == context)
        .ok_or_else(|| Error::NoContext {
            job: job.name.clone(),
            context: context.to_owned(),
            available: job
                .contexts
                .iter()
                .filter(|file| file.own)
                .map(|file| file.context.clone())
                .collect(),
        })
}

/// Gives variables of a context other values.
fn override_values(tree: &mut Tree, file: &ContextFile, values: &Properties) -> Result<()> {
    let text = tree.read(&file.path, MAX_TEXT)?;
    let edited = replaced(&text, &parse(file, &text)?, values);
    tree.replace(&file.path, Bytes::from(edited).into())?;
    Ok(())
}

/// Warnings of the secrets that are in the job's context files.
pub fn secrets(contexts: &[Context]) -> Vec<String> {
    let mut warnings = Vec::new();
    for context in contexts {
        for variable in context.variables.iter().filter(|one| one.is_secret()) {
            warnings.push(format!(
                "`{}:{}` has a value for `{}`, which everyone who gets the image can read",
                context.file.path, variable.line, variable.name
            ));
        }
    }
    warnings
}

/// Names of all variables of the job's own contexts.
pub(crate) fn variable_names(contexts: &[Context]) -> BTreeSet<&str> {
    contexts
        .iter()
        .filter(|context| context.file.own)
        .flat_map(|context| &context.variables)
        .map(|variable| variable.name.as_str())
        .collect()
}

fn parse(file: &ContextFile, text: &[u8]) -> Result<Properties> {
    Properties::parse(text).map_err(|fault| Error::Text {
        path: file.path.to_string(),
        position: fault.position,
        fault: fault.message.to_owned(),
    })
}

/// The text with other values; comments, order and line ends stay, new variables come last.
fn replaced(text: &[u8], old: &Properties, values: &Properties) -> Vec<u8> {
    let end: &[u8] = if text.windows(2).any(|two| two == b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    };
    let mut rest: BTreeMap<&str, &str> = values
        .iter()
        .map(|value| (value.key.as_str(), value.value.as_str()))
        .collect();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut known = BTreeSet::new();
    for property in old {
        let Some(value) = values.get(&property.key) else {
            continue;
        };
        out.extend_from_slice(&text[at..property.span.start]);
        out.extend_from_slice(properties::escape(&property.key, value).as_bytes());
        out.extend_from_slice(end);
        at = property.span.end;
        known.insert(property.key.as_str());
    }
    out.extend_from_slice(&text[at..]);
    rest.retain(|key, _| !known.contains(key));
    for (key, value) in rest {
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.extend_from_slice(end);
        }
        out.extend_from_slice(properties::escape(key, value).as_bytes());
        out.extend_from_slice(end);
    }
    out
}

fn is_secret(name: &str, value: &str) -> bool {
    let name: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    // What the Studio encrypts is worthless without its key.
    !value.is_empty()
        && !value.starts_with("enc:")
        && SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_where_they_are() {
        let check = |text: &str, values: &str, expected: &str| {
            let old = Properties::parse(text.as_bytes()).unwrap();
            let values = Properties::parse(values.as_bytes()).unwrap();
            let new = replaced(text.as_bytes(), &old, &values);
            assert_eq!(String::from_utf8(new).unwrap(), expected, "{text:?}");
        };
        check(
            "#c\r\na=1\r\nb=2\r\n",
            "a=C:\\\\x",
            "#c\r\na=C\\:\\\\x\r\nb=2\r\n",
        );
        check(
            "a=1\\\n  2\n# x\nb=3",
            "a=9\nz=1\nc=2",
            "a=9\n# x\nb=3\nc=2\nz=1\n",
        );
        check("", "a=\u{e9}", "a=\\u00c3\\u00a9\n");
        check("a=1\na=2", "a=3", "a=3\na=3\n");
        check("a=1", "", "a=1");
    }

    #[test]
    fn secrets_are_not_shown() {
        let variable = |name: &str, value: &str| Variable {
            name: name.to_owned(),
            value: value.to_owned(),
            line: 1,
        };
        for (name, value, secret) in [
            ("db_Password", "x", true),
            ("API_KEY", "x", true),
            ("db_password", "", false),
            ("db_password", "enc:routine.encryption.key.v1:xyz", false),
            ("message", "x", false),
        ] {
            let variable = variable(name, value);
            assert_eq!(variable.is_secret(), secret, "{name}");
            assert_eq!(format!("{variable:?}").contains("***"), secret, "{name}");
            let json = serde_json::to_string(&variable).unwrap();
            assert_eq!(json.contains("***"), secret, "{name}");
        }
    }
}
