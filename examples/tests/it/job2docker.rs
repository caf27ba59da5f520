use std::{fs, io::Write};

use crate::shown;

const PROGRAM: &str = env!("CARGO_BIN_EXE_job2docker");
const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/jobs/sample/sample_job_0.1.zip"
);

fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(*name, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn mistakes_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let launcher = "#!/bin/sh\nfor i in 1 2; do\n  java -cp . a.B\ndone\n";
    let sample = fs::read(SAMPLE).unwrap();
    write("sample_job_0.1.zip", &sample);
    write("cut_0.1.zip", &sample[..sample.len() / 2]);
    write("text_0.1.zip", b"this is no zip");
    write("empty_0.1.zip", &zip_of(&[("readme.txt", "hello")]));
    write("loop_0.1.zip", &zip_of(&[("loop/loop_run.sh", launcher)]));
    write(
        "slip_0.1.zip",
        &zip_of(&[("../evil.sh", "x"), ("a/a_run.sh", launcher)]),
    );
    fs::create_dir(directory.path().join("full")).unwrap();
    write("full/mine.txt", b"x");
    let mut text = String::new();
    for args in [
        &["build", "sample_job_0.1.zip"][..],
        &["build", "nowhere.zip", "--to", "oci:out"],
        &["build", "text_0.1.zip", "--to", "oci:out"],
        &["build", "cut_0.1.zip", "--to", "oci:out"],
        &["build", "empty_0.1.zip", "--to", "oci:out"],
        &["build", "loop_0.1.zip", "--to", "oci:out"],
        &["inspect", "loop_0.1.zip"],
        &["build", "slip_0.1.zip", "--to", "oci:out"],
        &["build", "sample_job_0.1.zip", "--to", "s3:bucket"],
        &["build", "sample_job_0.1.zip", "--to", "docker://Bad/Name"],
        &[
            "build",
            "sample_job_0.1.zip",
            "--to",
            "oci:out",
            "--base",
            "oci:nowhere",
        ],
        &[
            "build",
            "sample_job_0.1.zip",
            "--to",
            "oci:out",
            "--base",
            "scratch",
            "--platform",
            "x",
        ],
        &[
            "build",
            "sample_job_0.1.zip",
            "--to",
            "oci:full",
            "--base",
            "scratch",
        ],
        &["build", "sample_job_0.1.zip", "--tgz", "full"],
        &[
            "build",
            "sample_job_0.1.zip",
            "--to",
            "docker://127.0.0.1:1/a:1",
            "--base",
            "scratch",
        ],
        &["--json", "build", "nowhere.zip", "--to", "oci:out"],
    ] {
        text += &format!("{}\n", shown(PROGRAM, args, directory.path()));
    }
    assert!(
        !directory.path().join("out").exists(),
        "nothing is half-done"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn a_dry_run_says_all_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(SAMPLE, directory.path().join("sample_job_0.1.zip")).unwrap();
    let args = [
        "build",
        "sample_job_0.1.zip",
        "--to",
        "oci:out",
        "--tgz",
        "x.tgz",
        "--dry-run",
    ];
    insta::assert_snapshot!(shown(PROGRAM, &args, directory.path()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
