//! Images of jobs go to a registry or an engine, and run there.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{fs, path::Path, process::Command};

use e2e::{Outcome, peer, program, run, sample_job};

/// An engine with the base image, and its command line.
struct Engine {
    host: String,
    program: Vec<String>,
    jre: String,
}

impl Engine {
    fn docker() -> Option<Self> {
        let (docker, host) = (peer("DOCKER")?, peer("DOCKER_HOST")?);
        Some(Self {
            program: vec![docker, "-H".to_owned(), host.clone()],
            host,
            jre: peer("JRE_IMAGE")?,
        })
    }

    fn podman() -> Option<Self> {
        let (podman, host) = (peer("PODMAN")?, peer("PODMAN_HOST")?);
        Some(Self {
            program: vec![podman, "--url".to_owned(), host.clone()],
            host,
            jre: peer("JRE_IMAGE")?,
        })
    }

    fn command(&self, args: &[&str]) -> Outcome {
        let (program, first) = self.program.split_first().unwrap();
        run(Command::new(program).args(first).args(args))
    }

    fn job2docker(&self, args: &[&str]) -> Command {
        let mut command = program("job2docker");
        command.env("DOCKER_HOST", &self.host).args(args);
        command
    }

    /// The sample job as an image in a layout, with context variables from outside.
    fn build(&self, folder: &Path) -> String {
        let image = format!("oci:{}:v1", folder.join("image").display());
        let base = format!("docker-daemon:{}", self.jre);
        let mut build = self.job2docker(&["build", "--base", &base, "--to", &image]);
        run(build
            .args(["--context-from-env", "CONTEXT_"])
            .arg(sample_job()))
        .success();
        image
    }
}

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("gantry-test/deploy-{of}-{}:1", std::process::id())
}

#[test]
fn a_job_is_loaded_and_run_with_its_volumes() {
    let engines = [("docker", Engine::docker()), ("podman", Engine::podman())];
    for (program, engine) in engines {
        let Some(engine) = engine else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let image = engine.build(folder.path());
        let volumes = folder.path().join("volumes");
        // What is mounted at /talend/config is what the job runs with.
        fs::create_dir_all(volumes.join("config/context")).unwrap();
        fs::write(volumes.join("config/context/exit"), "3").unwrap();
        let name = name(program);
        let to = format!("docker-daemon:{name}");
        let args = [
            "deploy",
            &image,
            "--to",
            &to,
            "--volumes",
            volumes.to_str().unwrap(),
        ];

        let started = run(engine.job2docker(&args).args([
            "--run",
            "--job",
            "sample_job",
            "--",
            "--context=Production",
        ]));
        assert_eq!(
            started.code, 3,
            "{program}: {}{}",
            started.stdout, started.stderr
        );
        assert!(
            started.stdout.contains("context Production"),
            "{}",
            started.stdout
        );
        for directory in ["in", "out", "data", "log"] {
            assert!(volumes.join(directory).is_dir(), "{program}: {directory}");
        }

        // The command that is printed does the same.
        let said = run(engine
            .job2docker(&args)
            .args(["--json", "--engine", program]))
        .json();
        let line = said["command"].as_str().unwrap();
        let line = line.replacen(&format!("{program} run"), "\"$@\" run", 1);
        let script = ["-euc", &line, "sh"];
        let printed = run(Command::new("sh").args(script).args(&engine.program));
        assert_eq!(
            printed.code, 3,
            "{program}: {}{}",
            printed.stdout, printed.stderr
        );

        let other = run(engine.job2docker(&args).args(["--job", "other"]));
        assert_eq!(other.code, 3, "{program}: not found: {}", other.stderr);
        assert!(
            other.stderr.contains("no job `other`, only `sample_job`"),
            "{}",
            other.stderr
        );
        engine.command(&["rmi", "-f", &name]).success();
    }
}

#[test]
fn an_image_is_pushed_after_the_hook_and_runs_from_the_registry() {
    let (Some(registry), Some(engine)) = (peer("REGISTRY"), Engine::docker()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let image = engine.build(folder.path());
    let name = format!("{registry}/{}", name("push"));
    let to = format!("docker://{name}");
    let told = folder.path().join("told");
    let hook = format!(
        "printf '%s|%s|%s' \"$JOB2DOCKER_REGISTRY\" \"$JOB2DOCKER_REPOSITORY\" \"$JOB2DOCKER_TAG\" > '{}'",
        told.display()
    );

    // A hook that fails leaves the registry as it is.
    let args = ["deploy", &image, "--to", &to];
    let failed = run(engine.job2docker(&args).args(["--exec", "exit 7"]));
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(
        failed.stderr.contains("the hook failed: exit status: 7"),
        "{}",
        failed.stderr
    );
    let pulled = run(&mut engine.job2docker(&["deploy", &to, "--to", &to, "--dry-run"]));
    assert_eq!(pulled.code, 3, "nothing is there: {}", pulled.stderr);

    let said = run(engine.job2docker(&args).args(["--exec", &hook, "--json"])).json();
    let (path, tag) = name.split_once('/').unwrap().1.rsplit_once(':').unwrap();
    let hooked = fs::read_to_string(told).unwrap();
    assert_eq!(hooked, format!("{registry}|{path}|{tag}"));
    let there = run(&mut engine.job2docker(&["deploy", &to, "--to", &to, "--dry-run", "--json"]));
    assert_eq!(there.json()["digest"], said["digest"], "byte for byte");

    let started = run(engine
        .job2docker(&args)
        .args(["--run", "--context_param", "exit=5"]));
    assert_eq!(started.code, 5, "{}{}", started.stdout, started.stderr);
    engine.command(&["rmi", "-f", &name]).success();
}
