//! Talend jobs become images that everybody reads, and java gets the signals.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{peer, program, real_data, root, run, sample_job, tool};
use ocicore::{Cx, ImageSource, Layout, Name};

/// Every regular file and directory below a folder: name, mode, content.
type Files = BTreeMap<String, (u32, Option<Vec<u8>>)>;

fn files(folder: &Path) -> Files {
    fn walk(folder: &Path, prefix: &str, found: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let metadata = entry.metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                found.insert(name.clone(), (mode, None));
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name, (mode, Some(fs::read(entry.path()).unwrap())));
            }
        }
    }
    let mut found = Files::new();
    walk(folder, "", &mut found);
    found
}

fn build(zip: &Path, args: &[&str]) -> serde_json::Value {
    run(program("job2docker")
        .arg("build")
        .arg(zip)
        .arg("--json")
        .args(args))
    .json()
}

/// A tgz of the job, unpacked by GNU tar.
fn unpacked(zip: &Path, folder: &Path, layout: &str) -> PathBuf {
    let tgz = folder.join("job.tgz");
    build(zip, &["--tgz", tgz.to_str().unwrap(), "--layout", layout]);
    let tree = folder.join("tree");
    fs::create_dir(&tree).unwrap();
    tool(
        "tar",
        ["-xpzf", tgz.to_str().unwrap(), "-C", tree.to_str().unwrap()],
    );
    tree
}

fn jobs() -> Vec<(&'static str, PathBuf)> {
    let mut jobs = vec![("sample_job", sample_job())];
    if let Some(data) = real_data() {
        for job in ["docker_hello_world", "job2docker_listener"] {
            jobs.push((job, data.join(format!("talend/{job}_0.1.zip"))));
        }
    }
    jobs
}

#[test]
fn the_plain_layout_is_the_zip_but_for_the_launcher() {
    let (Some(unzip), Some(_)) = (peer("UNZIP"), peer("GNU_TAR")) else {
        return;
    };
    for (job, zip) in jobs() {
        let folder = tempfile::tempdir().unwrap();
        let ours = files(&unpacked(&zip, folder.path(), "plain").join(format!("{job}_0.1")));
        let original = folder.path().join("original");
        tool(
            &unzip,
            [
                "-q",
                zip.to_str().unwrap(),
                "-d",
                original.to_str().unwrap(),
            ],
        );
        let mut expected = files(&original);
        let launcher = expected.get_mut(&format!("{job}/{job}_run.sh")).unwrap();
        assert_eq!(launcher.0, 0o644, "{job}: as Studio makes it");
        let text = String::from_utf8(launcher.1.take().unwrap()).unwrap();
        let rewritten = text.replacen("\njava ", "\nexec java ", 1);
        *launcher = (0o755, Some(rewritten.into_bytes()));
        assert_same(job, &ours, &expected);
    }
}

#[test]
fn the_job2docker_layout_is_what_the_original_makes() {
    if peer("UNZIP").is_none() || peer("GNU_TAR").is_none() {
        return;
    }
    // The original's steps (bin/tcf-package.sh), with the tools that it uses.
    const ORIGINAL: &str = r#"
        unzip -q -o "$1" -d "$2"
        mv "$2/jobInfo.properties" "$2/jobInfo_$3.properties"
        mv "$2/lib/routines.jar" "$2/lib/routines_$3.jar"
        sed -i "s/routines\.jar/routines_$3.jar/g" "$2/$3/$3_run.sh"
        sed -i "s/^java /exec java /g" "$2/$3/$3_run.sh"
        chmod +x "$2/$3/$3_run.sh"
    "#;
    for (job, zip) in jobs() {
        let folder = tempfile::tempdir().unwrap();
        let ours = files(&unpacked(&zip, folder.path(), "job2docker").join(format!("{job}_0.1")));
        let original = folder.path().join("original");
        let (zip, tree) = (zip.to_str().unwrap(), original.to_str().unwrap());
        tool("sh", ["-euc", ORIGINAL, "sh", zip, tree, job]);
        let mut expected = files(&original);
        // These two are broken by the original, which leaves `routines.jar` in them.
        for extension in ["bat", "ps1"] {
            let name = format!("{job}/{job}_run.{extension}");
            let broken = String::from_utf8(expected[&name].1.clone().unwrap()).unwrap();
            assert!(broken.contains("routines.jar"), "{name}");
            let right = broken.replace("routines.jar", &format!("routines_{job}.jar"));
            expected.get_mut(&name).unwrap().1 = Some(right.into_bytes());
        }
        assert_same(job, &ours, &expected);
    }
}

