use std::{fmt::Write, path::PathBuf};

use repack::{EntryPath, layer};
use serde::Serialize;
use talend::{
    application::{ApplicationPlan, CollisionOutcome},
    layers::Residue,
    nexus::{Origin, Published},
};

use super::{
    Wanted,
    sources::{From, Sources},
};
use crate::job2docker::{Base, WrittenImage, WrittenLayer, render_report};

/// What is, or would be, done.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The merge.
    #[serde(flatten)]
    plan: ApplicationPlan,
    /// Where each job came from.
    sources: Vec<From>,
    /// What the image is built on.
    base: Option<String>,
    /// Where the image goes.
    to: Vec<String>,
    /// Where the archive goes.
    archive: Option<PathBuf>,
    /// The repository to which the archive is published.
    publish: Option<String>,
    /// What only the build needed, so that the image lacks it; as paths in the archive.
    left_out: Vec<EntryPath>,
    /// What the archive lacks of the jobs.
    pub(super) dropped: Vec<EntryPath>,
    /// The archive, once it is written.
    pub(super) tgz: Option<layer::Written>,
    /// The image, once it is written.
    pub(super) written: Option<WrittenImage>,
    /// What was published.
    pub(super) published: Vec<Published>,
}

impl Outcome {
    pub(super) fn new(plan: &ApplicationPlan, sources: &Sources, wanted: &Wanted) -> Self {
        Self {
            plan: plan.clone(),
            sources: sources.0.iter().map(|one| one.from.clone()).collect(),
            base: None,
            to: wanted.to.iter().map(ToString::to_string).collect(),
            left_out: match wanted.conversion.layering().residue() {
                Residue::Drop if !wanted.to.is_empty() => {
                    let jobs = plan.jobs.iter();
                    jobs.flat_map(|job| job.residue.iter().cloned()).collect()
                }
                _ => Vec::new(),
            },
            archive: wanted.tgz.clone(),
            publish: wanted.publish.clone(),
            dropped: Vec::new(),
            tgz: None,
            written: None,
            published: Vec::new(),
        }
    }

    pub(super) fn built_on(&mut self, base: &Base) {
        self.base = Some(base.to_string());
        let warning = base.warning().map(str::to_owned);
        self.plan.warnings.extend(warning);
    }
}

/// An outcome for people.
pub(super) fn render(outcome: &Outcome) -> String {
    let plan = &outcome.plan;
    let mut text = format!("app       {}\n", plan.name);
    for (placed, from) in plan.jobs.iter().zip(&outcome.sources) {
        let job = &placed.job;
        let _ = writeln!(
            text,
            "job       {} {} in {}",
            job.name, job.version, placed.root
        );
        text += &render_from(from);
        text += &render_report(&placed.report);
        let _ = writeln!(text, "entry     {}", placed.entrypoint);
        if let Some(reason) = &placed.separate {
            let _ = writeln!(text, "separate  {reason}");
        }
    }
    text += &render_collisions(plan);
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<9} {value}");
    };
    if let Some(base) = &outcome.base {
        line("base", base);
        match plan.image.entrypoint.as_slice() {
            [] => line("starts", &"nothing by itself"),
            words => line("starts", &words.join(" ")),
        }
    }
    for path in &outcome.left_out {
        line("left out", path);
    }
    if let Some(path) = &outcome.archive {
        line("archive", &path.display());
    }
    if let Some(tgz) = &outcome.tgz {
        line("", &format_args!("{} {} bytes", tgz.digest, tgz.size));
    }
    for path in &outcome.dropped {
        line("dropped", path);
    }
    if let Some(written) = &outcome.written {
        for layer in &written.layers {
            let WrittenLayer { name, written } = layer;
            let (digest, size) = (&written.digest, written.size);
            line("layer", &format_args!("{digest} {size} bytes: {name}"));
        }
        line("image", &written.digest);
    }
    for place in &outcome.to {
        line("to", place);
    }
    match outcome.published.as_slice() {
        [] => {
            if let Some(repository) = &outcome.publish {
                line("publish", repository);
            }
        }
        all => {
            for published in all {
                line("published", &published.place);
            }
        }
    }
    for warning in &plan.warnings {
        line("warning", warning);
    }
    text
}

fn render_from(from: &From) -> String {
    match from {
        From::File(path) => format!("from      {}\n", path.display()),
        From::Fetched(fetched) => {
            let how = match fetched.origin {
                Origin::Cache => ", not downloaded again".to_owned(),
                Origin::Downloaded { from: 0 } => String::new(),
                Origin::Downloaded { from } => format!(", resumed at byte {from}"),
                _ => String::new(),
            };
            let checked = match fetched.verified {
                Some(algorithm) => format!("{algorithm} verified"),
                None => "not verified: the repository has no checksum".to_owned(),
            };
            format!("from      {} ({checked}{how})\n", fetched.place)
        }
    }
}

fn render_collisions(plan: &ApplicationPlan) -> String {
    let shared = |one: &&talend::application::Collision| one.outcome == CollisionOutcome::Shared;
    let mut text = String::new();
    let count = plan.collisions.iter().filter(shared).count();
    if count > 0 {
        let _ = writeln!(text, "shared    {count} files that several jobs have");
    }
    for collision in plan.collisions.iter().filter(|one| !shared(one)) {
        let (path, first, second) = (&collision.path, &collision.first, &collision.second);
        let _ = writeln!(text, "collision {path} differs in {first} and {second}");
    }
    text
}
