//! The crate's example program, compiled into the tests.

use std::fs;

use ocicore::Digest;

use crate::support::{
    entries, gunzip, text,
    zip::{Member, build},
};

#[path = "../../examples/zip2layer.rs"]
#[expect(dead_code, reason = "its `main` and what only that uses")]
mod zip2layer;

/// What it prints, or its error.
fn run(dir: &tempfile::TempDir, options: &[&str]) -> Result<String, String> {
    let files = ["in.zip", "out.tar.gz"].map(|name| dir.path().join(name).display().to_string());
    let arguments = files
        .into_iter()
        .chain(options.iter().map(|&option| option.to_owned()));
    let mut out = Vec::new();
    match zip2layer::run(arguments, &mut out) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(error
            .to_string()
            .replace(dir.path().to_str().unwrap(), "<dir>")),
    }
}

fn zip() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let zip = build(&[
        Member::deflated("job/job_run.sh", b"java Job\n"),
        Member::deflated("lib/a.jar", &text(50_000, 1)),
    ]);
    fs::write(dir.path().join("in.zip"), zip).unwrap();
    dir
}

/// What is behind a word at the start of a line.
fn value<'a>(said: &'a str, word: &str) -> &'a str {
    let mut lines = said.lines();
    let line = lines.find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("no {word}: {said}")).trim()
}

#[test]
fn it_says_what_came_out() {
    let dir = zip();
    let mut all = Vec::new();
    for (options, annotations) in [
        (&["--mode", "**/*.sh=755"][..], 0),
        (&["--mode", "**/*.sh=755", "--estargz"], 2),
        (
            &[
                "--mode",
                "**/*.sh=755",
                "--recompress",
                "--level",
                "9",
                "--threads",
                "1",
            ],
            0,
        ),
    ] {
        let said = run(&dir, options).unwrap();
        let layer = fs::read(dir.path().join("out.tar.gz")).unwrap();
        let raw = gunzip(&layer);
        assert_eq!(value(&said, "digest"), Digest::of(&layer).to_string());
        assert_eq!(value(&said, "diff_id"), Digest::of(&raw).to_string());
        let sizes = format!("{} of {}", layer.len(), raw.len());
        assert_eq!(value(&said, "size"), sizes);
        assert!(value(&said, "time").contains("of which index"), "{said}");
        let annotated = said.lines().filter(|line| line.starts_with("annotate "));
        assert_eq!(annotated.count(), annotations, "{said}");
        let seen = entries(&raw);
        let mode = |name: &str| seen.iter().find(|entry| entry.name == name).unwrap().mode;
        assert_eq!([mode("job/job_run.sh"), mode("lib/a.jar")], [0o755, 0o644]);
        all.push(layer);
    }
    all.dedup();
    assert_eq!(all.len(), 3, "each option does something");
}

#[test]
fn mistakes_are_explained() {
    let dir = zip();
    let messages: Vec<_> = [
        &["third.zip"][..],
        &["--estargs"],
        &["--level"],
        &["--level", "0"],
        &["--mode", "*.sh"],
        &["--mode", "*.sh=rwx"],
        &["--mode", "*.sh=77777"],
        &["--mode", "*.bash=755"],
    ]
    .into_iter()
    .map(|options| run(&dir, options).unwrap_err())
    .collect();
    insta::assert_snapshot!(messages.join("\n"));
    assert!(!dir.path().join("out.tar.gz").exists());
}
