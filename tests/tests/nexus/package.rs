//! `job2docker package` and `publish` as users see them.

use std::{fs, path::Path, process::Command};

use e2e::{
    nginx::{Nginx, PASSWORD, USER},
    peer, program, run, sample_job, tool,
};

use super::job2docker;

/// A repository with the sample job under several names.
fn with_jobs(nginx: &Nginx, count: usize) -> Vec<String> {
    let zip = fs::read(sample_job()).unwrap();
    let names = (0..count).map(|at| format!("sample_job-{at}.1.0.zip"));
    let urls = names.map(|name| {
        fs::write(nginx.root().join(&name), &zip).unwrap();
        format!("{}/{name}", nginx.base())
    });
    urls.collect()
}

fn hidden(text: &str, nginx: &Nginx, folder: &Path) -> String {
    let text = text.replace(&nginx.base(), "http://HOST");
    text.replace(&folder.display().to_string(), "DIR")
}

#[test]
fn one_bad_line_in_fifty_stops_everything_before_anything_is_written() {
    let Some(program) = peer("NGINX") else { return };
    let nginx = Nginx::start(&program);
    let folder = tempfile::tempdir().unwrap();
    let mut lines = with_jobs(&nginx, 50);
    lines[17] = format!("{}/gone-1.0.0.zip", nginx.base());
    fs::write(folder.path().join("gone.txt"), lines.join("\n")).unwrap();
    lines[17] = "sample job".to_owned();
    lines[33] = format!("http://me:{}@h.io/a.zip", "hunter2");
    fs::write(folder.path().join("bad.txt"), lines.join("\r\n")).unwrap();
    fs::write(folder.path().join("orders.tgz"), "previous").unwrap();
    let mut shown = String::new();
    for manifest in ["gone.txt", "bad.txt"] {
        let target = format!("{}/repository/releases", nginx.base());
        let args = [
            "package",
            manifest,
            "-a",
            "orders",
            "-g",
            "org.example",
            "-v",
            "1",
            "--tgz",
            "orders.tgz",
            "--publish",
            &target,
            "--separate-versions",
        ];
        let outcome = job2docker(folder.path(), Some(&nginx), &args);
        shown += &outcome.failure(&[]);
    }
    insta::assert_snapshot!(hidden(&shown, &nginx, folder.path()));
    assert!(
        !nginx.root().join("repository").exists(),
        "nothing is published"
    );
    let kept = fs::read_to_string(folder.path().join("orders.tgz")).unwrap();
    assert_eq!(kept, "previous");
}

#[test]
fn the_original_form_publishes_where_the_original_does() {
    let Some(nginx) = peer("NGINX") else { return };
    let nginx = Nginx::start(&nginx);
    let folder = tempfile::tempdir().unwrap();
    let urls = with_jobs(&nginx, 1);
    fs::write(folder.path().join("job_manifest.cfg"), &urls[0]).unwrap();
    let target = format!("{}/repository/snapshots", nginx.base());
    let mut command = program("job2docker");
    command
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TALEND_PACKAGER_NEXUS_TARGET_REPO", &target)
        .env("TALEND_PACKAGER_NEXUS_SOURCE_USERID", USER)
        .env("TALEND_PACKAGER_NEXUS_SOURCE_PASSWORD", PASSWORD)
        .env("TALEND_PACKAGER_NEXUS_TARGET_USERID", USER)
        .env("TALEND_PACKAGER_NEXUS_TARGET_PASSWORD", PASSWORD)
        .env("TALEND_PACKAGER_WORKING_DIR", folder.path().join("work"))
        .env("RUST_LOG", "trace")
        .args(["package", "myapp", "com/talend", "0.1.0-SNAPSHOT"]);
    let outcome = run(&mut command);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    outcome.success();
    assert!(!said.contains(PASSWORD), "the password is logged");
    assert!(!said.contains("Basic "), "the password is logged in base64");
    let archive = nginx
        .root()
        .join("repository/snapshots/com/talend/0.1.0-SNAPSHOT/myapp-0.1.0-SNAPSHOT.tgz");
    let names = tool("tar", ["-tzf", archive.to_str().unwrap()]);
    assert!(
        names.contains("myapp/sample_job/sample_job_run.sh\n"),
        "{names}"
    );
    assert!(folder.path().join("work/sha256").is_dir());
}

