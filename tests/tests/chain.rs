//! Chains of images are built by a real engine: parents first, several at once, and never on a
//! parent from an earlier run.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{
    fs,
    path::Path,
    process::{Command, id},
};

use e2e::{Outcome, peer, program, real_data, run};
use serde_json::Value;
use tempfile::TempDir;

/// Paths with their texts.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A project whose images nobody else has, removed in the end.
struct Chain {
    root: TempDir,
    /// First part of the names of its images.
    name: String,
    host: Option<String>,
}

impl Chain {
    fn new(test: &str, files: Files<'_>) -> Self {
        let chain = Self {
            root: tempfile::Builder::new().prefix(test).tempdir().unwrap(),
            name: format!("gantry-{test}-{}", id()),
            host: None,
        };
        for (path, text) in files {
            chain.write(path, text);
        }
        chain
    }

    /// As above, with the eight images of the chain and the engine that builds them.
    fn eight(test: &str) -> Option<Self> {
        let (host, busybox) = (peer("DOCKER_HOST")?, peer("BUSYBOX_STATIC")?);
        let mut chain = Self::new(test, EIGHT);
        chain.host = Some(host);
        fs::copy(busybox, chain.root.path().join("busybox")).unwrap();
        Some(chain)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("NAME", &self.name)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program("imgchain");
        command.current_dir(self.root.path()).args(args);
        for variable in [
            "DOCKER_FOLDER",
            "BUILDER_ARGS",
            "DOCKER_CONTEXT",
            "DOCKER_TLS_VERIFY",
        ] {
            command.env_remove(variable);
        }
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    fn imgchain(&self, args: &[&str]) -> Outcome {
        run(&mut self.command(args))
    }

    fn report(&self, args: &[&str], code: i32) -> Report {
        let outcome = self.imgchain(&[&["build", "--json"], args].concat());
        assert_eq!(outcome.code, code, "{}\n{}", outcome.stdout, outcome.stderr);
        Report {
            images: serde_json::from_str::<Value>(&outcome.stdout).unwrap()["images"].take(),
            name: self.name.clone(),
        }
    }

    /// What a container of an image prints.
    fn output(&self, image: &str, args: &[&str]) -> String {
        let image = format!("{}/{image}", self.name);
        let run_args = ["run", "--rm", "--network=none", "--cgroupns=host", &image];
        run(self.docker().args(run_args).args(args)).success()
    }

    /// The id of an image; empty if there is none.
    fn id(&self, image: &str) -> String {
        let image = format!("{}/{image}", self.name);
        let args = ["image", "inspect", "--format={{.Id}}", &image];
        run(self.docker().args(args)).stdout.trim().to_owned()
    }

    fn docker(&self) -> Command {
        let mut command = Command::new(peer("DOCKER").expect("an engine has its client"));
        command.env("DOCKER_HOST", self.host.as_ref().unwrap());
        command
    }

    fn snapshot(&self, text: &str) -> String {
        let root = fs::canonicalize(self.root.path()).unwrap();
        let text = text.replace(&root.display().to_string(), "[root]");
        let mut text = text.replace(&self.name, "NAME");
        while let Some(at) = text.find("sha256:") {
            let digits = text[at + 7..]
                .bytes()
                .take_while(u8::is_ascii_hexdigit)
                .count();
            text.replace_range(at..at + 7 + digits, "[id]");
        }
        // Columns are as wide as the names, which are not always the same.
        let lines = text.lines().map(|line| {
            let cells = line
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty());
            cells.collect::<Vec<_>>().join("  ") + "\n"
        });
        lines.collect()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if self.host.is_none() {
            return;
        }
        // By their names, for an image that others are built on cannot be removed by its id.
        let reference = format!("--filter=reference={}/*", self.name);
        let format = "--format={{.Repository}}:{{.Tag}}";
        let listed = run(self.docker().args(["image", "ls", format, &reference]));
        let names: Vec<_> = listed.stdout.lines().collect();
        if !names.is_empty() {
            run(self.docker().args(["image", "rm"]).args(names));
        }
    }
}

struct Report {
    images: Value,
    name: String,
}

