use std::fs;

use chain::{Plan, Project, ProjectOptions, Result, Selection};
use ocicore::Cx;
use tempfile::TempDir;

/// A project on disk: each file with its text, directories as needed.
pub(crate) fn project(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::Builder::new()
        .prefix("setups.demo")
        .tempdir()
        .unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

pub(crate) fn read(root: &TempDir) -> Result<Project> {
    Project::read(&Cx::default(), &options(root))
}

pub(crate) fn options(root: &TempDir) -> ProjectOptions {
    let mut options = ProjectOptions::of(root.path());
    options.surroundings.name = "demo".to_owned();
    options
}

pub(crate) fn plan(root: &TempDir, selection: &Selection) -> Result<Plan> {
    chain::plan(&read(root)?, selection)
}

/// A plan as lines: image, builder, parents with reasons; then notes.
pub(crate) fn lines(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        text.push_str(&format!(
            "{} ({}, {})\n",
            step.label(),
            step.builder,
            step.file.display()
        ));
        for parent in &step.parents {
            let origin = serde_json::to_value(&parent.origin).unwrap();
            let origin = origin["origin"].as_str().unwrap();
            text.push_str(&format!(
                "  {} <- {} at {}, {origin}\n",
                parent.image, parent.instruction, parent.place
            ));
        }
    }
    for key in &plan.skipped {
        text.push_str(&format!("skipped {key}\n"));
    }
    for note in &plan.notes {
        text.push_str(&format!("note {note}\n"));
    }
    text
}
