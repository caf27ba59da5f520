//! How a job is started in an engine, as data.

use std::path::{Path, PathBuf};

use engine::spec::ContainerSpec;
use ocicore::{Image, Reference};
use serde::Serialize;

use super::super::{entrypoint::Jobs, run::context_param};
use crate::{Failure, Result};

/// What a job reads: a directory of the image each.
const INPUTS: [&str; 2] = ["config", "in"];
/// What a job writes.
const OUTPUTS: [&str; 3] = ["out", "data", "log"];

/// A container of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Start {
    /// The image.
    pub(super) image: String,
    /// Directories of the machine in the container.
    pub(super) volumes: Vec<Volume>,
    /// What starts the job, if not what the image starts.
    pub(super) entrypoint: Option<String>,
    /// User and group, if not those of the image.
    pub(super) user: Option<String>,
    /// Arguments of the job.
    pub(super) arguments: Vec<String>,
}

/// A directory of the machine in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Volume {
    pub(super) source: PathBuf,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// What a user says of a start.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct StartOptions {
    /// The job to start, of an image with several
    #[arg(long, value_name = "NAME")]
    pub(super) job: Option<String>,
    /// Directory with `config`, `in`, `out`, `data` and `log`, which the job sees in /talend; without
    /// it what the job writes is gone with the container
    #[arg(long, value_name = "DIR")]
    pub(super) volumes: Option<PathBuf>,
    /// User and group to run as [default: those of the image]
    #[arg(long, value_name = "UID:GID")]
    pub(super) user: Option<String>,
    /// A context variable of the job
    #[arg(
        long = "context_param",
        visible_alias = "context-param",
        value_name = "NAME=VALUE",
        value_parser = context_param
    )]
    pub(super) context: Vec<String>,
    /// Arguments of the job
    #[arg(last = true)]
    pub(super) args: Vec<String>,
}

impl StartOptions {
    /// How `image`, which is called `name` where it runs, is started. Volumes are absolute.
    pub(super) fn start(&self, image: &Image, name: &Reference) -> Result<Start> {
        let config = image.config();
        let jobs = Jobs {
            labels: config.labels(),
            env: config.env(),
            entrypoint: config.entrypoint(),
        };
        let volumes = match &self.volumes {
            Some(directory) => volumes(&std::path::absolute(directory)?, jobs.parent()),
            None => Vec::new(),
        };
        let context = self.context.iter().cloned();
        let context = context.flat_map(|pair| ["--context_param".to_owned(), pair]);
        Ok(Start {
            image: name.to_string(),
            volumes,
            entrypoint: jobs.start(self.job.as_deref())?,
            user: self.user.clone(),
            arguments: self.args.iter().cloned().chain(context).collect(),
        })
    }
}

impl Start {
    /// The container.
    pub(super) fn container(&self, image: &Reference) -> ContainerSpec {
        let mut spec = ContainerSpec::new(image.clone()).command(&self.arguments);
        for volume in &self.volumes {
            spec = match volume.read_only {
                true => spec.bind_read_only(&volume.source, &volume.target),
                false => spec.bind(&volume.source, &volume.target),
            };
        }
        if let Some(entrypoint) = &self.entrypoint {
            spec = spec.entrypoint([entrypoint]);
        }
        if let Some(user) = &self.user {
            spec = spec.user(user);
        }
        spec
    }

    /// The same as lines for a shell, by the command line of an engine.
    pub(super) fn shell(&self, program: &str) -> String {
        let mut text = String::new();
        if !self.volumes.is_empty() {
            text += "mkdir -p";
            for volume in &self.volumes {
                text += " ";
                text += &quoted(&volume.source.display().to_string());
            }
            text += "\n";
        }
        let mut words = vec![program.to_owned(), "run".to_owned(), "--rm".to_owned()];
        for volume in &self.volumes {
            let end = if volume.read_only { ":ro" } else { "" };
            let mount = format!("{}:{}{end}", volume.source.display(), volume.target);
            words.extend(["--volume".to_owned(), mount]);
        }
        for (option, value) in [("--entrypoint", &self.entrypoint), ("--user", &self.user)] {
            if let Some(value) = value {
                words.extend([option.to_owned(), value.clone()]);
            }
        }
        words.push(self.image.clone());
        words.extend(self.arguments.iter().cloned());
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        text + &words.join(" ") + "\n"
    }