impl Report {
    /// Each image with what became of it, in the order of the plan.
    fn outcomes(&self) -> Vec<String> {
        let images = self.images.as_array().unwrap().iter().map(|image| {
            let text = format!(
                "{} {}",
                image["image"].as_str().unwrap(),
                image["outcome"].as_str().unwrap()
            );
            let by = image["by"].as_str().map(|by| format!(" by {by}"));
            (text + &by.unwrap_or_default()).replace(&format!("{}/", self.name), "")
        });
        images.collect()
    }

    fn id(&self, image: &str) -> String {
        let name = format!("{}/{image}", self.name);
        let images = self.images.as_array().unwrap().iter();
        let mut found = images.filter(|image| image["image"] == *name);
        found.next().unwrap()["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// base <- run <- app <- web, run <- tool, base <- lib; web also takes from lib; alone; other <- alone.
/// Children come before their parents.
const EIGHT: Files<'_> = &[
    (
        "docker/IMAGES.json",
        r#"{"images": [
  {"tag": "NAME/web:1", "dockerfile": "Dockerfile.{name}"},
  {"tag": "NAME/app:1", "dockerfile": "Dockerfile.{name}", "extra_args": "--build-arg RUN={img_parts[repo]}/run:{version}"},
  {"tag": "NAME/run:1", "dockerfile": "docker/{name}:{version}", "extra_args": "--label level=run"},
  {"tag": "NAME/base:1", "dockerfile": "Dockerfile"},
  {"tag": "NAME/lib:1", "dockerfile": "Dockerfile.{name}"},
  {"tag": "NAME/tool:1", "dockerfile": "Dockerfile.{name}"},
  {"tag": "NAME/other:1", "dockerfile": "Dockerfile", "working_dir": "../other"},
  {"tag": "NAME/alone:1", "dockerfile": "Dockerfile.{name}"}
]}
"#,
    ),
    (".dockerignore", "*\n!busybox\n!version\n!docker/*\n"),
    ("version", "first\n"),
    ("secret", "nobody should have this"),
    (
        "Dockerfile",
        "FROM scratch\nCOPY . /\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\"]\n",
    ),
    (
        "docker/run:1",
        "FROM NAME/base:1\nCOPY version /run-version\n",
    ),
    (
        "Dockerfile.app",
        "ARG RUN=none\nFROM ${RUN}\nCOPY version /app-version\n",
    ),
    (
        "Dockerfile.lib",
        "FROM NAME/base:1 AS build\nFROM scratch\nCOPY --from=build /version /lib-version\n",
    ),
    (
        "Dockerfile.tool",
        "FROM docker.io/NAME/run:1\nCOPY version /tool-version\n",
    ),
    (
        "Dockerfile.web",
        "FROM NAME/app:1\nCOPY --from=NAME/lib:1 /lib-version /web-version\n",
    ),
    ("Dockerfile.alone", "FROM scratch\nCOPY version /\n"),
    ("other/Dockerfile", "FROM NAME/alone:1\nCOPY inside /\n"),
    ("other/inside", "inside\n"),
];

const ORDER: [&str; 8] = [
    "base:1", "run:1", "app:1", "lib:1", "web:1", "tool:1", "alone:1", "other:1",
];

#[test]
fn eight_images_are_built_on_an_engine() {
    let Some(chain) = Chain::eight("chain") else {
        return;
    };
    insta::assert_snapshot!(
        "plan_of_eight",
        chain.snapshot(&chain.imgchain(&["plan"]).success())
    );

    let first = chain.report(&["-j", "4"], 0);
    assert_eq!(
        first.outcomes(),
        ORDER.map(|image| format!("{image} built"))
    );
    for image in ORDER {
        assert_eq!(first.id(image), chain.id(image), "{image}");
    }
    for file in ["/version", "/run-version", "/app-version", "/web-version"] {
        assert_eq!(chain.output("web:1", &["cat", file]), "first\n", "{file}");
    }
    // What .dockerignore keeps out is not there; Docker itself leaves these directories.
    assert_eq!(
        chain.output(
            "base:1",
            &["find", "/", "-maxdepth", "1", "-name", "secret"]
        ),
        ""
    );

    // Nothing changed: the engine's cache gives the same images.
    let again = chain.report(&["-j", "1"], 0);
    assert_eq!(again.images.as_array().unwrap().len(), 8);
    assert!(ORDER.iter().all(|image| again.id(image) == first.id(image)));
}