#[test]
fn a_second_run_downloads_nothing() {
    let Some(nginx) = peer("NGINX") else { return };
    let nginx = Nginx::start(&nginx);
    let folder = tempfile::tempdir().unwrap();
    let urls = with_jobs(&nginx, 1);
    let sum = ocicore::Digest::of(&fs::read(sample_job()).unwrap()).hex();
    fs::write(nginx.root().join("sample_job-0.1.0.zip.sha256"), sum).unwrap();
    fs::write(folder.path().join("jobs.txt"), &urls[0]).unwrap();
    for name in ["first.tgz", "second.tgz"] {
        let args = ["package", "jobs.txt", "-a", "orders", "--tgz", name];
        job2docker(folder.path(), Some(&nginx), &args).success();
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("first.tgz"), read("second.tgz"));
    let log = nginx.log();
    assert_eq!(
        log.matches("GET /sample_job-0.1.0.zip HTTP").count(),
        1,
        "{log}"
    );
}

#[test]
fn mistakes_are_explained() {
    let Some(nginx) = peer("NGINX") else { return };
    let nginx = Nginx::start(&nginx);
    let folder = tempfile::tempdir().unwrap();
    let urls = with_jobs(&nginx, 1);
    fs::write(folder.path().join("jobs.txt"), &urls[0]).unwrap();
    fs::write(
        folder.path().join("named.txt"),
        "org.example:load:1\nmissing.zip",
    )
    .unwrap();
    fs::copy(sample_job(), folder.path().join("sample.tgz")).unwrap();
    let mut shown = String::new();
    let target = format!("{}/releases", nginx.base());
    for args in [
        &["package", "jobs.txt"][..],
        &["package", "jobs.txt", "--tgz", "a.tgz"],
        &["package", "nowhere.txt", "-a", "orders", "--tgz", "a.tgz"],
        &["package", "jobs.txt", "-a", "orders", "--tgz", "a.tgz"],
        &[
            "package", "jobs.txt", "-a", "orders", "--tgz", "a.tgz", "-s", "me",
        ],
        &["package", "named.txt", "-a", "orders", "--tgz", "a.tgz"],
        &["package", "jobs.txt", "-a", "orders", "--publish", &target],
        &["publish", "sample.tgz"],
        &["publish", "sample.tgz", "-r", &target],
        &["publish", "sample.tgz", "-r", &target, "-c", "a:b"],
        &["publish", "sample.tgz", "-r", &target, "-c", "a:b:1"],
        &["publish", "oci:nowhere"],
        &["publish", "oci:nowhere", "--to", "oci:there"],
    ] {
        let outcome = job2docker(folder.path(), None, args);
        shown += &format!(
            "$ job2docker {}\n{}\n",
            args.join(" "),
            outcome.failure(&[])
        );
    }
    insta::assert_snapshot!(hidden(&shown, &nginx, folder.path()));
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let Some(nginx) = peer("NGINX") else { return };
    if !nix::unistd::geteuid().is_root() {
        // Mounting takes root: recorded as a part that is missing.
        let _ = peer("ROOT");
        return;
    }
    let nginx = Nginx::start(&nginx);
    let folder = tempfile::tempdir().unwrap();
    let big = [vec![b'P', b'K', 3, 4], vec![0; 1 << 20]].concat();
    fs::write(nginx.root().join("load-1.0.0.zip"), big).unwrap();
    fs::write(
        folder.path().join("jobs.txt"),
        format!("{}/load-1.0.0.zip", nginx.base()),
    )
    .unwrap();
    fs::create_dir(folder.path().join("small")).unwrap();
    fs::write(folder.path().join("orders.tgz"), "previous").unwrap();
    // A mount that nobody else sees, and that ends with the command.
    let script = "mount -t tmpfs -o size=256k tmpfs small && \"$0\" \"$@\"; code=$?; \
                  find small -type f; exit $code";
    let mut command = Command::new("unshare");
    command
        .current_dir(folder.path())
        .args(["--mount", "sh", "-c", script])
        .arg(program("job2docker").get_program())
        .args([
            "--json",
            "package",
            "jobs.txt",
            "-a",
            "orders",
            "--tgz",
            "orders.tgz",
            "-w",
            "small",
        ])
        .env("NETRC", nginx.netrc());
    let outcome = run(&mut command);
    assert_eq!(outcome.code, 9, "{}{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.stdout, "", "no file stays on the full disk");
    assert!(
        outcome.stderr.contains("No space left on device"),
        "{}",
        outcome.stderr
    );
    let kept = fs::read_to_string(folder.path().join("orders.tgz")).unwrap();
    assert_eq!(kept, "previous");
}
