//! The stages as pure functions: configuration in, Dockerfile, files and key out.

mod base;
mod compiler;
mod runner;
mod text;

use ocicore::Reference;
use serde::Serialize;

use crate::{Config, Error, Key, Result};

pub(crate) use base::base;
pub(crate) use compiler::{COMPILED, SOURCES, compile, compiler};
pub(crate) use runner::{WHEELS, runner};

/// The user of the application, in all images.
const USER: &str = "grocker";
/// Where the application is installed: the same path in all stages, for it is written into it.
const VENV: &str = "/home/grocker/app.venv";

/// One image to build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stage {
    /// `base`, `compiler` or `runner`.
    pub role: &'static str,
    /// What it will be called.
    pub name: Reference,
    /// Key of what it is made of; of a runner, without its wheels.
    pub key: Key,
    /// The instructions.
    pub dockerfile: String,
    /// Files beside the Dockerfile: name and content.
    pub files: Vec<(String, String)>,
}

/// How the application is compiled, in a container of the compiler image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compile {
    /// The command.
    pub command: Vec<String>,
    /// A constraints file for pip.
    pub constraints: Option<String>,
}

/// The name of an image that is kept: role and key.
fn kept_name(config: &Config, role: &str, key: Key) -> Result<Reference> {
    name(config, &format!("grocker-{role}"), &key.to_string())
}

fn name(config: &Config, path: &str, tag: &str) -> Result<Reference> {
    let prefix = config
        .docker_image_prefix
        .as_deref()
        .unwrap_or_default()
        .trim_end_matches('/');
    let text = match prefix {
        "" => format!("{path}:{tag}"),
        prefix => format!("{prefix}/{path}:{tag}"),
    };
    text.parse().map_err(|_| Error::Value {
        what: "image name",
        value: text,
        expected: "expected [HOST[:PORT]/]PATH:TAG in lower case",
    })
}

/// Packages that are installed by whichever package manager the image has; nothing for none.
fn install(packages: &[&str]) -> Result<String> {
    if packages.is_empty() {
        return Ok(String::new());
    }
    let mut sorted = packages.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    for package in &sorted {
        text::package(package)?;
    }
    let list = sorted.join(" ");
    Ok(format!(
        "RUN set -eu; \\\n\
         \x20   if command -v apt-get >/dev/null; then \\\n\
         \x20       apt-get update; \\\n\
         \x20       DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {list}; \\\n\
         \x20       rm -rf /var/lib/apt/lists/*; \\\n\
         \x20   else \\\n\
         \x20       apk add --no-cache {list}; \\\n\
         \x20   fi\n"
    ))
}
