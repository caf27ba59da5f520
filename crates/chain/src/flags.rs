use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ocicore::{Platform, Reference};
use serde::{Serialize, Serializer};

use crate::words::{Word, Wrong};

/// What the arguments of `docker build` in `extra_args` and `builder_args` ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildFlags {
    /// `--build-arg NAME=VALUE`; `--build-arg NAME` takes the value from the environment, and is
    /// left out where there is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub build_args: BTreeMap<String, BuildArg>,
    /// `--label NAME=VALUE`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `--tag`: more names of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Reference>,
    /// `--target`: the stage to build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `--platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// `--network` of `RUN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// `--add-host HOST:ADDRESS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_hosts: Vec<(String, String)>,
    /// `--cache-from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<Reference>,
    /// `--memory` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// `--shm-size` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// `--no-cache`, `--pull`, `--squash`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub switches: BTreeSet<Switch>,
}

/// Value of an `ARG`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildArg {
    /// As it is written.
    Given(String),
    /// From the environment, as a whole or in part. It may be a secret, and prints as `***`.
    Inherited(String),
}

impl BuildArg {
    /// The value itself.
    pub fn value(&self) -> &str {
        match self {
            Self::Given(value) | Self::Inherited(value) => value,
        }
    }

    fn shown(&self) -> &str {
        match self {
            Self::Given(value) => value,
            Self::Inherited(_) => "***",
        }
    }
}

impl fmt::Debug for BuildArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for BuildArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// A flag without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Switch {
    /// All steps run, also where an earlier result would do.
    NoCache,
    /// Base images are pulled, also where the engine has them.
    Pull,
    /// All new layers become one.
    Squash,
}

impl BuildFlags {
    /// Adds arguments; what can be there once only is replaced.
    pub(crate) fn parse(
        &mut self,
        words: Vec<Word>,
        env: &BTreeMap<String, String>,
    ) -> Result<(), Wrong> {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (flag, mut inline) = match word.text.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (&*word.text, None),
            };
            let wrong = |message: String| Wrong {
                offset: word.offset,
                message,
            };
            if let Some(switch) = switch(flag) {
                match inline.as_deref() {
                    None | Some("true" | "1") => self.switches.extend(switch),
                    Some("false" | "0") => drop(switch.map(|switch| self.switches.remove(&switch))),
                    Some(value) => {
                        return Err(wrong(format!(
                            "`{flag}` is `{value}`, expected `true` or `false`"
                        )));
                    }
                }
                continue;
            }
            if !VALUED.contains(&flag) {
                return Err(wrong(match flag.starts_with('-') {
                    true => format!("argument `{flag}` is not known here"),
                    false => format!("`{flag}` is no flag; the build context is `working_dir`"),
                }));
            }
            let inline = inline.take().map(|text| Word {
                text,
                ..word.clone()
            });
            let value = inline.or_else(|| words.next());
            let value = value.ok_or_else(|| wrong(format!("`{flag}` needs a value")))?;
            self.set(flag, value, env).map_err(wrong)?;
        }
        Ok(())
    }

    /// Whether a switch is on.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches.contains(&switch)
    }

    fn set(
        &mut self,
        flag: &str,
        value: Word,
        env: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let Word {
            text: value,
            inherited,
            ..
        } = value;
        let invalid = |expected: &str| format!("`{flag}` is `{value}`, expected {expected}");
        let parsed = |error: ocicore::Error| format!("`{flag}`: {error}");
        match flag {
            "--build-arg" => {
                let (name, arg) = match value.split_once('=') {
                    Some((name, value)) if inherited => {
                        (name, Some(BuildArg::Inherited(value.to_owned())))
                    }
                    Some((name, value)) => (name, Some(BuildArg::Given(value.to_owned()))),
                    None => (&*value, env.get(&value).cloned().map(BuildArg::Inherited)),
                };
                if name.is_empty() {
                    return Err(invalid("NAME=VALUE or NAME"));
                }
                self.build_args
                    .extend(arg.map(|arg| (name.to_owned(), arg)));
            }
            "--label" => {
                let (name, value) = value.split_once('=').unwrap_or((&value, ""));
                self.labels.insert(name.to_owned(), value.to_owned());
            }
            "-t" | "--tag" => self.tags.push(value.parse().map_err(parsed)?),
            "--target" => self.target = Some(value),
            "--platform" => self.platform = Some(value.parse().map_err(parsed)?),
            "--network" => self.network = Some(value),
            "--add-host" => {
                let (host, address) = value
                    .split_once([':', '='])
                    .ok_or_else(|| invalid("HOST:ADDRESS"))?;
                self.add_hosts.push((host.to_owned(), address.to_owned()));
            }
            "--cache-from" => self.cache_from.push(value.parse().map_err(parsed)?),
            "-m" | "--memory" => {
                self.memory = Some(bytes(&value).ok_or_else(|| invalid("a size like `512m`"))?);
            }
            "--shm-size" => {
                self.shm_size = Some(bytes(&value).ok_or_else(|| invalid("a size like `64m`"))?);
            }
            // How a build reports does not change what it makes.
            _ => {}
        }
        Ok(())
    }
}

/// Flags with a value.
const VALUED: [&str; 13] = [
    "--add-host",
    "--build-arg",
    "--cache-from",
    "--label",
    "--memory",
    "--network",
    "--platform",
    "--progress",
    "--shm-size",
    "--tag",
    "--target",
    "-m",
    "-t",
];

/// Flags without value; none for those that do not change the image.
fn switch(flag: &str) -> Option<Option<Switch>> {
    Some(match flag {
        "--no-cache" => Some(Switch::NoCache),
        "--pull" => Some(Switch::Pull),
        "--squash" => Some(Switch::Squash),
        "--compress" | "--force-rm" | "--load" | "--quiet" | "--rm" | "-q" => None,
        _ => return None,
    })
}

/// A size as the docker CLI takes it: a number with `b`, `k`, `m`, `g`, of 1024 each.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor: u64 = match &text[digits..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;

    fn parse(text: &str) -> Result<BuildFlags, Wrong> {
        let env = [("V".to_owned(), "7".to_owned())].into();
        let mut flags = BuildFlags::default();
        flags.parse(words::split(text, &env)?, &env)?;
        Ok(flags)
    }

    #[test]
    fn flags_are_understood() {
        let flags = parse(
            "--build-arg A=x=y --build-arg=B='p q' --build-arg V --build-arg W=a$V --build-arg NONE --label l --no-cache --pull=false \
             -t a/b --tag=c:2 --target run --platform linux/arm64 --network=none --add-host h:1.2.3.4 -m 2g \
             --shm-size 1024 --rm --progress plain --squash",
        );
        insta::assert_json_snapshot!(flags.unwrap());
    }

    #[test]
    fn what_is_no_flag_is_told() {
        let wrong: Vec<_> = [
            "--build-arg",
            "--build-arg =x",
            "--secret id=x",
            "--no-cache=maybe",
            "-t A",
            ".",
            "-m lots",
            "--add-host x",
            "--rm --unknown=1",
            "-m 99999999999g",
        ]
        .map(|text| match parse(text) {
            Ok(flags) => panic!("{text} gives {flags:?}"),
            Err(wrong) => format!("{text:18} {}: {}", wrong.offset, wrong.message),
        })
        .into();
        insta::assert_snapshot!(wrong.join("\n"));
    }
}