fn assert_same(job: &str, ours: &Files, expected: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(expected), "{job}: names");
    for (name, file) in expected {
        assert_eq!(ours[name].0, file.0, "{job}: mode of {name}");
        assert!(ours[name].1 == file.1, "{job}: content of {name}");
    }
}

#[tokio::test]
async fn the_image_holds_the_job_and_is_the_same_twice() {
    if peer("GZIP").is_none() || peer("GNU_TAR").is_none() {
        return;
    }
    for (job, zip) in jobs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (first, second) = (path("first"), path("second"));
        let (one, two) = (path("1.tgz"), path("2.tgz"));
        let to = |layout: &str| format!("oci:{layout}:v1");
        let args = ["--base", "scratch", "--layers", "one", "--keep", "--to"];
        let said = build(&zip, &[&args[..], &[&to(&first), "--tgz", &one]].concat());
        build(&zip, &[&args[..], &[&to(&second), "--tgz", &two]].concat());
        assert!(
            fs::read(&one).unwrap() == fs::read(&two).unwrap(),
            "{job}: the archive"
        );

        let (cx, name) = (Cx::default(), "v1".parse::<Name>().unwrap());
        let layout = Layout::open(&first).unwrap();
        let manifest = layout.manifest(&cx, &name).await.unwrap();
        let again = Layout::open(&second)
            .unwrap()
            .manifest(&cx, &name)
            .await
            .unwrap();
        assert_eq!(manifest, again, "{job}: the image");
        assert_eq!(said["written"]["digest"], manifest.digest().to_string());

        // GNU gzip and sha256sum say what the diff_id has to be.
        let layer = &manifest.links().unwrap().layers[0];
        let blob = format!("{first}/blobs/sha256/{}", layer.digest().hex());
        let line = format!("gzip -dc '{blob}' | sha256sum");
        let sum = tool("sh", ["-euc", &line]);
        let diff_id = said["written"]["layers"][0]["diff_id"].as_str().unwrap();
        assert_eq!(format!("sha256:{}", &sum[..64]), diff_id, "{job}");
        let platform = ocicore::Platform::host();
        let image = ocicore::Image::open(&cx, &layout, &name, &platform)
            .await
            .unwrap();
        assert_eq!(image.config().diff_ids()[0].to_string(), diff_id);

        // Below /talend lies what is in the archive.
        let trees = ["image", "archive"].map(|tree| folder.path().join(tree));
        for (tree, archive) in trees.iter().zip([&blob, &one]) {
            fs::create_dir(tree).unwrap();
            tool("tar", ["-xpzf", archive, "-C", tree.to_str().unwrap()]);
        }
        let mut in_image = files(&trees[0].join("talend"));
        assert_eq!(
            in_image.remove("config").unwrap().0,
            0o755,
            "for context files"
        );
        assert_same(job, &in_image, &files(&trees[1]));
        assert!(in_image.len() > 10, "{job}: the layer is not empty");
    }
}

