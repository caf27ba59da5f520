use crate::shown;

/// The help of a program and of each of its commands.
fn check(program: &str, commands: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let mut text = shown(program, &["--help"], directory.path());
    for command in commands {
        text += &format!(
            "\n{}",
            shown(program, &[command, "--help"], directory.path())
        );
    }
    let name = program.rsplit('/').next().unwrap();
    insta::assert_snapshot!(name, text);
}

#[test]
fn demo() {
    check(env!("CARGO_BIN_EXE_demo"), &[]);
}

#[test]
fn job2docker() {
    check(
        env!("CARGO_BIN_EXE_job2docker"),
        &[
            "build", "contexts", "deploy", "inspect", "package", "publish", "watch",
        ],
    );
}
