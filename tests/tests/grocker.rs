//! An application of the Python package index becomes an image that runs without a network.

use std::process::Command;

use e2e::{peer, program, run};

#[test]
fn an_application_is_compiled_and_runs() {
    let (Some(docker), Some(host), Some(python)) =
        (peer("DOCKER"), peer("DOCKER_HOST"), peer("PYTHON_IMAGE"))
    else {
        return;
    };
    let engine = |args: &[&str]| run(Command::new(&docker).args(["-H", &host]).args(args));
    let prefix = format!("gantry-test/grocker-{}", std::process::id());
    let grocker = |args: &[&str]| {
        let mut command = program("grocker");
        command
            .env("DOCKER_HOST", &host)
            .args(["build", "httpie==3.2.4", "--base", &python]);
        command.args([
            "--entrypoint",
            "http",
            "--image-prefix",
            &prefix,
            "--network",
            "host",
        ]);
        run(command
            .args(["--env", "GREETING=hello $HOME", "--port", "8080", "--json"])
            .args(args))
    };
    let plan = grocker(&["--dry-run"]).json();
    assert_eq!(plan["release"], "httpie==3.2.4");

    let first = grocker(&[]).json();
    let image = first["image"].as_str().unwrap();
    assert_eq!(image, format!("docker.io/{prefix}/httpie:3.2.4"));
    assert_eq!(first["reused"], serde_json::json!([]));
    let wheels = first["wheels"].as_array().unwrap();
    let names: Vec<_> = wheels
        .iter()
        .map(|wheel| wheel["file"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"httpie-3.2.4-py3-none-any.whl"),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.starts_with("requests-")),
        "dependencies: {names:?}"
    );

    // The application's own command, as the right user, without a network and without wheels.
    let version = engine(&["run", "--rm", "--network=none", image, "--version"]).success();
    assert_eq!(version.trim(), "3.2.4");
    let shell = ["run", "--rm", "--entrypoint", "sh", image, "-c"];
    let script = "id -un; echo \"$GREETING\"; ls /tmp; find /home -name '*.whl'";
    let seen = engine(&[&shell[..], &[script]].concat()).success();
    assert_eq!(seen, "grocker\nhello $HOME\n");

    let second = grocker(&[]).json();
    assert_eq!(second["reused"], serde_json::json!(["base", "compiler"]));
    assert_eq!(second["wheels"], first["wheels"], "the index gave the same");

    // Nothing but the images is left.
    let label = ["ps", "-aq", "--filter", "label=dev.gantry.owner=grocker"];
    assert_eq!(engine(&label).success(), "");
    for stage in ["base", "compiler", "runner"] {
        let name = plan[stage]["name"].as_str().unwrap();
        engine(&["rmi", "-f", name]).success();
    }
}

#[test]
fn mistakes_are_explained() {
    let Some(host) = peer("DOCKER_HOST") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.yml"), "prots: [80]\n").unwrap();
    let shown = |args: &[&str], host: &str| {
        let mut command = program("grocker");
        command
            .current_dir(directory.path())
            .env("DOCKER_HOST", host)
            .args(args);
        let outcome = run(&mut command);
        let text = outcome
            .failure(&[(directory.path(), "DIR")])
            .replace(host, "HOST");
        format!("$ grocker {}\n{text}", args.join(" "))
    };
    let nowhere = "unix:///nowhere/docker.sock";
    let text = [
        shown(&["build", "httpie"], &host),
        shown(&["build", "a==1", "--config", "bad.yml"], &host),
        shown(&["build", "a==1", "--config", "nowhere.yml"], &host),
        shown(&["build", "a==1", "--runtime", "windows/3"], &host),
        shown(&["build", "a==1", "--base", "127.0.0.1:1/nowhere:1"], &host),
        shown(&["build", "a==1", "--base", "debian:12"], nowhere),
    ];
    insta::assert_snapshot!(text.join("\n"));
}
