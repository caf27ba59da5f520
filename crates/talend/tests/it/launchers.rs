//! Every shape of launcher: what becomes of it, as a snapshot, and properties that hold for all.

use std::{fs, path::PathBuf, process::Command};

use talend::{
    report::Outcome,
    rewrite::{self, PathQuoting, Rename, RewriteOptions, Rewritten},
};

/// Name and content of each `.sh` in `tests/launchers`.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/launchers");
    let mut all: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    assert!(all.len() > 30);
    all
}

fn shown(rewritten: &Rewritten) -> String {
    let report = &rewritten.report;
    let mut out = serde_json::to_string(&report.outcome).unwrap();
    if let Some(interpreter) = &rewritten.interpreter {
        out.push_str(&format!("\ninterpreter: {:?}", interpreter.argv()));
    }
    for edit in &report.edits {
        let (kind, old, new) = (edit.kind, &edit.old, &edit.new);
        out.push_str(&format!(
            "\nedit {}: {kind:?} {old:?} -> {new:?}",
            edit.position
        ));
    }
    for warning in &report.warnings {
        out.push_str(&format!(
            "\nwarning {}: {}",
            warning.position, warning.message
        ));
    }
    format!("{out}\n{}", report.diff)
}

fn rewritten(bytes: &[u8]) -> Rewritten {
    rewrite::shell("load/load_run.sh", bytes, &RewriteOptions::default())
}

#[test]
fn every_shape_has_its_report() {
    for (name, bytes) in fixtures() {
        insta::assert_snapshot!(name, shown(&rewritten(&bytes)));
    }
}

#[test]
fn carriage_returns_and_byte_order_mark_are_repaired() {
    let (_, plain) = fixtures().remove(0);
    let plain = String::from_utf8(plain).unwrap();
    let windows = format!("\u{feff}{}\r", plain.replace('\n', "\r\n"));
    let repaired = rewritten(windows.as_bytes());
    assert_eq!(repaired.bytes, rewritten(plain.as_bytes()).bytes);
    insta::assert_snapshot!("L10_carriage_returns", shown(&repaired));
}

#[test]
fn paths_with_blanks_are_quoted_on_request() {
    let options = RewriteOptions::default().with_paths(PathQuoting::Repair);
    for name in ["L01_plain", "L09_wildcard", "L05_already_exec"] {
        let (_, bytes) = fixtures()
            .into_iter()
            .find(|(other, _)| other == name)
            .unwrap();
        let quoted = rewrite::shell("load/load_run.sh", &bytes, &options);
        insta::assert_snapshot!(format!("L11_{name}"), shown(&quoted));
        let again = rewrite::shell("load/load_run.sh", &quoted.bytes, &options);
        assert_eq!(again.bytes, quoted.bytes, "{name}");
    }
}

#[test]
fn rewriting_twice_is_rewriting_once() {
    for (name, bytes) in fixtures() {
        let once = rewritten(&bytes);
        let twice = rewritten(&once.bytes);
        assert_eq!(twice.bytes, once.bytes, "{name}");
        assert!(twice.report.edits.is_empty(), "{name}");
        if let Outcome::Rewritten { .. } = once.report.outcome {
            let outcome = twice.report.outcome;
            assert!(
                matches!(outcome, Outcome::AlreadyExec { .. }),
                "{name}: {outcome:?}"
            );
        }
    }
}

#[test]
fn hostile_launchers_take_no_time() {
    let started = std::time::Instant::now();
    let rename = Rename::new("routines.jar", "routines_load.jar");
    let options = RewriteOptions::default().with_rename(rename);
    for unit in [
        "routines.jar ",
        "jdwp ",
        "A=$A\n$A -cp x\n",
        "$((",
        "`a` ",
        "\"${a} ",
        "java\n",
        "<<E ",
    ] {
        let script = unit.repeat((256 << 10) / unit.len());
        let _ = rewrite::shell("load/load_run.sh", script.as_bytes(), &options);
    }
    // Quadratic work on these would take minutes.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// What the original's two `sed` commands make of a launcher.
fn original(job: &str, bytes: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.sh");
    fs::write(&file, bytes).unwrap();
    for edit in [
        format!(r"s/routines\.jar/routines_{job}\.jar/g"),
        "s/^java /exec java /g".to_owned(),
    ] {
        let status = Command::new("sed").arg("-i").arg(edit).arg(&file).status();
        assert!(status.unwrap().success());
    }
    fs::read(file).unwrap()
}

#[test]
fn where_the_original_is_right_the_bytes_are_the_same() {
    let mut compared = 0;
    for (name, bytes) in fixtures() {
        let shape = &name[..3];
        if !["L01", "L02", "L03", "L09", "L12", "L13"].contains(&shape) {
            continue;
        }
        let rename = Rename::new("routines.jar", "routines_load.jar");
        let options = RewriteOptions::default().with_rename(rename);
        let ours = rewrite::shell("load/load_run.sh", &bytes, &options).bytes;
        let theirs = original("load", &bytes);
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs),
            "{name}"
        );
        compared += 1;
    }
    assert!(compared >= 6);
}

/// Both scripts, run by a real shell with a `java` that prints its arguments, print the same, and
/// the rewritten one keeps its process id.
#[test]
fn a_rewritten_launcher_does_what_it_did() {
    for (name, bytes) in fixtures() {
        let after = rewritten(&bytes);
        if !matches!(after.report.outcome, Outcome::Rewritten { .. }) {
            continue;
        }
        let before = run(&name, &bytes, &after);
        let now = run(&name, &after.bytes, &after);
        if !name.starts_with("L04") {
            assert_eq!(before.arguments, now.arguments, "{name}");
        }
        assert!(
            now.arguments.ends_with("a b|c|"),
            "{name}: {}",
            now.arguments
        );
        assert!(now.same_process, "{name}");
        assert!(!before.same_process, "{name}");
        assert_eq!((before.status, now.status), (Some(7), Some(7)), "{name}");
    }
}

struct Run {
    arguments: String,
    same_process: bool,
    status: Option<i32>,
}

fn run(name: &str, bytes: &[u8], rewritten: &Rewritten) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let java = "#!/bin/sh\n[ \"$1\" = -version ] && exit\n\
        { printf '%s|' \"$@\"; } > \"$OUT/arguments\"; echo $$ > \"$OUT/pid\"; exit 7\n";
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/java"), java).unwrap();
    let script = root.join("load_run.sh");
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    // The only paths that a fixture writes to or starts outside of its directory.
    let text = text
        .replace("/usr/bin/java", root.join("bin/java").to_str().unwrap())
        .replace("/talend/log/load.log", "load.log");
    fs::write(&script, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.join("bin/java"), mode).unwrap();
    let interpreter = rewritten.interpreter.as_ref().unwrap().argv();
    let path = format!("{}:{}", root.join("bin").display(), env!("PATH"));
    let mut child = Command::new(&interpreter[0])
        .args(&interpreter[1..])
        .arg(&script)
        .args(["a b", "c"])
        .env("PATH", path)
        .env("OUT", root)
        .env("JAVA_HOME", root)
        .env_remove("TALEND_DEBUG")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let status = child.wait().unwrap().code();
    let arguments = fs::read_to_string(root.join("arguments"))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let java = fs::read_to_string(root.join("pid")).unwrap();
    Run {
        arguments: arguments.replace(root.to_str().unwrap(), "ROOT"),
        same_process: java.trim() == pid.to_string(),
        status,
    }
}
