//! Jobs that a Studio built, as one image: each does what it does alone.

use e2e::{peer, real_data, tool};
use ocicore::Cx;
use talend::application::{MergeSpec, merge};

use crate::{
    engine::{Container, Engine},
    jobs,
};

const HELLO: &str = "docker_hello_world";
const LISTENER: &str = "job2docker_listener";
/// What the listener prints when it has dealt with a file.
const END: &str = "| exitValue    |";

/// What a job prints that listens for a file: from what it starts with to its end.
fn listened(container: &Container<'_>) -> String {
    container.wait_for("Listening on /tmp/in");
    let mut files = 0;
    let mut drop_file = || {
        // A file that is there when the job looks for the first time is none of its business.
        files += 1;
        let file = format!("/tmp/in/hello_{files}.1.zip");
        container.exec(&["sh", "-c", &format!("echo x > {file}")]);
    };
    drop_file();
    container.wait_until(END, drop_file);
    let printed = container.logs().stdout;
    let calls = container.file("/tmp/calls").unwrap();
    let start = printed.find("job2docker_start").unwrap();
    let end = printed.find(END).unwrap();
    // Which of the files it was does not matter.
    let number = |text: &str| {
        let digits = |c: char| c.is_ascii_digit();
        let file = text.split("hello_").nth(1).unwrap();
        let number = file.split(|c| !digits(c)).next().unwrap();
        text.replace(&format!("hello_{number}."), "hello_N.")
            .replace(&format!("job_version={number}."), "job_version=N.")
            .replace(&format!(" hello {number}."), " hello N.")
    };
    let calls: String = calls
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect();
    number(&printed[start..end]) + &number(&calls)
}

#[test]
fn each_job_of_a_merged_image_does_what_it_did_alone() {
    let (Some(engine), Some(unzip), Some(data)) = (Engine::find(), peer("UNZIP"), real_data())
    else {
        return;
    };
    let zips = [HELLO, LISTENER].map(|job| data.join(format!("talend/{job}_0.1.zip")));
    let application = merge(
        &Cx::default(),
        zips.iter().map(|zip| jobs::built(zip)).collect(),
        &MergeSpec::new("demo").with_version("1.0"),
    )
    .unwrap();
    assert!(
        application
            .plan
            .jobs
            .iter()
            .all(|job| job.separate.is_none())
    );
    let image = engine.load("merged", application);

    // The jobs as they were built, each in a directory of its own, started by its own launcher.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for (job, zip) in [HELLO, LISTENER].iter().zip(&zips) {
        tool(
            &unzip,
            ["-q", zip.to_str().unwrap(), "-d", &format!("{root}/{job}")],
        );
    }
    tool("chmod", ["-R", "a+rX", root]);
    let mount = format!("{root}:/built:ro");
    let alone = |job: &str| {
        let launcher = format!("/built/{job}/{job}/{job}_run.sh");
        [
            "-v",
            &mount,
            "--entrypoint",
            "/bin/sh",
            &engine.jre,
            &launcher,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let merged = |job: &str| {
        let entrypoint = format!("/talend/bin/{job}");
        ["--entrypoint", &entrypoint, &image.name]
            .map(str::to_owned)
            .to_vec()
    };
    let start = |mut args: Vec<String>, more: &[&str]| {
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        engine.start(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };

    let hello = |args| {
        let container = start(args, &["--context_param", "message=hello big world"]);
        let code = container.exit_code();
        (code, container.logs().stdout)
    };
    let (before, now) = (hello(alone(HELLO)), hello(merged(HELLO)));
    assert!(
        before.0 == 0 && before.1.contains("hello big world"),
        "{before:?}"
    );
    assert_eq!(now, before);

    // Its commands are a script of the container, which notes what it is called with.
    let listener = |args: Vec<String>| {
        let note = "#!/bin/sh\necho \"$@\" >> /tmp/calls\n";
        let file = folder.path().join("note");
        std::fs::write(&file, note).unwrap();
        tool("chmod", ["755", file.to_str().unwrap()]);
        let mount = format!("{}:/note:ro", file.display());
        let args = [
            ["-v", &mount, "--tmpfs", "/tmp/in:mode=1777"]
                .map(str::to_owned)
                .to_vec(),
            args,
        ]
        .concat();
        let context = [
            "job_zip_source_dir=/tmp/in",
            "job_zip_target_dir=/tmp/out",
            "package_command=/note",
            "build_command=/note",
            "working_dir=/tmp/work",
            "shell_log_file=/tmp/shell.log",
        ];
        let context: Vec<&str> = context
            .iter()
            .flat_map(|pair| ["--context_param", pair])
            .collect();
        let container = start(args, &context);
        (listened(&container), container)
    };
    let (before, _) = listener(alone(LISTENER));
    let (now, container) = listener(merged(LISTENER));
    assert_eq!(container.stop(), 143, "as no shell is in between");
    assert!(
        before.ends_with("/tmp/in/hello_N.1.zip /tmp/out\neost hello N.1 /tmp/out/hello.tgz\n"),
        "{before}"
    );
    assert_eq!(now, before);

    // The image itself starts nothing, and is nobody's who could do harm.
    let user = engine
        .docker(&[
            "inspect",
            "-f={{.Config.User}} {{.Config.WorkingDir}}",
            &image.name,
        ])
        .success();
    assert_eq!(user.trim(), "65532:65532 /talend/demo");
}
