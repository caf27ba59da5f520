use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The configuration of an application's images: `.grocker.yml`.
///
/// Later files win over earlier ones, key by key; lists are replaced as a whole (as Grocker does
/// since 8.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Name of the runtime; `bookworm/3.12` by default.
    pub runtime: Option<String>,
    /// Runtimes by name, beside those that are built in.
    pub runtimes: BTreeMap<String, Runtime>,
    /// System packages of the application.
    #[serde(deserialize_with = "null_is_default")]
    pub dependencies: Dependencies,
    /// Package repositories beside those of the image, by name.
    #[serde(deserialize_with = "null_is_default")]
    pub repositories: BTreeMap<String, PackageRepository>,
    /// Volumes of the runner.
    #[serde(deserialize_with = "texts")]
    pub volumes: Vec<String>,
    /// Ports of the runner, `PORT[/PROTOCOL]`.
    #[serde(deserialize_with = "texts")]
    pub ports: Vec<String>,
    /// Environment of the runner.
    #[serde(alias = "env", deserialize_with = "text_map")]
    pub envs: BTreeMap<String, String>,
    /// Prefix of all image names, for example `registry.example/team`.
    pub docker_image_prefix: Option<String>,
    /// Name of the runner instead of the application's.
    pub image_base_name: Option<String>,
    /// Command of the application that containers run; `grocker-runner` by default.
    pub entrypoint_name: Option<String>,
    /// Read for the original's sake: a digest is always told.
    pub manifest: bool,
    /// Constraints for pip, as the text of a constraints file.
    pub pip_constraint: Option<String>,
}

/// What images are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Runtime {
    /// The image below the base image.
    pub image: String,
    /// The interpreter; `python3` by default.
    pub runtime: Option<String>,
    /// Whether it should no more be used.
    pub deprecated: bool,
    /// System packages that all applications of this runtime get.
    #[serde(deserialize_with = "null_is_default")]
    pub dependencies: Dependencies,
}

/// A package repository of the distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PackageRepository {
    /// For apt a line of sources.list(5), `deb URI SUITE COMPONENT…`; for apk an address.
    pub uri: String,
    /// The public key that signs it: ASCII-armored for apt, PEM for apk.
    pub key: String,
}

/// System packages by when they are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Dependencies {
    /// To run.
    #[serde(deserialize_with = "texts")]
    pub run: Vec<String>,
    /// To compile.
    #[serde(deserialize_with = "texts")]
    pub build: Vec<String>,
}

