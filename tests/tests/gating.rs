//! Speculative images: built for a change, pulled by its consumers through the buildset registry,
//! uploaded, and promoted, with Podman as the client and Debian's docker-registry as the target.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use e2e::{Outcome, peer, program, run};
use serde_json::Value;
use tempfile::TempDir;

/// A running buildset registry, and a directory for all files of the test.
struct Buildset {
    dir: TempDir,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// `HOST:PORT`.
    address: String,
}

impl Buildset {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut command = program("imggate");
        command.args(["run-buildset", "--listen", "127.0.0.1:0"]);
        command.current_dir(&dir).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It prints a line once it answers.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let text = fs::read_to_string(dir.path().join("buildset_registry.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let port = &value["buildset_registry"]["port"];
        Self {
            address: format!("127.0.0.1:{port}"),
            dir,
            child,
            stdout,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn password(&self) -> String {
        let text = fs::read_to_string(self.at("buildset_registry.json")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let password = value["buildset_registry"]["password"].as_str();
        password.unwrap().to_owned()
    }

    fn imggate(&self, args: &[&str]) -> Outcome {
        imggate(self.dir.path(), args)
    }

    /// Configures Podman's files below `root` in the directory.
    fn use_buildset(&self, more: &[&str]) -> Outcome {
        let mut args = vec!["use-buildset", "--for", "podman", "--root", "root"];
        args.extend(more);
        self.imggate(&args)
    }

    /// Podman with the files below `root`, storage of its own, and a proxy where nobody answers
    /// between it and all upstream registries.
    fn podman(&self, program: &str, args: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        command.args(["--storage-driver", "vfs"]);
        for (option, path) in [
            ("--root", "podman/root"),
            ("--runroot", "podman/run"),
            ("--tmpdir", "podman/tmp"),
            ("--registries-conf", "root/etc/containers/registries.conf"),
        ] {
            command.arg(option).arg(self.at(path));
        }
        command
            .args(args)
            .env(
                "REGISTRY_AUTH_FILE",
                self.at("root/srv/ci/.config/containers/auth.json"),
            )
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "127.0.0.1");
        run(&mut command)
    }

    fn certs(&self) -> String {
        let path = format!("root/etc/containers/certs.d/{}", self.address);
        self.at(&path).display().to_string()
    }

    /// Tells it to stop as a job's end does.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-TERM", &pid])).success();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        assert_eq!(self.stdout.read_line(&mut rest).unwrap(), 0, "{rest}");
    }
}

impl Drop for Buildset {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn imggate(dir: &Path, args: &[&str]) -> Outcome {
    let mut command = program("imggate");
    command
        .args(args)
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .env_remove("COLUMNS")
        .env("HOME", "/srv/ci")
        .env("REGISTRY_AUTH_FILE", dir.join("no-auth.json"));
    run(&mut command)
}

/// A name that no other run has.
fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

#[test]
fn an_image_of_a_change_is_pulled_uploaded_and_promoted() {
    let (Some(podman), Some(registry), Some(skopeo)) =
        (peer("PODMAN"), peer("REGISTRY"), peer("SKOPEO"))
    else {
        return;
    };
    let (buildset, unique) = (Buildset::start(), unique());
    let podman = |args: &[&str]| buildset.podman(&podman, args);
    buildset.use_buildset(&[]).success();
    let again = buildset.use_buildset(&["--json"]).json();
    let actions: Vec<_> = again["files"].as_array().unwrap().iter().collect();
    assert_eq!(actions.len(), 3);
    assert!(
        actions.iter().all(|file| file["action"] == "keep"),
        "{again}"
    );

    // Change A builds an image, and pushes it to the buildset registry.
    let context = buildset.at("a");
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY text /text\n",
    )
    .unwrap();
    fs::write(context.join("text"), &unique).unwrap();
    let context = context.display().to_string();
    podman(&["build", "--tag", "a", &context]).success();
    let (certs, digest_file) = (buildset.certs(), buildset.at("digest"));
    let push = |options: &[&str], tag: &str| {
        let target = format!("docker://{}/library/base:{tag}", buildset.address);
        let mut args = vec!["push", "--cert-dir", &certs];
        args.extend(options);
        args.extend(["a", &target]);
        podman(&args)
    };
    let stranger = push(&["--creds", "zuul:wrong"], "latest");
    assert_ne!(stranger.code, 0, "only who knows the password pushes");
    let digest_option = digest_file.display().to_string();
    push(&["--digestfile", &digest_option], "latest").success();
    push(&[], &unique).success();
    let digest = fs::read_to_string(&digest_file).unwrap();

    // A consumer pulls it by the name that it will have, with nothing upstream.
    podman(&["rmi", "--all", "--force"]).success();
    podman(&["pull", "--cert-dir", &certs, "docker.io/library/base"]).success();
    let format = ["--format", "{{.Digest}}"];
    let inspect = |image: &str| podman(&["image", "inspect", format[0], format[1], image]);
    let pulled = inspect("docker.io/library/base:latest").success();
    assert_eq!(pulled.trim(), digest);
    let absent = podman(&["pull", "--cert-dir", &certs, "docker.io/library/absent"]);
    assert_ne!(absent.code, 0, "nothing upstream is reached");

    // A build of change B, which depends on A, is based on it.
    podman(&["rmi", "--all", "--force"]).success();
    let context = buildset.at("b");
    fs::create_dir(&context).unwrap();
    let dockerfile = "FROM docker.io/library/base\nCOPY more /more\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    fs::write(context.join("more"), "b").unwrap();
    let context = context.display().to_string();
    podman(&["build", "--cert-dir", &certs, "--tag", "b", &context]).success();
    let based = inspect("docker.io/library/base:latest").success();
    assert_eq!(based.trim(), digest);

    // The gate uploads it under a temporary tag, and records the digest.
    let image = format!("docker.io/library/base:{unique}");
    let upload = [
        "upload",
        &image,
        "--to",
        &registry,
        "--change",
        "7",
        "--patchset",
        "1",
        "--build",
        &unique,
    ];
    let final_name = format!("{registry}/library/base:{unique}");
    let temporary = format!("{registry}/library/base:change_7_1_{unique}_{unique}");
    let at_registry = |image: &str| {
        let mut command = Command::new(&skopeo);
        command.args(["inspect", "--tls-verify=false", format[0], format[1]]);
        run(command.arg(format!("docker://{image}")))
    };
    let dry = [&upload[..], &["--dry-run", "--json"]].concat();
    let plan = buildset.imggate(&dry).json();
    assert_eq!(plan["images"][0]["temporary"], temporary.as_str());
    assert!(!buildset.at("artifacts.json").exists());
    assert_ne!(at_registry(&temporary).code, 0, "a plan uploads nothing");
    buildset.imggate(&upload).success();
    let record = fs::read_to_string(buildset.at("artifacts.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let metadata = &record["zuul"]["artifacts"][0]["metadata"];
    assert_eq!(metadata["digest"], digest.as_str());
    assert_eq!(at_registry(&temporary).success().trim(), digest);
    assert_ne!(at_registry(&final_name).code, 0, "not before the merge");

    // After the merge, it gets its final tag; twice is once.
    let plan = buildset.imggate(&["promote", "--dry-run", "--json"]).json();
    assert_eq!(plan["images"][0]["manifest"]["digest"], digest.as_str());
    assert_ne!(at_registry(&final_name).code, 0, "a plan promotes nothing");
    for _ in 0..2 {
        let done = buildset.imggate(&["promote", "--json"]).json();
        assert_eq!(done[0]["image"], final_name.as_str());
        assert_eq!(at_registry(&final_name).success().trim(), digest);
    }

    // A temporary tag that something else pushed to is not promoted.
    let mut copy = Command::new(&skopeo);
    copy.args(["--insecure-policy", "copy", "--src-tls-verify=false"]);
    copy.arg("--dest-tls-verify=false");
    copy.arg(format!("docker://{registry}/gantry/probe:1"));
    run(copy.arg(format!("docker://{temporary}"))).success();
    let refused = buildset.imggate(&["promote"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("has moved"), "{}", refused.stderr);
    assert_eq!(at_registry(&final_name).success().trim(), digest);
    buildset.stop();
}

#[test]
fn the_password_is_in_private_files_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let plan = ["run-buildset", "--host", "node.example", "--dry-run"];
    insta::assert_snapshot!("plan_of_run_buildset", imggate(dir.path(), &plan).success());
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        0,
        "a plan writes nothing"
    );

    let buildset = Buildset::start();
    let password = buildset.password();
    let file = buildset.at("buildset_registry.json");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for arguments in [
        &["--dry-run"][..],
        &["--dry-run", "--json"],
        &[],
        &["--json"],
    ] {
        let done = buildset.use_buildset(arguments);
        let shown = format!("{}{}", done.stdout, done.stderr);
        assert_eq!(done.code, 0, "{shown}");
        assert!(
            !shown.contains(&password),
            "{arguments:?} shows the password"
        );
    }
    let auth = buildset.at("root/srv/ci/.config/containers/auth.json");
    assert_eq!(
        fs::metadata(&auth).unwrap().permissions().mode() & 0o777,
        0o600
    );
    buildset.stop();
}

#[test]
fn the_password_goes_to_standard_output_if_told_so() {
    let dir = TempDir::new().unwrap();
    let mut command = program("imggate");
    command.args(["run-buildset", "--listen", "127.0.0.1:0", "--output", "-"]);
    command.current_dir(&dir).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    run(Command::new("kill").args(["-TERM", &child.id().to_string()])).success();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(
        value["buildset_registry"]["password"]
            .as_str()
            .unwrap()
            .len()
            >= 32
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn mistakes_are_told_and_nothing_is_half_done() {
    let buildset = Buildset::start();
    let dir = buildset.dir.path();
    fs::write(
        dir.join("broken.json"),
        "{\n  \"buildset_registry\": {\"host\": \"h\",}\n}\n",
    )
    .unwrap();
    let unpinned = serde_json::json!({"zuul": {"artifacts": [{
        "name": "h.io/a:1", "url": "docker://h.io/a:change_1_1",
        "metadata": {"type": "container_image", "repository": "h.io/a", "tag": "1"},
    }]}});
    fs::write(dir.join("unpinned.json"), unpinned.to_string()).unwrap();
    fs::write(dir.join("empty.json"), "[]").unwrap();
    let conf = dir.join("broken-root/etc/containers");
    fs::create_dir_all(&conf).unwrap();
    fs::write(
        conf.join("registries.conf"),
        "[[registry]]\nlocation = \"docker.io\n",
    )
    .unwrap();
    let upload = ["upload", "base:1", "--to", "127.0.0.1:9", "--build", "x"];
    let change = ["--change", "1", "--patchset", "1"];
    let address = buildset.address.clone();

    for (name, code, args) in [
        (
            "no_buildset",
            3,
            vec!["use-buildset", "nowhere.json", "--for", "podman"],
        ),
        (
            "broken_buildset",
            6,
            vec!["use-buildset", "broken.json", "--for", "podman"],
        ),
        (
            "broken_registries_conf",
            6,
            vec!["use-buildset", "--for", "podman", "--root", "broken-root"],
        ),
        ("unknown_image", 3, [&upload[..], &change].concat()),
        ("no_change", 2, upload.to_vec()),
        (
            "bad_pipeline",
            6,
            [&upload[..], &["--pipeline", "a/b"]].concat(),
        ),
        ("unpinned_record", 6, vec!["promote", "unpinned.json"]),
        ("empty_record", 6, vec!["promote", "empty.json"]),
        (
            "bad_host",
            6,
            vec!["run-buildset", "--host", "http://node.example"],
        ),
        (
            "port_in_use",
            1,
            vec![
                "run-buildset",
                "--listen",
                &address,
                "--output",
                "second.json",
            ],
        ),
    ] {
        let failed = buildset.imggate(&args);
        assert_eq!(failed.code, code, "{name}: {}", failed.stderr);
        assert_eq!(failed.stdout, "", "{name}");
        let text = failed.failure(&[(dir, "DIR"), (Path::new(&address), "BUILDSET")]);
        insta::assert_snapshot!(name, text);
    }
    let written = [
        "artifacts.json",
        "second.json",
        "broken-root/home",
        "broken-root/etc/hosts",
    ];
    for path in written {
        assert!(!dir.join(path).exists(), "{path} was written");
    }
    assert_eq!(
        fs::read_dir(&conf).unwrap().count(),
        1,
        "no certificate was left"
    );
    buildset.stop();
}

#[test]
fn help_and_failures_are_for_people_and_programs() {
    let dir = TempDir::new().unwrap();
    let commands = ["", "run-buildset", "use-buildset", "upload", "promote"];
    let help = commands.map(|command| {
        let args = [command, "--help"];
        let args = if command.is_empty() {
            &args[1..]
        } else {
            &args
        };
        imggate(dir.path(), args).success()
    });
    insta::assert_snapshot!("help", help.join("\n"));
    let failed = imggate(dir.path(), &["promote", "nowhere.json", "--json"]);
    let told: Value = serde_json::from_str(&failed.stderr).unwrap();
    assert_eq!(
        (failed.code, told["class"].as_str()),
        (3, Some("not_found"))
    );
    assert_eq!(told["hint"], "`imggate upload` writes it");
}
