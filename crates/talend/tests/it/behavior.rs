//! Scripts put together at random, run by a real shell before and after: a script that is reported
//! as rewritten does what it did.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use proptest::prelude::*;
use talend::{
    report::Outcome,
    rewrite::{self, PathQuoting, RewriteOptions},
};

const STATEMENTS: [&str; 47] = [
    "true",
    "false",
    "X=1",
    "echo hi",
    "set -e",
    "cd .",
    "exit",
    "run",
    "# java comment",
    "java a \"$@\"",
    "java b $*",
    "  java c \"$@\" # why",
    "java d \\\n \"$@\"",
    "java e > out.txt 2>&1",
    "A=1 B=2 java f",
    "JAVA=java; $JAVA g",
    "nice java h",
    "env X=2 java i",
    "nohup java j",
    "command java k",
    "java -version",
    "exec java l",
    "true && java m",
    "false && java n",
    "false || java o",
    "true || java p",
    "java q && echo after",
    "java r || echo failed",
    "java s; exit $?",
    "java t; exit 5",
    "java u; X=$?",
    "! java v",
    "java w | cat",
    "echo in | java x",
    "java y &\nwait",
    "(java z)",
    "{ java aa; }",
    "if true; then java bb; fi",
    "for i in 1 2; do java cc $i; done",
    "case x in x) java dd;; esac",
    "run() { java ee; }",
    "trap 'echo bye' EXIT",
    "cat <<END\njava ff\nEND",
    "eval 'java gg'",
    "java hh <<END\nin\nEND",
    "'java' ii \"${@}\" # why",
    "if [ -n \"$X\" ]; then exec java jj; else java kk; fi",
];

#[derive(Debug, PartialEq, Eq)]
struct Run {
    log: String,
    output: String,
    status: Option<i32>,
}

fn run(directory: &Path, shell: &str, script: &[u8], status: u8) -> Run {
    let bin = directory.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let java = bin.join("java");
    let program = "#!/bin/sh\n\
        { printf '%s|' \"$A$B$X\" \"$@\"; echo; } >> \"$LOG\"; echo \"ran $1\"; exit \"$STATUS\"\n";
    fs::write(&java, program).unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    let log = directory.join("log");
    fs::write(&log, "").unwrap();
    let file = directory.join("run.sh");
    fs::write(&file, script).unwrap();
    let output = Command::new(shell)
        .arg(&file)
        .args(["one", "two"])
        .current_dir(directory)
        .env("PATH", format!("{}:{}", bin.display(), env!("PATH")))
        .env("LOG", &log)
        .env("STATUS", status.to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    Run {
        log: fs::read_to_string(log).unwrap(),
        output: String::from_utf8(output.stdout).unwrap(),
        status: output.status.code(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_rewritten_does_what_it_did(
        statements in proptest::collection::vec(prop::sample::select(STATEMENTS.to_vec()), 1..5),
        shell in prop::sample::select(vec!["/bin/sh", "/bin/bash"]),
        quote: bool,
        status in prop::sample::select(vec![0_u8, 3]),
    ) {
        let script = format!("#!{shell}\n{}\n", statements.join("\n"));
        let paths = if quote { PathQuoting::Repair } else { PathQuoting::Keep };
        let options = RewriteOptions::default().with_paths(paths);
        let once = rewrite::shell("run.sh", script.as_bytes(), &options);
        let twice = rewrite::shell("run.sh", &once.bytes, &options);
        prop_assert_eq!(&twice.bytes, &once.bytes);
        prop_assert!(twice.report.edits.is_empty());
        let rewritten = matches!(once.report.outcome, Outcome::Rewritten { .. });
        let again = matches!(twice.report.outcome, Outcome::AlreadyExec { .. });
        prop_assert_eq!(rewritten && !again, false);
        if rewritten {
            let directory = tempfile::tempdir().unwrap();
            let before = run(directory.path(), shell, script.as_bytes(), status);
            let after = run(directory.path(), shell, &once.bytes, status);
            prop_assert_eq!(before, after, "{}", script);
        } else {
            prop_assert_eq!(
                String::from_utf8_lossy(&once.bytes).replace("\"$@\"", "$*"),
                script.replace("\"$@\"", "$*")
            );
        }
    }
}