    /// Makes the directories that are not there; those that the job writes belong to its user, where
    /// that can be done.
    pub(super) fn make_volumes(&self, image: &Image) -> Result<()> {
        let user = self.user.as_deref().unwrap_or(image.config().user());
        let owner = numbers(user);
        for volume in self.volumes.iter().filter(|volume| !volume.source.is_dir()) {
            let failed = |error| {
                let doing = format!("cannot create `{}`", volume.source.display());
                Failure::from(error).context(doing)
            };
            std::fs::create_dir_all(&volume.source).map_err(failed)?;
            if let Some((user, group)) = owner.filter(|_| !volume.read_only) {
                let given = std::os::unix::fs::chown(&volume.source, Some(user), Some(group));
                if let Err(error) = given {
                    let path = volume.source.display();
                    tracing::warn!("user {user} of the image cannot write to `{path}`: {error}");
                }
            }
        }
        Ok(())
    }
}

fn volumes(directory: &Path, parent: &str) -> Vec<Volume> {
    let volume = |name: &str, read_only| Volume {
        source: directory.join(name),
        target: format!("{parent}/{name}"),
        read_only,
    };
    let inputs = INPUTS.into_iter().map(|name| volume(name, true));
    let outputs = OUTPUTS.into_iter().map(|name| volume(name, false));
    inputs.chain(outputs).collect()
}

/// User and group of `65532:65532` or `1000`.
fn numbers(user: &str) -> Option<(u32, u32)> {
    let (user, group) = user.split_once(':').unwrap_or((user, user));
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use ocicore::{ImageBuilder, Platform};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        start: StartOptions,
    }

    fn image(labels: &[(&str, &str)]) -> Image {
        let builder = ImageBuilder::scratch(&Platform::host()).env("JOB_PARENT_DIR", "/jobs");
        let labels = labels.iter();
        let builder = labels.fold(builder, |builder, (key, value)| builder.label(key, value));
        builder.entrypoint(["/jobs/bin/load"]).build().unwrap()
    }

    fn start(image: &Image, line: &str) -> Result<Start> {
        let line = Line::parse_from(std::iter::once("x").chain(line.split_whitespace()));
        let name = "h.io/orders:1".parse().unwrap();
        line.start.start(image, &name)
    }

    #[test]
    fn a_start_is_a_command_for_the_shell() {
        let several = image(&[("talend.entrypoints", "load,export")]);
        let line =
            "--job export --volumes /srv/my's --user 1:2 --context_param a=$b -- --context=P";
        insta::assert_snapshot!(start(&several, line).unwrap().shell("podman"), @r"
        mkdir -p '/srv/my'\''s/config' '/srv/my'\''s/in' '/srv/my'\''s/out' '/srv/my'\''s/data' '/srv/my'\''s/log'
        podman run --rm --volume '/srv/my'\''s/config:/jobs/config:ro' --volume '/srv/my'\''s/in:/jobs/in:ro' --volume '/srv/my'\''s/out:/jobs/out' --volume '/srv/my'\''s/data:/jobs/data' --volume '/srv/my'\''s/log:/jobs/log' --entrypoint /jobs/bin/export --user 1:2 h.io/orders:1 --context=P --context_param 'a=$b'
        ");
        assert_eq!(
            start(&several, "").unwrap().shell("docker"),
            "docker run --rm h.io/orders:1\n"
        );
    }
}
