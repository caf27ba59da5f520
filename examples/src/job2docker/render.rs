use std::fmt::Write;

use talend::{
    Inspection,
    report::{Outcome as Verdict, Report},
};

use super::{Outcome, WrittenLayer};

/// An outcome for people.
pub fn render(outcome: &Outcome) -> String {
    let job = &outcome.plan.job;
    let mut text = format!("job       {} {}\n", job.name, job.version);
    text += &render_report(&outcome.plan.report);
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<9} {value}");
    };
    if !outcome.to.is_empty() {
        line("base", &outcome.base);
        line("entry", &outcome.plan.image.entrypoint.join(" "));
        for path in &outcome.left_out {
            line("left out", path);
        }
    }
    if let Some(path) = &outcome.archive {
        line("archive", &path.display());
    }
    if let Some(tgz) = &outcome.tgz {
        line("", &format_args!("{} {} bytes", tgz.digest, tgz.size));
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
    for warning in &outcome.warnings {
        line("warning", warning);
    }
    text
}

/// What is in a zip, for people.
pub fn render_inspection(found: &Inspection) -> String {
    let mut text = format!("job       {} {}\n", found.job.name, found.job.version);
    if let Some(studio) = &found.job.studio {
        let _ = writeln!(text, "studio    {studio}");
    }
    text + &render_report(&found.report) + "\n" + &render_diffs(&found.report)
}

/// The changes of the launchers as diffs.
fn render_diffs(report: &Report) -> String {
    report
        .launchers
        .iter()
        .map(|launcher| launcher.diff.as_str())
        .collect()
}

/// What was, or would be, done to the launchers.
pub fn render_report(report: &Report) -> String {
    let mut text = String::new();
    for launcher in &report.launchers {
        let verdict = match &launcher.outcome {
            Verdict::Rewritten { position } => format!("rewritten at {position}"),
            Verdict::AlreadyExec { position } => format!("already exec at {position}"),
            Verdict::Unsafe { position, reason } => format!("unsafe at {position}: {reason}"),
            Verdict::Unresolved {
                position,
                placeholder,
            } => {
                format!("unresolved at {position}: {placeholder}")
            }
            Verdict::NotALauncher { reason } => format!("not a launcher: {reason}"),
            other => format!("{other:?}"),
        };
        text += &format!("launcher  {}: {verdict}\n", launcher.path);
        for warning in &launcher.warnings {
            text += &format!("warning   {}:{}\n", warning.position, warning.message);
        }
    }
    for warning in &report.warnings {
        text += &format!("warning   {warning}\n");
    }
    text
}
