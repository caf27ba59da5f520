//! Packages: published, installed, switched and run, by the programs that users have.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use e2e::{Outcome, peer, program, run};
use registryd::{Server, storage::MemoryStorage};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A registry of its own, and a folder with a prefix.
struct House {
    server: Server,
    // After the server, which needs it to the end.
    _runtime: Runtime,
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = Server::builder(MemoryStorage::new()).bind("127.0.0.1:0");
        let server = runtime.block_on(server).unwrap();
        Self {
            server,
            _runtime: runtime,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.server.addr())
    }

    /// `layerpkg`, with the prefix `prefix` of the folder.
    fn command(&self, prefix: &str, args: &[&str]) -> Command {
        let mut command = program("layerpkg");
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("LAYERPKG_PREFIX", self.path(prefix))
            .env("HOME", self.path("home"))
            .env_remove("RUST_LOG")
            .env_remove("SOURCE_DATE_EPOCH");
        command
    }

    fn layerpkg(&self, args: &[&str]) -> Outcome {
        run(&mut self.command("prefix", args))
    }

    fn shim(&self, tool: &str) -> Command {
        Command::new(self.path("prefix/bin").join(tool))
    }

    /// A package with a program that says its name and `version`, and some `files`.
    fn package(&self, version: &str, tool: &str, files: usize) -> PathBuf {
        let directory = self.path(&format!("package-{version}"));
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::create_dir_all(directory.join("lib")).unwrap();
        let path = directory.join("bin").join(tool);
        let text = format!("#!/bin/sh\necho {tool} {version} \"$@\"\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        for number in 0..files {
            let text = format!("{version} {number}\n").repeat(1000);
            fs::write(directory.join(format!("lib/{number}")), text).unwrap();
        }
        directory
    }

    fn publish(&self, version: &str, tool: &str, files: usize) -> String {
        let directory = self.package(version, tool, files);
        let reference = self.reference(&format!("demo:{version}"));
        let done = self.layerpkg(&["publish", directory.to_str().unwrap(), &reference, "--json"]);
        done.json()["digest"].as_str().unwrap().to_owned()
    }

    /// What a user sees of a failure.
    fn failure(&self, outcome: &Outcome) -> String {
        let server = self.server.addr().to_string();
        outcome.failure(&[
            (Path::new(&server), "REGISTRY"),
            (&self.path("prefix"), "PREFIX"),
            (self.folder.path(), "DIR"),
        ])
    }
}

