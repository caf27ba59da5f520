//! Plans and reports of build chains as text: what `imgchain` prints.

use std::{fmt::Write, io::Write as _, path::PathBuf};

use chain::{
    Error, Parent, Plan, Project, ProjectOptions, Report, Selection,
    report::Outcome,
    run::{Event, Events},
};
use engine::log;
use ocicore::{Class, Cx};

use crate::{Common, Failure, Result, print};

/// What is to be planned or built.
#[derive(clap::Args, Clone, Debug)]
pub struct Request {
    /// Only these images, by key or tag
    #[arg(long, short, num_args = 1.., value_name = "IMAGE")]
    images: Vec<String>,
    /// Not these images
    #[arg(long, alias = "skip-images", num_args = 1.., value_name = "IMAGE")]
    skip: Vec<String>,
    /// The images files [default: IMAGES.json of the docker folder]
    #[arg(long, short = 'f', num_args = 1.., value_name = "FILE")]
    images_files: Vec<PathBuf>,
    /// The docker folder; `.NAME` is taken if there is no `NAME`
    #[arg(
        long,
        env = "DOCKER_FOLDER",
        default_value = "docker",
        value_name = "DIR"
    )]
    docker_folder: PathBuf,
    /// Arguments of `docker build` for all images
    #[arg(
        long,
        env = "BUILDER_ARGS",
        default_value = "",
        value_name = "ARGS",
        allow_hyphen_values = true
    )]
    builder_args: String,
}

impl Request {
    /// Reads the files of the working directory and plans.
    ///
    /// # Errors
    /// All that is wrong with the files; with `--json` also as a document on standard output.
    pub async fn plan(&self, cx: &Cx, common: Common) -> Result<(Project, Plan)> {
        let mut options = ProjectOptions::of(std::env::current_dir()?);
        options.images_files.clone_from(&self.images_files);
        options.docker_folder.clone_from(&self.docker_folder);
        options
            .surroundings
            .builder_args
            .clone_from(&self.builder_args);
        // Variables that are no UTF-8 cannot be named in JSON, either.
        options.surroundings.env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let selection = Selection::all().only(&self.images).without(&self.skip);
        let planned = cx
            .blocking(move |cx| {
                let project = Project::read(&cx, &options)?;
                let plan = chain::plan(&project, &selection)?;
                Ok((project, plan))
            })
            .await;
        if let (true, Err(Error::Problems(problems))) = (common.json, &planned) {
            print(common, &serde_json::json!({ "problems": problems }), |_| {
                String::new()
            })?;
        }
        Ok(planned?)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// What the builds print, on standard error, each line with the key of its image.
pub fn log() -> Events {
    Events::to(|event| {
        let (key, line) = match event {
            Event::Started { key } => (key, "begins".to_owned()),
            Event::Log { key, event } => match event {
                log::Event::Step { instruction, .. } => (key, instruction),
                log::Event::Stdout(line) | log::Event::Stderr(line) => (key, line),
                log::Event::Cached { instruction } => (key, format!("cached: {instruction}")),
                log::Event::Message(line) => (key, line),
                _ => return,
            },
            Event::Finished { key, outcome } => (key, word(&outcome).to_owned()),
            _ => return,
        };
        // Where standard error is gone, there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{key} | {}", line.trim_end());
    })
}

/// A plan as a table, with notes.
pub fn render_plan(plan: &Plan) -> String {
    let mut rows = vec![["IMAGE", "BUILDER", "PARENT", "REASON"].map(str::to_owned)];
    for step in &plan.steps {
        let image = [step.label(), step.builder.to_string()];
        let mut image = image.into_iter();
        let parents = step
            .parents
            .iter()
            .map(|parent| (shown(parent), reason(parent)));
        let mut parents: Vec<_> = parents.collect();
        parents.dedup();
        if parents.is_empty() {
            parents.push(("-".to_owned(), String::new()));
        }
        for (parent, reason) in parents {
            let [label, builder] = [0, 1].map(|_| image.next().unwrap_or_default());
            rows.push([label, builder, parent, reason]);
        }
    }
    let mut text = table(&rows);
    let (built, skipped) = (plan.steps.len(), plan.skipped.len());
    let _ = write!(text, "{built} to build, {skipped} not selected");
    for note in &plan.notes {
        let _ = write!(text, "\nnote: {note}");
    }
    text
}

/// A report as a table, with the last lines of the logs of builds that failed.
pub fn render_report(report: &Report) -> String {
    let mut text = String::new();
    let widths = report
        .images
        .iter()
        .map(|image| image.image.chars().count());
    let width = widths.max().unwrap_or(0);
    for image in &report.images {
        let _ = write!(text, "{:width$}  {:9}", image.image, word(&image.outcome));
        let _ = match &image.outcome {
            Outcome::Built { id } => write!(text, "  {id}"),
            Outcome::Failed { errors, .. } => write!(text, "  {}", errors.join(": ")),
            Outcome::Blocked { by } => write!(text, "  by {by}"),
            _ => Ok(()),
        };
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let Outcome::Failed { tail, .. } = &image.outcome {
            for line in tail {
                let _ = writeln!(text, "    | {line}");
            }
        }
    }
    text + &summary(report)
}

/// Fails if not all images were built.
///
/// # Errors
/// With how many were not.
pub fn check(report: &Report) -> Result<()> {
    match report.failure() {
        None => Ok(()),
        Some(Class::Cancelled) => Err(Failure::new(Class::Cancelled, "cancelled")),
        Some(class) => Err(Failure::new(class, summary(report))),
    }
}

fn summary(report: &Report) -> String {
    let words = ["built", "failed", "blocked", "cancelled", "skipped"];
    let counts = words.map(|name| (report.count(|outcome| word(outcome) == name), name));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    match counts.is_empty() {
        true => "nothing to build".to_owned(),
        false => counts.join(", "),
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Built { .. } => "built",
        Outcome::Failed { .. } => "failed",
        Outcome::Blocked { .. } => "blocked",
        Outcome::Cancelled => "cancelled",
        Outcome::Skipped => "skipped",
        _ => "unknown",
    }
}

fn shown(parent: &Parent) -> String {
    use chain::Origin::{Built, NotSelected, Unknown};
    let origin = match parent.origin {
        Built { .. } => return parent.image.clone(),
        NotSelected { .. } => "not selected",
        Unknown => "unknown",
        _ => "external",
    };
    format!("{} ({origin})", parent.image)
}

fn reason(parent: &Parent) -> String {
    format!("{} at {}", parent.instruction, parent.place)
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
