//! `job2docker watch` as a process: signals, kills, hooks.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{
    job2docker::{PROGRAM, SAMPLE, zip_of},
    shown,
};

/// A folder with jobs, and one for what they become.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("jobs")).unwrap();
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn add_sample(&self, name: &str) {
        fs::copy(SAMPLE, self.at("jobs").join(name)).unwrap();
    }

    fn add_job(&self, job: &str) {
        let path = format!("{job}/{job}_run.sh");
        let zip = zip_of(&[(&path, "#!/bin/sh\njava -cp . a.B \"$@\"\n")]);
        fs::write(self.at("jobs").join(format!("{job}_0.1.zip")), zip).unwrap();
    }

    /// `job2docker watch` of the folder, quick enough for a test.
    fn watch(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args([
                "watch",
                "jobs",
                "--json",
                "--tgz",
                "out/{job}_{version}.tgz",
            ])
            .args(["--poll", "0.05", "--settle", "0.05", "--patience", "0.1"])
            .args(args)
            .current_dir(self.0.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    /// The watch until there is nothing to do: its exit code and events.
    fn once(&self, args: &[&str]) -> (i32, Vec<serde_json::Value>) {
        let output = self.watch(&[&["--once"], args].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (output.status.code().unwrap(), events.collect())
    }

    fn fifo(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.at(name)).status().unwrap();
        assert!(made.success());
    }
}

/// Paths of the events of that name, sorted.
fn paths<'e>(events: &'e [serde_json::Value], name: &str) -> Vec<&'e str> {
    let mut paths: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == name)
        .map(|event| event["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    paths
}

/// A watch that runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for an event.
    fn next(&mut self, name: &str) -> serde_json::Value {
        loop {
            let line = self.lines.next().expect("the event comes").unwrap();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// A hook that tells by one fifo that it has begun, and ends when something comes by the other.
const BLOCKING: &str = "echo begun > begun; cat go > hooked";

fn wait_for(fifo: &Path) {
    assert_eq!(fs::read_to_string(fifo).unwrap(), "begun\n");
}

#[test]
fn a_folder_is_worked_off() {
    let place = Place::new();
    place.add_sample("sample_job_0.1.zip");
    place.add_job("Load");
    fs::write(place.at("jobs/bad_0.1.zip"), "no zip").unwrap();
    fs::create_dir(place.at("jobs/copy")).unwrap();
    place.add_sample("copy/again_0.1.zip");
    let to = [
        "--to",
        "oci:images:{job}-{version}",
        "--base",
        "scratch",
        "--parallel",
        "1",
    ];
    let (code, events) = place.once(&to);
    assert_eq!(code, 6, "{events:?}");
    assert_eq!(
        paths(&events, "done"),
        ["Load_0.1.zip", "copy/again_0.1.zip"]
    );
    // The same job by another name would overwrite the first.
    assert_eq!(
        paths(&events, "failed"),
        ["bad_0.1.zip", "sample_job_0.1.zip"]
    );
    for archive in ["Load_0.1.tgz", "sample_job_0.1.tgz"] {
        assert!(place.at("out").join(archive).is_file(), "{archive}");
    }
    let index = fs::read_to_string(place.at("images/index.json")).unwrap();
    for name in ["load-0.1", "sample_job-0.1"] {
        assert!(index.contains(&format!("\"{name}\"")), "{index}");
    }

    fs::remove_dir_all(place.at("out")).unwrap();
    let (code, events) = place.once(&to);
    assert_eq!(events.len(), 3, "nothing is done twice: {events:?}");
    let failed = ["bad_0.1.zip", "sample_job_0.1.zip"];
    assert_eq!((code, paths(&events, "still_failed")), (6, failed.to_vec()));
    for zip in failed {
        fs::remove_file(place.at("jobs").join(zip)).unwrap();
    }
    let (code, events) = place.once(&to);
    assert_eq!((code, events.len()), (0, 1), "{events:?}");
    let list = shown(PROGRAM, &["watch", "jobs", "--list"], place.0.path());
    insta::assert_snapshot!(list);
}

#[test]
fn mistakes_are_told_at_once() {
    let place = Place::new();
    let mut text = String::new();
    for args in [
        &["watch", "nowhere", "--tgz", "{job}.tgz"][..],
        &["watch", "jobs"],
        &["watch", "jobs", "--tgz", "all.tgz"],
        &["watch", "jobs", "--to", "oci:x:{name}"],
        &["watch", "jobs", "--tgz", "{job}.tgz", "--poll", "soon"],
    ] {
        text += &format!("{}\n", shown(PROGRAM, args, place.0.path()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_signal_lets_what_has_begun_be_finished() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        place.fifo("begun");
        place.fifo("go");
        place.add_job("first");
        place.add_job("second");
        let args = ["--exec", BLOCKING, "--parallel", "1"];
        let mut running = Running::start(&mut place.watch(&args));
        wait_for(&place.at("begun"));
        running.signal(signal);
        assert_eq!(running.next("stopping")["in_work"], 1, "{signal}");
        fs::write(place.at("go"), "on").unwrap();
        assert_eq!(running.next("done")["path"], "first_0.1.zip", "{signal}");
        assert_eq!(running.child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(fs::read_to_string(place.at("hooked")).unwrap(), "on");
        assert!(
            !place.at("out/second_0.1.tgz").exists(),
            "{signal}: no more is taken"
        );
        // The next one does the rest.
        let (code, events) = place.once(&[]);
        assert_eq!(
            (code, paths(&events, "done")),
            (0, vec!["second_0.1.zip"]),
            "{signal}"
        );
    }
}

#[test]
fn after_a_kill_what_was_begun_is_done_again() {
    let place = Place::new();
    place.fifo("begun");
    place.fifo("go");
    place.add_job("a");
    place.add_job("b");
    // The second one blocks; the first is remembered by then.
    let hook = format!("case $JOB2DOCKER_JOB in b) {BLOCKING};; esac");
    let mut running = Running::start(&mut place.watch(&["--exec", &hook, "--parallel", "1"]));
    assert_eq!(running.next("done")["path"], "a_0.1.zip");
    wait_for(&place.at("begun"));
    running.signal("-KILL");
    running.child.wait().unwrap();
    // Lets the hook end, which nobody waits for.
    fs::write(place.at("go"), "").unwrap();
    let state = fs::read(place.at("jobs/.job2docker-watch.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let files: Vec<_> = state["files"].as_object().unwrap().keys().collect();
    assert_eq!(files, ["a_0.1.zip"]);
    let (code, events) = place.once(&[]);
    assert_eq!((code, paths(&events, "done")), (0, vec!["b_0.1.zip"]));
}

#[test]
fn a_hook_that_fails_fails_its_zip_alone() {
    let place = Place::new();
    for job in ["a", "b", "c"] {
        place.add_job(job);
    }
    let hook = "echo \"$JOB2DOCKER_JOB $JOB2DOCKER_VERSION $JOB2DOCKER_TGZ\" >> told; \
                test \"$JOB2DOCKER_JOB\" != b";
    let (code, events) = place.once(&["--exec", hook, "--parallel", "1"]);
    assert_eq!(code, 6);
    assert_eq!(paths(&events, "done"), ["a_0.1.zip", "c_0.1.zip"]);
    let failed = events
        .iter()
        .find(|event| event["event"] == "failed")
        .unwrap();
    assert_eq!(failed["path"], "b_0.1.zip");
    assert_eq!(failed["error"], "the hook failed: exit status: 1");
    let told = fs::read_to_string(place.at("told")).unwrap();
    assert_eq!(
        told,
        "a 0.1 out/a_0.1.tgz\nb 0.1 out/b_0.1.tgz\nc 0.1 out/c_0.1.tgz\n"
    );
}