/// All files in a directory with their modes, by path.
fn files(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let mode = path.metadata().unwrap().permissions().mode();
                let name = path.strip_prefix(directory).unwrap().to_owned();
                found.insert(name, (mode, fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_package_is_published_installed_switched_and_run() {
    let house = House::new();
    let one = house.publish("1.0", "hello", 3);
    house.publish("2.0", "hello", 3);
    assert_eq!(house.publish("1.0", "hello", 3), one, "reproducible");
    let reference = house.reference("demo:1.0");
    let dry = house
        .layerpkg(&["install", &reference, "--dry-run", "--json"])
        .json();
    assert_eq!(dry["digest"], one.as_str());
    assert!(!house.path("prefix").exists());
    house.layerpkg(&["install", &reference]).success();
    let by_digest = house.reference(&format!("demo@{one}"));
    let again = house.layerpkg(&["install", &by_digest, "--json"]).json();
    assert_eq!(
        (&again["change"], &again["version"]),
        (&"present".into(), &"1.0".into())
    );
    assert_eq!(
        run(house.shim("hello").args(["a b", "*"])).success(),
        "hello 1.0 a b *\n"
    );

    house
        .layerpkg(&["install", &house.reference("demo:2.0")])
        .success();
    assert_eq!(run(&mut house.shim("hello")).success(), "hello 1.0\n");
    house.layerpkg(&["use", "demo", "2.0"]).success();
    assert_eq!(run(&mut house.shim("hello")).success(), "hello 2.0\n");
    // Whatever name it is called by, and from wherever.
    let mut renamed = house.shim("hello");
    renamed.arg0("other").current_dir("/");
    assert_eq!(run(&mut renamed).success(), "hello 2.0\n");
    let list = house.layerpkg(&["list"]).success();
    let list = list.replace(&house.server.addr().to_string(), "REGISTRY");
    // A digest is what a compressor made of the files, which a later one may do better.
    let digests = [(r"\b[0-9a-f]{12}\b", "[digest]")];
    insta::with_settings!({ filters => digests }, { insta::assert_snapshot!(list) });
    let active = house.path("prefix/active/demo");
    assert_eq!(files(&active), files(&house.path("package-2.0")));

    // A prefix is moved as a whole.
    fs::rename(house.path("prefix"), house.path("moved")).unwrap();
    assert_eq!(
        run(&mut Command::new(house.path("moved/bin/hello"))).success(),
        "hello 2.0\n"
    );
}

#[test]
fn what_docker_builds_from_scratch_is_installed() {
    let (Some(docker), Some(host), Some(registry)) =
        (peer("DOCKER"), peer("DOCKER_HOST"), peer("REGISTRY"))
    else {
        return;
    };
    let house = House::new();
    let docker = |args: &[&str]| run(Command::new(&docker).args(args).env("DOCKER_HOST", &host));
    let directory = house.package("1.0", "hello", 3);
    fs::write(
        directory.join("Dockerfile"),
        "FROM scratch\nCOPY ./ /\nCOPY lib/0 /lib/1\nLABEL org.opencontainers.image.version=1.0\n",
    )
    .unwrap();
    fs::write(
        directory.join(".dockerignore"),
        "Dockerfile\n.dockerignore\n",
    )
    .unwrap();
    let path = format!("layerpkg-{}/engine", std::process::id());
    for registry in [registry, house.server.addr().to_string()] {
        let reference = format!("{registry}/{path}:latest");
        docker(&[
            "build",
            "--quiet",
            "--tag",
            &reference,
            directory.to_str().unwrap(),
        ])
        .success();
        let pushed = docker(&["push", &reference]).success();
        docker(&["rmi", "--force", &reference]).success();
        let done = house
            .layerpkg(&["install", &reference, "--use", "--json"])
            .json();
        let digest = done["digest"].as_str().unwrap();
        assert!(pushed.contains(digest), "{pushed}");
        assert_eq!(
            (&done["name"], &done["version"]),
            (&"engine".into(), &"1.0".into())
        );
        assert_eq!(run(&mut house.shim("hello")).success(), "hello 1.0\n");
        let mut expected = files(&directory);
        expected.retain(|path, _| path.components().count() > 1);
        let lib = expected[Path::new("lib/0")].clone();
        expected.insert("lib/1".into(), lib);
        assert_eq!(files(&house.path("prefix/active/engine")), expected);
    }
}

#[test]
fn the_usual_mistakes_are_told_and_nothing_is_done() {
    let house = House::new();
    house.publish("1.0", "hello", 1);
    house.publish("2.0", "bye", 1);
    let check = |args: &[&str]| house.failure(&house.layerpkg(args));
    let no_digest = format!("{}@sha256:{}", house.reference("demo"), "0".repeat(64));
    let bad_digest = format!("{}@sha256:123", house.reference("demo"));
    let mut shown = vec![
        check(&["publish", "nowhere", &house.reference("demo:3.0")]),
        check(&["install", &house.reference("unknown:1.0")]),
        check(&["install", &house.reference("demo:3.0")]),
        check(&["install", &no_digest]),
        check(&["install", &bad_digest]),
        check(&["use", "demo", "1.0"]),
    ];
    assert!(!house.path("prefix").exists(), "nothing was done");
    for version in ["1.0", "2.0"] {
        let reference = house.reference(&format!("demo:{version}"));
        house.layerpkg(&["install", &reference]).success();
    }
    let before = files(&house.path("prefix/packages"));
    shown.extend([
        check(&["use", "demo", "3.0"]),
        check(&["list", "unknown"]),
        house.failure(&run(&mut house.shim("bye"))),
    ]);
    assert_eq!(files(&house.path("prefix/packages")), before);
    fs::remove_file(house.path("prefix/active/demo")).unwrap();
    shown.push(house.failure(&run(&mut house.shim("bye"))));
    insta::assert_snapshot!(shown.join("\n"));
    let json = house.layerpkg(&["use", "demo", "3.0", "--json"]);
    assert_eq!(json.code, 3);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["class"], "not_found");
}

#[test]
fn two_installs_at_once_do_it_once() {
    let house = House::new();
    house.publish("1.0", "hello", 200);
    let reference = house.reference("demo:1.0");
    let started: Vec<_> = (0..4)
        .map(|_| {
            house
                .command("prefix", &["install", &reference, "--json"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut installed = 0;
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        installed += usize::from(done["change"] == "installed");
    }
    assert_eq!(installed, 1);
    assert_eq!(
        files(&house.path("prefix/active/demo")),
        files(&house.path("package-1.0"))
    );
    assert_eq!(
        fs::read_dir(house.path("prefix/staging")).unwrap().count(),
        0
    );
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_state_or_the_new() {
    const ROUNDS: u32 = 40;
    let house = House::new();
    house.publish("1.0", "hello", 2);
    house.publish("2.0", "hello", 100);
    let (old, new) = (house.reference("demo:1.0"), house.reference("demo:2.0"));
    let expected = files(&house.path("package-2.0"));
    let install = |prefix: &str| house.command(prefix, &["install", &new, "--use", "--quiet"]);
    let start = Instant::now();
    run(&mut install("measured")).success();
    let whole = start.elapsed();
    let mut seen = BTreeMap::new();
    for round in 0..ROUNDS {
        // Every other time there is a version before.
        let prefix = format!("prefix-{round}");
        let upgrade = round % 2 == 0;
        if upgrade {
            run(&mut house.command(&prefix, &["install", &old])).success();
        }
        let mut child = install(&prefix).stdout(Stdio::null()).spawn().unwrap();
        // The moment moves through the whole of an install, and a bit beyond.
        thread::sleep(Duration::from_secs_f64(
            whole.as_secs_f64() * 1.2 * f64::from(round) / f64::from(ROUNDS),
        ));
        child.kill().unwrap();
        child.wait().unwrap();

        let packages = run(&mut house.command(&prefix, &["list", "--json"])).json();
        let versions: Vec<_> = packages[0]["versions"]
            .as_array()
            .map(|all| {
                all.iter()
                    .map(|one| one["version"].as_str().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        let active = packages[0]["active"].as_str();
        let state = match (upgrade, &*versions, active) {
            (true, ["1.0"], Some("1.0")) | (false, [], None) => "old",
            (true, ["1.0", "2.0"], Some("1.0")) => "installed, not active yet",
            (true, ["1.0", "2.0"], Some("2.0")) | (false, ["2.0"], Some("2.0")) => "new",
            other => panic!("round {round}: {other:?}"),
        };
        *seen.entry(state).or_insert(0) += 1;
        if versions.contains(&"2.0") {
            let there = files(&house.path(&prefix).join("packages/demo/2.0"));
            assert_eq!(there, expected, "round {round}");
        }
        let shim = house.path(&prefix).join("bin/hello");
        if let Some(active) = active {
            let said = run(&mut Command::new(&shim)).success();
            assert_eq!(said, format!("hello {active}\n"), "round {round}");
        }
        // The next one mends it, and clears away what is left.
        run(&mut install(&prefix)).success();
        assert_eq!(run(&mut Command::new(&shim)).success(), "hello 2.0\n");
        let there = files(&house.path(&prefix).join("active/demo"));
        assert_eq!(there, expected, "round {round}");
        let staging = fs::read_dir(house.path(&prefix).join("staging")).unwrap();
        assert_eq!(staging.count(), 0, "round {round}");
    }
    assert!(seen.contains_key("old"), "{seen:?}");
    println!("{seen:?}");
}
