use std::{fs, io::Write};

use crate::shown;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_job2docker");
pub(crate) const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/jobs/sample/sample_job_0.1.zip"
);

pub(crate) fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
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
fn contexts_are_listed_and_chosen() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(SAMPLE, directory.path().join("sample_job_0.1.zip")).unwrap();
    let values = "message=two\\nlines\ndatabase_password=\nnew=1\n";
    fs::write(directory.path().join("values.properties"), values).unwrap();
    fs::write(directory.path().join("broken.properties"), "a=\\u12x").unwrap();
    let mut text = String::new();
    for args in [
        &["contexts", "sample_job_0.1.zip"][..],
        &[
            "contexts",
            "sample_job_0.1.zip",
            "--context",
            "Production",
            "--override",
            "values.properties",
        ],
        &[
            "contexts",
            "sample_job_0.1.zip",
            "--context",
            "Production",
            "--json",
        ],
        &["contexts", "sample_job_0.1.zip", "--context", "Test"],
        &[
            "contexts",
            "sample_job_0.1.zip",
            "--override",
            "broken.properties",
        ],
        &[
            "contexts",
            "sample_job_0.1.zip",
            "--override",
            "nowhere.properties",
        ],
    ] {
        text += &format!("{}\n", shown(PROGRAM, args, directory.path()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_options_of_a_conversion_are_in_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(SAMPLE, directory.path().join("sample_job_0.1.zip")).unwrap();
    let plan = |args: &str| {
        let fixed = [
            "build",
            "sample_job_0.1.zip",
            "--dry-run",
            "--json",
            "--to",
            "oci:{job}",
        ];
        let args: Vec<_> = fixed.into_iter().chain(args.split_whitespace()).collect();
        let shown = shown(PROGRAM, &args, directory.path());
        let (json, _) = shown.split_once("exit code 0").expect(&shown);
        let (_, json) = json.split_once('\n').unwrap();
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    };
    let image = |args: &str, key: &str| plan(args)["image"][key].clone();
    assert_eq!(image("--user 1:2", "user"), "1:2");
    assert_eq!(
        image("--volume /talend/out", "volumes"),
        serde_json::json!(["/talend/out"])
    );
    assert_eq!(image("--entrypoint exec", "entrypoint")[0], "java");
    let entrypoint = image("--context Production", "entrypoint");
    assert_eq!(
        entrypoint.as_array().unwrap().last().unwrap(),
        "--context=Production"
    );
    let entrypoint = image("--context-from-env CTX_", "entrypoint");
    assert_eq!(
        entrypoint,
        serde_json::json!(["/bin/sh", "/talend/bin/sample_job"])
    );
    assert_eq!(
        image("--parent /opt/jobs", "working_dir"),
        "/opt/jobs/sample_job_0.1/sample_job"
    );
    let moves = plan("--layout job2docker")["moves"].clone();
    assert_eq!(moves[1]["to"], "lib/routines_sample_job.jar");
    assert_eq!(plan("")["to"], serde_json::json!(["oci:sample_job"]));
    assert_eq!(
        plan("")["residue"],
        serde_json::json!(["sample_job/items", "sample_job/pom.xml", "sample_job/src"])
    );
}

#[test]
fn the_originals_form_writes_the_originals_name() {
    let directory = tempfile::tempdir().unwrap();
    let zip = "sample_job-0.1.0-20180620.090617-2.zip";
    fs::copy(SAMPLE, directory.path().join(zip)).unwrap();
    fs::create_dir(directory.path().join("out")).unwrap();
    let mut text = shown(PROGRAM, &[zip, "nowhere"], directory.path());
    text += &shown(PROGRAM, &[zip, "out", "work"], directory.path());
    insta::assert_snapshot!(text);
    let tgz = directory.path().join("out/sample_job.tgz");
    let listed = std::process::Command::new("tar")
        .arg("-tzf")
        .arg(tgz)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for path in [
        "jobInfo_sample_job.properties",
        "lib/routines_sample_job.jar",
        "sample_job/sample_job_run.sh",
    ] {
        assert!(
            listed.contains(&format!("sample_job_0.1/{path}\n")),
            "{listed}"
        );
    }
    assert!(
        !directory.path().join("work").exists(),
        "nothing is unpacked"
    );
}

#[test]
fn images_keep_libraries_apart_and_leave_residue_out() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(SAMPLE, directory.path().join("sample_job_0.1.zip")).unwrap();
    let layers = |args: &[&str]| {
        let fixed = [
            "--json",
            "build",
            "sample_job_0.1.zip",
            "--base",
            "scratch",
            "--to",
            "oci:out",
        ];
        let shown = shown(PROGRAM, &[&fixed[..], args].concat(), directory.path());
        let (json, _) = shown.split_once("exit code 0").expect(&shown);
        let (_, json) = json.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let layers = json["written"]["layers"].as_array().unwrap().clone();
        let shown = layers.iter().map(|layer| {
            let path = layer["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "out/blobs/sha256/");
            let listed = std::process::Command::new("tar")
                .arg("-tzf")
                .arg(directory.path().join(path))
                .output()
                .unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            let has = |part: &str| listed.contains(part);
            let name = layer["name"].as_str().unwrap().to_owned();
            (
                name,
                has("/jars/"),
                has("sample_job_run.sh"),
                has("/items/"),
            )
        });
        shown.collect::<Vec<_>>()
    };
    let library = || ("sample-clock-1.0.jar".to_owned(), true, false, false);
    let job = |residue| ("sample_job".to_owned(), false, true, residue);
    assert_eq!(layers(&[]), [library(), job(false)]);
    assert_eq!(layers(&["--keep"]), [library(), job(true)]);
    assert_eq!(layers(&["--layers", "one"]), [job(false)]);
    assert_eq!(layers(&["--layers", "one", "--keep"]), [job(true)]);
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

/// Two jobs in a layout, of which the image starts none by itself.
fn application(directory: &std::path::Path) {
    let launcher = "#!/bin/sh\njava -cp . a.B \"$@\"\n";
    for job in ["load", "export"] {
        let zip = zip_of(&[(&format!("{job}/{job}_run.sh"), launcher)]);
        fs::write(directory.join(format!("{job}_0.1.zip")), zip).unwrap();
    }
    let manifest = "[application]\nname = \"orders\"\n\n[[job]]\nfile = \"load_0.1.zip\"\n\n\
                    [[job]]\nfile = \"export_0.1.zip\"\nentrypoint = \"nightly\"\n";
    fs::write(directory.join("jobs.toml"), manifest).unwrap();
}

#[test]
fn a_job_is_chosen_before_anything_is_started() {
    let directory = tempfile::tempdir().unwrap();
    application(directory.path());
    let package = [
        "package",
        "jobs.toml",
        "--base",
        "scratch",
        "--to",
        "oci:orders",
    ];
    let packaged = shown(PROGRAM, &package, directory.path());
    assert!(
        packaged.contains("starts    nothing by itself\n"),
        "{packaged}"
    );
    let to = ["--to", "docker-daemon:orders:1", "--dry-run"];
    let mut text = String::new();
    for args in [
        &[&["deploy", "oci:orders"], &to[..]].concat(),
        &[&["deploy", "oci:orders", "--job", "export"], &to[..]].concat(),
        &[&["deploy", "oci:orders", "--job", "nightly"], &to[..]].concat(),
        &[&["deploy", "oci:orders", "--context_param", "a"], &to[..]].concat(),
    ] {
        text += &format!("{}\n", shown(PROGRAM, args, directory.path()));
    }
    // What the image's digest is depends on the compressor.
    let digest = text.split_once("sha256:").unwrap().1[..64].to_owned();
    insta::assert_snapshot!(text.replace(&digest, "DIGEST"));
}

#[test]
fn outputs_may_be_named_without_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    application(directory.path());
    let args = [
        "--quiet",
        "build",
        "load_0.1.zip",
        "--base",
        "scratch",
        "--tgz",
        "load.tgz",
        "--to",
        "oci-archive:oci.tar",
        "--to",
        "docker-archive:docker.tar",
        "--to",
        "oci:layout",
    ];
    let text = shown(PROGRAM, &args, directory.path());
    assert!(text.ends_with("exit code 0\n"), "{text}");
    for name in ["load.tgz", "oci.tar", "docker.tar", "layout/index.json"] {
        assert!(directory.path().join(name).is_file(), "{name}");
    }
}
