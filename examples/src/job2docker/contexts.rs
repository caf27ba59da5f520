use std::{fmt::Write, path::PathBuf};

use ocicore::{Class, Cx, SizeLimits};
use repack::zip;
use serde::Serialize;
use talend::{ConvertOptions, Inspection, context::Context};

use super::{file_name, read_properties};
use crate::{Common, Failure, Result, print};

/// Options of `job2docker contexts`.
#[derive(clap::Args, Debug)]
pub struct Contexts {
    /// The built job
    zip: PathBuf,
    /// Show this context only
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Java properties with other values, as for `build`: shows what would be in the image
    #[arg(long = "override", value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// Show the contexts of child jobs, too
    #[arg(long)]
    all: bool,
}

/// What `job2docker contexts` prints.
#[derive(Debug, Serialize)]
struct Shown {
    job: String,
    version: String,
    /// The context that the launcher asks for.
    default: Option<String>,
    contexts: Vec<Context>,
    warnings: Vec<String>,
}

/// Lists the contexts of a job with their variables.
///
/// # Errors
/// If there is no job, or no such context.
pub async fn show_contexts(cx: &Cx, common: Common, command: Contexts) -> Result<()> {
    let mut options = ConvertOptions::default();
    if let Some(context) = &command.context {
        options = options.with_context(context);
    }
    if let Some(path) = &command.overrides {
        options = options.with_overrides(read_properties(path)?);
    }
    let zip = command.zip;
    let found = cx
        .blocking(move |cx| {
            let tree = zip::open(&cx, &zip, &SizeLimits::default())?;
            Ok::<_, Failure>(talend::inspect(&cx, &tree, &file_name(&zip), &options)?)
        })
        .await?;
    let Inspection { job, contexts, .. } = found;
    let contexts: Vec<_> = contexts
        .into_iter()
        .filter(|context| command.all || context.file.own)
        .filter(|context| {
            command
                .context
                .as_ref()
                .is_none_or(|name| context.file.context == *name)
        })
        .collect();
    if contexts.is_empty() {
        let error = format!("job `{}` has no contexts", job.name);
        return Err(Failure::new(Class::NotFound, error));
    }
    let shown = Shown {
        default: job.default_context().map(str::to_owned),
        job: job.name,
        version: job.version,
        warnings: talend::context::secrets(&contexts),
        contexts,
    };
    print(common, &shown, render)
}

fn render(shown: &Shown) -> String {
    let mut text = format!("job       {} {}\n", shown.job, shown.version);
    if let Some(default) = &shown.default {
        let _ = writeln!(text, "default   {default}");
    }
    for context in &shown.contexts {
        let _ = writeln!(text, "\n{} ({})", context.file.context, context.file.path);
        if context.variables.is_empty() {
            text += "  no variables\n";
        }
        let names = context.variables.iter().map(|one| one.name.chars().count());
        let width = names.max().unwrap_or_default();
        for variable in &context.variables {
            let value = if variable.is_secret() {
                "***"
            } else {
                &variable.value
            };
            // One line each, whatever a value holds.
            let value = value
                .escape_debug()
                .to_string()
                .replace("\\\"", "\"")
                .replace("\\'", "'");
            let line = format!("  {:<width$}  {value}", variable.name);
            text += line.trim_end();
            text.push('\n');
        }
    }
    if !shown.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &shown.warnings {
        let _ = writeln!(text, "warning   {warning}");
    }
    text
}
