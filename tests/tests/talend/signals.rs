//! SIGTERM reaches java by every launcher that is reported as rewritten.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use e2e::{peer, root};
use ocicore::Cx;
use repack::Content;
use talend::{
    application::{JobInput, MergeSpec, merge},
    report::Outcome,
    rewrite::{self, PathQuoting, RewriteOptions},
};

use crate::{
    engine::Engine,
    jobs::{self, Files},
};

/// Shapes that are not what they say, so that they are not converted.
const UNSAFE: [&str; 19] = [
    "L07_and",
    "L07_following",
    "L07_for",
    "L07_function",
    "L07_if",
    "L07_trap",
    "L07_while",
    "L14_background",
    "L14_nohup",
    "L14_pipe",
    "L15_unresolved",
    "X_branches",
    "X_captured",
    "X_command",
    "X_eval",
    "X_no_java",
    "X_python",
    "X_sudo",
    "X_unterminated",
];

/// What runs within a debugged job's container: a debugger that lets java go on (JDWP: handshake, then
/// the command `Resume` of the set `VirtualMachine`).
const RESUME: &str = r"
until exec 3<>/dev/tcp/127.0.0.1/8000; do sleep 0.2; done 2>/dev/null
printf 'JDWP-Handshake' >&3
head -c 14 <&3
printf '\000\000\000\013\000\000\000\001\000\001\011' >&3
head -c 11 <&3 | od -An -tx1";

/// Every launcher of the crate's table that is reported as safe, with its job; and those that are
/// made of others.
fn shapes() -> BTreeMap<String, Vec<u8>> {
    let folder = root().join("crates/talend/tests/launchers");
    let mut shapes: BTreeMap<String, Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    let plain = String::from_utf8(shapes["L01_plain"].clone()).unwrap();
    let windows = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
    shapes.insert("L10_windows".to_owned(), windows.into_bytes());
    let quoted = RewriteOptions::default().with_paths(PathQuoting::Repair);
    let quoted = rewrite::shell("", plain.as_bytes(), &quoted);
    assert!(quoted.report.edits.len() > 2, "quotes are put");
    shapes.insert("L11_quoted".to_owned(), quoted.bytes);

    let mut refused = Vec::new();
    shapes.retain(|name, text| {
        let report = rewrite::shell("", text, &RewriteOptions::default()).report;
        let safe = matches!(
            report.outcome,
            Outcome::Rewritten { .. } | Outcome::AlreadyExec { .. }
        );
        if !safe {
            refused.push(name.clone());
        }
        safe
    });
    assert_eq!(refused, UNSAFE, "no shape is left out by mistake");
    shapes
}

/// The classes that the launchers start, all of which wait.
fn classes(javac: &str) -> Files {
    let waits = |class: &str| {
        format!("package demo.{class}_0_1; public class {class} extends waiting.Waiting {{}}")
    };
    let (load, load_2, parent) = (waits("load"), waits("load_2"), waits("parent"));
    let sources = [
        ("waiting/Waiting.java", include_str!("java/Waiting.java")),
        ("load/load.java", &load),
        ("load_2/load_2.java", &load_2),
        ("parent/parent.java", &parent),
    ];
    jobs::classes(javac, &sources, &[])
}

/// A job for a launcher: what any of them looks for is there.
fn job(classes: &Files, name: &str, launcher: &[u8]) -> JobInput {
    let load = jobs::jar(classes, "demo.load_0_1.load", "");
    let class_path = jobs::jar(&Files::new(), "", "load_0_1.jar");
    let mut files: Vec<(String, Content)> = vec![
        (format!("{name}/load_0_1.jar"), load.into()),
        (format!("{name}/classpath.jar"), class_path.into()),
        (
            "lib/routines.jar".to_owned(),
            jobs::jar(&Files::new(), "", "").into(),
        ),
    ];
    // These find them in the jar; the class path of the others has the directory itself.
    if !name.starts_with("L03_classpath_jar") && name != "L06_env_bash" {
        for (path, bytes) in classes {
            files.push((format!("{name}/{path}"), bytes.clone().into()));
        }
    }
    let files: Vec<(&str, Content)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.clone()))
        .collect();
    jobs::job(name, launcher, &files)
}

#[test]
fn java_gets_the_signal_by_every_rewritten_launcher() {
    let (Some(engine), Some(javac)) = (Engine::find(), peer("JAVAC")) else {
        return;
    };
    let (shapes, classes) = (shapes(), classes(&javac));
    assert!(shapes.len() > 20, "{}", shapes.len());
    let jobs = shapes
        .iter()
        .map(|(name, launcher)| job(&classes, name, launcher))
        .collect();
    let application = merge(&Cx::default(), jobs, &MergeSpec::new("shapes")).unwrap();
    let image = engine.load("signals", application);

    let check = |name: &str| -> Result<(), String> {
        let entrypoint = format!("/talend/bin/{name}");
        let container = engine.start(&[
            "-e",
            "JAVA_HOME=/usr",
            "--entrypoint",
            &entrypoint,
            &image.name,
            "--context_param",
            "who=the big world",
        ]);
        if name == "L13_debug" {
            let reply = container.exec(&["bash", "-c", RESUME]);
            assert!(reply.starts_with("JDWP-Handshake"), "{reply}");
        }
        // The job has a process number; that of the container is 1.
        container.wait_for("process ");
        let printed = container.logs();
        let code = container.stop();
        let line = printed
            .stdout
            .lines()
            .find(|line| line.starts_with("process "))
            .unwrap_or_default();
        let hook = container.file("/tmp/stopped");
        let expected =
            line.starts_with("process 1: ") && line.ends_with("--context_param|who=the big world");
        if expected && code == 143 && hook.as_deref() == Some("the hook ran\n") {
            Ok(())
        } else {
            Err(format!("{name}: exit {code}, hook {hook:?}, {printed:?}"))
        }
    };
    let names: Vec<&String> = shapes.keys().collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = check(name) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
