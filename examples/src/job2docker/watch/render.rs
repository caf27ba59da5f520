use std::{collections::BTreeMap, fmt::Write};

use talend::watch::{Event, Outcome, Record};

use super::process::Processed;

/// An event for people, of one line; none if it says nothing to them.
pub(super) fn render(event: &Event<Processed>) -> Option<String> {
    Some(match event {
        Event::Watching {
            folder,
            by_kernel: true,
            ..
        } => format!("watching  {folder}"),
        Event::Watching {
            folder, why_not, ..
        } => match why_not {
            Some(why) => format!("watching  {folder}, by polling: {why}"),
            None => format!("watching  {folder}, by polling"),
        },
        Event::Taken { path } => format!("taken     {path}"),
        Event::Done { path, value, .. } => {
            let mut text = format!("done      {path}: {} {}", value.job, value.version);
            for place in &value.to {
                let _ = write!(text, ", {place}");
            }
            if let Some(digest) = &value.image {
                let _ = write!(text, "@{digest}");
            }
            if let Some(archive) = &value.archive {
                let _ = write!(text, ", {}", archive.display());
            }
            for warning in &value.warnings {
                let _ = write!(text, "\nwarning   {path}: {warning}");
            }
            text
        }
        Event::Known { path, .. } => format!("known     {path}"),
        Event::Changed { path } => format!("changed   {path}"),
        Event::Failed { path, error, again } => {
            let when = match again {
                true => "; it is tried again",
                false => "",
            };
            format!("failed    {path}: {error}{when}")
        }
        Event::StillFailed { path, error } => {
            format!("failed    {path}: {error}; it has not changed since")
        }
        Event::Unreadable { path, error } if path.is_empty() => {
            format!("warning   the folder cannot be read: {error}")
        }
        Event::Unreadable { path, error } => format!("warning   {path}: {error}"),
        Event::Stopping { in_work } => format!("stopping  {in_work} in work"),
        _ => return None,
    })
}

/// What is remembered, for people.
pub(super) fn render_records(records: &BTreeMap<String, Record>) -> String {
    if records.is_empty() {
        return "nothing was done yet".to_owned();
    }
    let mut text = String::new();
    for (path, record) in records {
        let _ = match &record.outcome {
            Outcome::Failed { error, .. } => writeln!(text, "failed    {path}: {error}"),
            _ => writeln!(text, "done      {path}"),
        };
    }
    text
}