#[test]
fn a_failing_image_leaves_no_child_on_a_stale_parent() {
    let Some(chain) = Chain::eight("stale") else {
        return;
    };
    let first = chain.report(&[], 0);

    // All would be built anew, but one in the middle fails.
    chain.write("version", "second\n");
    chain.write("docker/run:1", "FROM NAME/base:1\nCOPY version /run-version\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo too bad; exit 7\"]\n");
    let second = chain.report(&["-j", "3"], 1);
    let by = format!("blocked by dockerfile__{}/run:1", chain.name)
        .replace(&format!("{}/", chain.name), "");
    assert_eq!(
        second.outcomes(),
        [
            "base:1 built".to_owned(),
            "run:1 failed".to_owned(),
            format!("app:1 {by}"),
            "lib:1 built".to_owned(),
            format!("web:1 {by}"),
            format!("tool:1 {by}"),
            "alone:1 built".to_owned(),
            "other:1 built".to_owned(),
        ]
    );
    for image in ["run:1", "app:1", "web:1", "tool:1"] {
        assert_eq!(chain.id(image), first.id(image), "{image} is what it was");
    }
    for image in ["base:1", "lib:1", "alone:1", "other:1"] {
        assert_ne!(chain.id(image), first.id(image), "{image} is new");
    }
    let failed = &second.images[1];
    let tail = failed["tail"].to_string();
    assert!(tail.contains("too bad"), "{failed}");

    let text = chain.imgchain(&["build", "-j", "1"]);
    assert_eq!(text.code, 1);
    insta::assert_snapshot!(
        "report_of_a_failure",
        chain.snapshot(&(text.stdout + &text.stderr))
    );

    // Repaired, all are built on what is new.
    chain.write(
        "docker/run:1",
        "FROM NAME/base:1\nCOPY version /run-version\n",
    );
    chain.report(&[], 0);
    assert_eq!(
        chain.output("web:1", &["cat", "/version", "/web-version"]),
        "second\nsecond\n"
    );
}

#[test]
fn a_dockerfile_that_only_buildkit_understands_is_built_by_it() {
    let Some(chain) = Chain::eight("buildkit") else {
        return;
    };
    // The older builder refuses `--chmod`.
    chain.write(
        "docker/run:1",
        "FROM NAME/base:1\nCOPY --chmod=600 version /run-version\n",
    );
    let tool = format!("{}/tool:1", chain.name);
    chain.report(&["--skip", &tool], 0);
    let mode = ["stat", "-c", "%a", "/run-version"];
    assert_eq!(chain.output("app:1", &mode), "600\n");
}

#[test]
fn a_selection_takes_the_others_as_they_are() {
    let Some(chain) = Chain::eight("select") else {
        return;
    };
    let name = |image: &str| format!("{}/{image}", chain.name);
    chain.report(&["--images", &name("base:1"), &name("run:1")], 0);
    chain.write("version", "second\n");
    let report = chain.report(&["--images", &format!("dockerfile__{}", name("tool:1"))], 0);
    assert_eq!(
        report
            .outcomes()
            .iter()
            .filter(|outcome| outcome.ends_with("built"))
            .count(),
        1
    );
    assert_eq!(
        chain.output("tool:1", &["cat", "/tool-version", "/run-version"]),
        "second\nfirst\n"
    );
    assert_eq!(chain.id("app:1"), "");
}