impl Config {
    /// Reads a configuration; `file` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`] with the place.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        Self::merged([(file, text)])
    }

    /// Reads configuration files from this machine, later ones winning.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Config`].
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self> {
        let mut texts = Vec::new();
        for file in files {
            let name = file.as_ref().display().to_string();
            let text = fs::read_to_string(file).map_err(|source| Error::Read {
                file: name.clone(),
                source,
            })?;
            texts.push((name, text));
        }
        Self::merged(
            texts
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        )
    }

    fn merged<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut merged = Value::Object(Map::new());
        let mut last = String::new();
        for (file, text) in files {
            if text.trim().is_empty() {
                continue;
            }
            // Read alone first, for its errors have places.
            from_yaml::<Self>(file, text)?;
            let mut value: Value = from_yaml(file, text)?;
            if let Value::Object(map) = &mut value
                && let Some(env) = map.remove("env")
            {
                map.entry("envs").or_insert(env);
            }
            merge(&mut merged, value);
            last = file.to_owned();
        }
        serde_json::from_value(merged).map_err(|error| Error::Config {
            file: last,
            place: None,
            source: error.into(),
        })
    }

    /// The runtime to use, of this configuration or a built-in one.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there is none of that name.
    pub fn chosen_runtime(&self) -> Result<Runtime> {
        let name = self.runtime.as_deref().unwrap_or(DEFAULT_RUNTIME);
        if let Some(runtime) = self.runtimes.get(name) {
            return Ok(runtime.clone());
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        built_in
            .map(|(_, image)| Runtime {
                image: (*image).to_owned(),
                ..Runtime::default()
            })
            .ok_or_else(|| {
                let known = BUILT_IN.iter().map(|(known, _)| *known);
                let known: Vec<_> = known
                    .chain(self.runtimes.keys().map(String::as_str))
                    .collect();
                Error::Runtime {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })
    }
}

const DEFAULT_RUNTIME: &str = "bookworm/3.12";

/// Wheels of the index fit Debian's C library, so that it is the default; Alpine's they do not.
const BUILT_IN: &[(&str, &str)] = &[
    ("alpine/3", "docker.io/library/python:3-alpine"),
    (
        "bookworm/3.11",
        "docker.io/library/python:3.11-slim-bookworm",
    ),
    (
        "bookworm/3.12",
        "docker.io/library/python:3.12-slim-bookworm",
    ),
    ("trixie/3.13", "docker.io/library/python:3.13-slim-trixie"),
];

fn from_yaml<T: de::DeserializeOwned>(file: &str, text: &str) -> Result<T> {
    serde_saphyr::from_str(text).map_err(|error| Error::Config {
        file: file.to_owned(),
        place: error.location().map(|at| (at.line(), at.column())),
        source: without_place(&error.without_snippet().to_string()).into(),
    })
}

/// The parser ends its messages with the place, which the error has of its own.
fn without_place(message: &str) -> String {
    let (message, _) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    message.to_owned()
}

/// Maps are merged, everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A scalar as text: YAML reads `8080` as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Number(f64),
    Truth(bool),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Integer(number) => number.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Truth(truth) => truth.to_string(),
        }
    }
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let list = Option::<Vec<Scalar>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(list.into_iter().map(Into::into).collect())
}

/// The original's own default is an empty list, so that is a map, too.
fn text_map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Map(BTreeMap<String, Scalar>),
        List(Vec<Scalar>),
    }
    match Option::<Either>::deserialize(deserializer)? {
        None => Ok(BTreeMap::new()),
        Some(Either::Map(map)) => Ok(map.into_iter().map(|(k, v)| (k, v.into())).collect()),
        Some(Either::List(list)) if list.is_empty() => Ok(BTreeMap::new()),
        Some(Either::List(_)) => Err(de::Error::custom("expected a map of names to values")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_texts_and_later_files_win() {
        let first = "runtime: my/3\nports: [80, 443/tcp]\nenvs: {A: 1, B: true, C: x}\n\
            dependencies: {run: [libpq5], build: [libpq-dev]}\n\
            runtimes: {my/3: {image: 'python:3'}}\n";
        let second = "envs: {A: 2}\ndependencies: {run: [libgdal]}\nvolumes: ~\n";
        let config = Config::merged([("a", first), ("b", second)]).unwrap();
        assert_eq!(config.ports, ["80", "443/tcp"]);
        assert_eq!(config.envs["A"], "2");
        assert_eq!(config.envs["B"], "true");
        assert_eq!(config.dependencies.run, ["libgdal"], "lists are replaced");
        assert_eq!(config.dependencies.build, ["libpq-dev"], "maps are merged");
        assert_eq!(config.chosen_runtime().unwrap().image, "python:3");
        assert_eq!(Config::parse("e", "envs: []").unwrap().envs.len(), 0);
        assert_eq!(Config::parse("e", "").unwrap(), Config::default());
        assert_eq!(Config::parse("e", "env: {A: b}").unwrap().envs["A"], "b");
    }

    #[test]
    fn mistakes_are_placed() {
        let mut errors = Vec::new();
        for text in [
            "ports: {",
            "prots: [80]",
            "ports: 80",
            "envs: [1]",
            "- a",
            "runtime: [x]",
        ] {
            let error = Config::parse(".grocker.yml", text).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            errors.push(format!("{text}\n  {error}: {source}"));
        }
        let config = Config::parse("x", "runtime: windows/3").unwrap();
        errors.push(config.chosen_runtime().unwrap_err().to_string());
        errors.push(Config::read(&["/nowhere.yml"]).unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"));
    }
}