#[test]
fn others_read_the_layer() {
    let (Some(python), Some(umoci), Some(skopeo)) =
        (peer("PYTHON3"), peer("UMOCI"), peer("SKOPEO"))
    else {
        return;
    };
    let (Some(registry), Some(podman), Some(docker), Some(host)) = (
        peer("REGISTRY"),
        peer("PODMAN"),
        peer("DOCKER"),
        peer("DOCKER_HOST"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (layout, archive, tgz) = (path("oci"), path("docker.tar"), path("job.tgz"));
    let name = format!("gantry-test/sample-{}", std::process::id());
    let places = [
        format!("oci:{layout}:v1"),
        format!("docker-archive:{archive}:{name}:1"),
    ];
    let args = [
        "--base", "scratch", "--tgz", &tgz, "--to", &places[0], "--to", &places[1],
    ];
    let said = build(&sample_job(), &args);
    let launcher = "sample_job_0.1/sample_job/sample_job_run.sh";

    let listed = tool("tar", ["-tzvf", &tgz]);
    let line = listed
        .lines()
        .find(|line| line.ends_with(launcher))
        .unwrap();
    assert!(line.starts_with("-rwxr-xr-x 0/0"), "{line}");
    let script = "import sys, tarfile\n\
        t = tarfile.open(sys.argv[1])\n\
        m = t.getmember(sys.argv[2])\n\
        print(len(t.getnames()), oct(m.mode), len(t.extractfile(m).read()))";
    let python = tool(&python, ["-c", script, &tgz, launcher]);
    assert_eq!(
        python.split(' ').next(),
        Some(listed.lines().count().to_string().as_str())
    );

    let bundle = path("bundle");
    tool(
        &umoci,
        [
            "unpack",
            "--rootless",
            "--image",
            &format!("{layout}:v1"),
            &bundle,
        ],
    );
    assert!(
        Path::new(&bundle)
            .join("rootfs/talend")
            .join(launcher)
            .is_file()
    );

    let remote = format!("docker://{registry}/{name}:1");
    let from = format!("oci:{layout}:v1");
    tool(
        &skopeo,
        [
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            &from,
            &remote,
        ],
    );
    let seen = tool(
        &skopeo,
        [
            "inspect",
            "--tls-verify=false",
            "--format={{.Digest}}",
            &remote,
        ],
    );
    assert_eq!(
        seen.trim(),
        said["written"]["digest"].as_str().unwrap(),
        "byte for byte"
    );

    let loaded = tool(&podman, ["load", "-i", &archive]);
    assert!(loaded.contains(&name), "{loaded}");
    let id = tool(
        &podman,
        [
            "image",
            "inspect",
            "--format={{.RootFS.Layers}}",
            &format!("{name}:1"),
        ],
    );
    assert!(
        id.contains(said["written"]["layers"][0]["diff_id"].as_str().unwrap()),
        "{id}"
    );
    tool(&podman, ["rmi", &format!("{name}:1")]);

    let loaded = tool(&docker, ["-H", &host, "load", "-i", &archive]);
    assert!(loaded.contains(&name), "{loaded}");
    let id = tool(
        &docker,
        [
            "-H",
            &host,
            "image",
            "inspect",
            "--format={{.RootFS.Layers}}",
            &format!("{name}:1"),
        ],
    );
    assert!(
        id.contains(said["written"]["layers"][0]["diff_id"].as_str().unwrap()),
        "{id}"
    );
    tool(&docker, ["-H", &host, "rmi", &format!("{name}:1")]);
}

#[test]
fn java_gets_the_signal_that_the_original_launcher_keeps() {
    let (Some(docker), Some(host), Some(jre)) =
        (peer("DOCKER"), peer("DOCKER_HOST"), peer("JRE_IMAGE"))
    else {
        return;
    };
    let engine = |args: &[&str]| run(Command::new(&docker).args(["-H", &host]).args(args));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (base, image) = (path("base.tar"), path("image.tar"));
    engine(&["save", "-o", &base, &jre]).success();
    let name = format!("gantry-test/job-{}:1", std::process::id());
    let places = [
        format!("docker-archive:{base}"),
        format!("docker-archive:{image}:{name}"),
    ];
    let said = build(&sample_job(), &["--base", &places[0], "--to", &places[1]]);
    assert_eq!(
        said["warnings"],
        serde_json::json!([]),
        "the base has a shell and java"
    );
    engine(&["load", "-i", &image]).success();

    // The job as Studio built it, run as the original's images would without the rewriting.
    let plain = path("plain");
    tool(
        "unzip",
        ["-q", sample_job().to_str().unwrap(), "-d", &plain],
    );
    tool("chmod", ["-R", "a+rX", folder.path().to_str().unwrap()]);
    let mount = format!("{plain}:/plain:ro");
    let unchanged = [
        "-v",
        &mount,
        "--entrypoint",
        "/bin/sh",
        &name,
        "/plain/sample_job/sample_job_run.sh",
    ];

    for (case, run_args, code, hook) in [
        ("rewritten", &[name.as_str()][..], 143, true),
        ("unchanged", &unchanged[..], 137, false),
    ] {
        let wait = ["--context_param", "seconds=600"];
        let id = engine(&[&["run", "-d"], run_args, &wait].concat()).success();
        let id = id.trim();
        let logs = || {
            let logs = engine(&["logs", id]);
            logs.stdout + &logs.stderr
        };
        let start = Instant::now();
        while !logs().contains("waiting for") {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{case}: {}",
                logs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let first = engine(&["exec", id, "cat", "/proc/1/comm"]).success();
        assert_eq!(
            first.trim() == "java",
            case == "rewritten",
            "{case}: process 1 is {first}"
        );
        engine(&["stop", "-t", "3", id]).success();
        let ended = engine(&["inspect", "--format={{.State.ExitCode}}", id]).success();
        let text = logs();
        engine(&["rm", "-f", id]).success();
        assert_eq!(ended.trim(), code.to_string(), "{case}: {text}");
        assert_eq!(text.contains("the job was stopped"), hook, "{case}: {text}");
    }
    engine(&["rmi", "-f", &name]).success();
}

#[test]
fn a_job_runs_in_the_engine_by_one_command() {
    let (Some(docker), Some(host), Some(jre)) =
        (peer("DOCKER"), peer("DOCKER_HOST"), peer("JRE_IMAGE"))
    else {
        return;
    };
    let engine = |args: &[&str]| run(Command::new(&docker).args(["-H", &host]).args(args));
    let name = format!("gantry-test/run-{}:1", std::process::id());
    let (base, to) = (
        format!("docker-daemon:{jre}"),
        format!("docker-daemon:{name}"),
    );
    let mut build = program("job2docker");
    build
        .env("DOCKER_HOST", &host)
        .arg("build")
        .arg(sample_job());
    run(build.args(["--base", &base, "--to", &to])).success();

    let job = |context: &str| {
        let mut job = program("job2docker");
        job.env("DOCKER_HOST", &host)
            .args(["run", &name, "--context_param", context]);
        job.args(["--", "--context=Production"])
            .stdin(Stdio::null());
        job
    };
    let ended = run(&mut job("exit=3"));
    assert_eq!(ended.code, 3, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("Production"), "{}", ended.stdout);

    // SIGTERM reaches java, whose hook runs.
    let mut running = job("seconds=600").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains("waiting for")),
        "the job starts"
    );
    tool("kill", ["-TERM", &running.id().to_string()]);
    assert!(
        lines.any(|line| line.contains("the job was stopped")),
        "the hook runs"
    );
    assert_eq!(running.wait().unwrap().code(), Some(143));

    let left = ["ps", "-aq", "--filter", "label=dev.gantry.owner=job2docker"];
    assert_eq!(engine(&left).success(), "", "no container is left");
    engine(&["rmi", "-f", &name]).success();
}

#[test]
fn the_default_base_comes_by_a_mirror_of_docker_io() {
    let (Some(registry), Some(skopeo), Some(data)) =
        (peer("REGISTRY"), peer("SKOPEO"), real_data())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // Small bases of our own, told apart by a label, under the names that Docker Hub has.
    for java in ["11", "17"] {
        let base = format!("oci:{}:1", path("base"));
        build(
            &sample_job(),
            &["--base", "scratch", "--layers", "one", "--to", &base],
        );
        let name = format!("docker://{registry}/library/eclipse-temurin:{java}-jre");
        tool(
            &skopeo,
            [
                "--insecure-policy",
                "copy",
                "--dest-tls-verify=false",
                &base,
                &name,
            ],
        );
    }
    let conf = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\
         [[registry.mirror]]\nlocation = \"{registry}\"\ninsecure = true\n"
    );
    fs::write(path("registries.conf"), conf).unwrap();
    let jobs = [
        (data.join("talend/docker_hello_world_0.1.zip"), "11"),
        (sample_job(), "17"),
    ];
    for (zip, java) in jobs {
        let to = format!("oci:{}:v1", path(java));
        let mut command = program("job2docker");
        command.env("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
        let said = run(command.arg("build").arg(zip).args(["--json", "--to", &to])).json();
        let base = format!("docker://docker.io/library/eclipse-temurin:{java}-jre");
        assert_eq!(said["base"], base);
        let layers = tool(&skopeo, ["inspect", "--format={{len .Layers}}", &to]);
        let ours = said["written"]["layers"].as_array().unwrap().len();
        assert_eq!(layers.trim(), (ours + 1).to_string(), "the base's and ours");
    }
}

#[test]
fn the_demo_shows_the_main_job() {
    let keep = tempfile::tempdir().unwrap();
    let steps = run(program("demo")
        .arg("--job")
        .arg(sample_job())
        .arg("--keep")
        .arg(keep.path().join("layout"))
        .arg("--json"))
    .json();
    let steps = steps.as_array().unwrap();
    let names: Vec<_> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        names[..6],
        [
            "serve",
            "build and push",
            "pull",
            "validate",
            "retag",
            "push again"
        ]
    );
    assert_eq!(
        names[6..],
        ["upload", "promote", "publish", "install", "chain"]
    );
    assert!(
        steps[1..6]
            .iter()
            .all(|step| step["digest"] == steps[1]["digest"])
    );
    assert!(Layout::open(keep.path().join("layout")).is_ok());
    assert!(
        root().join("tests/jobs/sample/README.md").is_file(),
        "the sample has its sources"
    );
}