#[test]
fn the_usual_mistakes_are_told_and_nothing_is_done() {
    let file = r#"{"images": [
  {"tag": "NAME/base:1", "dockerfile": "Dockerfile"},
  {"tag": "NAME/app:1", "dockerfile": "Dokerfile.app"},
  {"tag": "NAME/web:1", "dockerfile": "Dockerfile.web"}
]}"#;
    let good = r#"{"images": [{"tag": "NAME/base:1", "dockerfile": "Dockerfile"}]}"#;
    let scratch = ("Dockerfile", "FROM scratch\n");
    let cases: [(&str, Files<'_>, &[&str]); 8] = [
        ("wrong directory", &[("src/x", "")], &["build"]),
        (
            "wrong path",
            &[("docker/IMAGES.json", good), scratch],
            &["build", "--images-files", "docker/IMAGE.json"],
        ),
        (
            "bad JSON",
            &[(
                "docker/IMAGES.json",
                "{\"images\": [\n  {\"tag\": \"NAME/base:1\"}, # the base\n]}",
            )],
            &["build"],
        ),
        (
            "wrong entries",
            &[
                (
                    "docker/IMAGES.json",
                    "{\"images\": [\n  {\"dockerfile\": \"Dockerfile\"},\n  {\"tag\": \"NAME/Base\", \"builder_type\": \"docker\"},\n  {\"tag\": \"a\", \"builder_type\": \"dokcer\"},\n  \
                 {\"tag\": \"NAME/b:1\", \"dockerfile\": \"Dockerfile\", \"extra_args\": \"--build-arg V={img_part[tag]}\"}\n]}",
                ),
                scratch,
            ],
            &["plan"],
        ),
        (
            "missing Dockerfiles",
            &[("docker/IMAGES.json", file), scratch],
            &["build"],
        ),
        (
            "unknown image",
            &[("docker/IMAGES.json", good), scratch],
            &["build", "--images", "NAME/bse:1"],
        ),
        (
            "packer",
            &[
                ("docker/IMAGES.json", r#"{"images": [{"version": "9"}]}"#),
                ("docker/packer/NAME.json", "{\"builders\": []}"),
            ],
            &["build"],
        ),
        (
            "no engine",
            &[("docker/IMAGES.json", good), scratch],
            &["build"],
        ),
    ];
    let mut text = String::new();
    for (case, files, args) in cases {
        let mut chain = Chain::new("mistake", files);
        chain.name = "demo".to_owned();
        for (path, content) in files {
            chain.write(path, content);
        }
        if case == "packer" {
            let folder = chain.root.path().file_name().unwrap().to_str().unwrap();
            chain.write(
                &format!("docker/packer/{folder}-9.json"),
                "{\"builders\": []}",
            );
        }
        let args: Vec<_> = args.iter().map(|arg| arg.replace("NAME", "demo")).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        // Whatever the machine has: here is no engine.
        let outcome = run(chain
            .command(&args)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
        assert_eq!(outcome.stdout, "", "{case}");
        let folder = chain
            .root
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let shown = outcome.failure(&[(Path::new(&folder), "[folder]")]);
        text.push_str(&format!(
            "== {case}: imgchain {}\n{shown}\n",
            args.join(" ")
        ));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn problems_are_also_data() {
    let chain = Chain::new(
        "problems",
        &[(
            "docker/IMAGES.json",
            "{\"images\": [\n  {\"dockerfile\": \"x\"}\n]}",
        )],
    );
    let outcome = chain.imgchain(&["plan", "--json"]);
    assert_eq!(outcome.code, 6);
    let problems: Value = serde_json::from_str(&outcome.stdout).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems).unwrap());
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(error["class"], "invalid");
}

#[test]
fn a_real_chain_with_dangling_files_names_each_of_them() {
    let Some(data) = real_data() else { return };
    let file = data.join("chain/images/bootstrap_2.0-IMAGES.json");
    let chain = Chain::new("real", &[]);
    chain.write("docker/2.0-IMAGES.json", &fs::read_to_string(file).unwrap());
    let outcome = chain.imgchain(&[
        "build",
        "--json",
        "--images-files",
        "docker/2.0-IMAGES.json",
    ]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let problems = printed["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 20);
    for problem in problems {
        let message = problem["message"].as_str().unwrap();
        assert!(
            message.starts_with("Dockerfile `docker/corpusops/")
                && message.ends_with("does not exist"),
            "{message}"
        );
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let mut text = String::new();
    for args in [
        &["--help"] as &[_],
        &["plan", "--help"],
        &["build", "--help"],
    ] {
        text.push_str(&run(program("imgchain").args(args).env("COLUMNS", "100")).success());
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}
