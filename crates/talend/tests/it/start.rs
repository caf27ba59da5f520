//! Entry points and contexts: what an image starts, run by a real shell.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use ocicore::Cx;
use repack::Tree;
use talend::{ConvertOptions, Converted, Entrypoint, convert, inspect, properties::Properties};

use crate::fixture::{LAUNCHER, insert, job, text, unpack};

fn converted(tree: Tree, options: &ConvertOptions) -> Converted {
    convert(&Cx::default(), tree, "load_0.1.zip", options).unwrap()
}

#[test]
fn java_is_started_without_a_shell() {
    let options = ConvertOptions::default()
        .with_entrypoint(Entrypoint::Exec)
        .with_context("Production");
    let image = converted(job(), &options).plan.image;
    assert_eq!(
        image.entrypoint,
        [
            "java",
            "-Xms256M",
            "-Xmx1024M",
            "-cp",
            ".:/talend/load_0.1/load:/talend/load_0.1/load/../lib/routines.jar:\
             /talend/load_0.1/load/../lib/dom4j-1.6.1.jar:/talend/load_0.1/load/load_0_1.jar:",
            "demo.load_0_1.load",
            "--context=Default",
            "--context=Production",
        ]
    );
    assert_eq!(image.working_dir, "/talend/load_0.1/load");
    assert_eq!(image.labels["talend.job.context"], "Production");
}

#[test]
fn a_context_is_asked_for_after_that_of_the_launcher() {
    let options = ConvertOptions::default().with_context("Production");
    let image = converted(job(), &options).plan.image;
    let expected = [
        "/bin/sh",
        "/talend/load_0.1/load/load_run.sh",
        "--context=Production",
    ];
    assert_eq!(image.entrypoint, expected);
}

#[test]
fn values_are_overridden_in_the_context_that_runs() {
    let path = |context: &str| format!("load_0.1/load/demo/load_0_1/contexts/{context}.properties");
    let overrides = Properties::parse(b"message=Gr\\u00fcezi\ndb_password=x\n").unwrap();
    let options = ConvertOptions::default().with_overrides(overrides);
    let default = converted(job(), &options);
    let expected = "#c\r\nmessage=Gr\\u00fcezi\r\ndb_password=x\r\n";
    assert_eq!(text(&default.tree, &path("Default")), expected);
    assert_eq!(text(&default.tree, &path("Production")), "message=live\r\n");
    assert_eq!(
        default.plan.report.warnings,
        [
            "`db_password` gets a value, but no context of the job has it",
            "`load/demo/load_0_1/contexts/Default.properties:3` has a value for `db_password`, which \
          everyone who gets the image can read"
        ]
    );
    let production = converted(job(), &options.with_context("Production"));
    assert!(text(&production.tree, &path("Production")).starts_with("message=Gr"));
    assert_eq!(
        text(&production.tree, &path("Default")),
        "#c\r\nmessage=hello\r\n"
    );
}

#[test]
fn contexts_are_listed_with_their_variables() {
    let inspected = inspect(&Cx::default(), &job(), "", &ConvertOptions::default()).unwrap();
    insta::assert_json_snapshot!(inspected.contexts);
}

/// The arguments that java gets when the image is started with `env` and `arguments`.
fn started(
    image: &Tree,
    entrypoint: &[String],
    env: &[(&str, &str)],
    arguments: &[&str],
) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    unpack(image, root);
    fs::create_dir_all(root.join("bin")).unwrap();
    let java = root.join("bin/java");
    fs::write(&java, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    let values = root.join("talend/config/context");
    fs::create_dir_all(&values).unwrap();
    fs::write(values.join("message"), "from a file\n").unwrap();
    fs::write(root.join("secret"), "two\nlines\n\n").unwrap();
    let root = root.to_str().unwrap();
    let output = Command::new(&entrypoint[0])
        .args(
            entrypoint[1..]
                .iter()
                .map(|word| word.replace("/talend", &format!("{root}/talend"))),
        )
        .args(arguments)
        .env("PATH", format!("{root}/bin:{}", env!("PATH")))
        .envs(
            env.iter()
                .map(|(name, value)| (name, value.replace("ROOT", root))),
        )
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr)
        .unwrap()
        .replace(root, "ROOT");
    let from = printed.find("<--context=Default>").unwrap_or(0);
    format!("{}{errors}", &printed[from..])
}

#[test]
fn context_variables_come_from_outside() {
    let mut tree = job();
    let context = "message=hello\nlast\\ name=x\npassword=\n";
    insert(
        &mut tree,
        "load/demo/load_0_1/contexts/Default.properties",
        context,
    );
    let options = ConvertOptions::default()
        .with_context_from_env("CONTEXT_")
        .with_context("Default");
    let converted = converted(tree, &options);
    assert_eq!(
        converted.plan.report.warnings,
        ["context variable `last name` cannot be the name of an environment variable"]
    );
    let entrypoint = converted.plan.image.entrypoint.clone();
    assert_eq!(entrypoint, ["/bin/sh", "/talend/bin/load"]);
    let image = converted.into_image_tree().unwrap();
    insta::assert_snapshot!(text(&image, "talend/bin/load"));
    let run =
        |env: &[(&str, &str)], arguments: &[&str]| started(&image, &entrypoint, env, arguments);
    let base = "<--context=Default><--context=Default>";
    assert_eq!(
        run(&[], &["--context_param", "message=mine"]),
        format!("{base}<--context_param><message=from a file><--context_param><message=mine>")
    );
    assert_eq!(
        run(&[("CONTEXT_message", "it's \"$HOME\" `x`\n*")], &[]),
        format!(
            "{base}<--context_param><message=from a file>\
             <--context_param><message=it's \"$HOME\" `x`\n*>"
        )
    );
    assert_eq!(
        run(
            &[
                ("CONTEXT_password_FILE", "ROOT/secret"),
                ("CONTEXT_other", "x")
            ],
            &[]
        ),
        format!(
            "{base}<--context_param><password=two\nlines><--context_param><message=from a file>"
        )
    );
    let missing = run(&[("CONTEXT_password_FILE", "ROOT/none")], &[]);
    assert_eq!(missing, "cat: ROOT/none: No such file or directory\n");
}

#[test]
fn the_script_form_and_the_exec_form_start_java_alike() {
    let script = converted(job(), &ConvertOptions::default());
    let exec = ConvertOptions::default().with_entrypoint(Entrypoint::Exec);
    let exec = converted(job(), &exec);
    assert!(text(&exec.tree, "load_0.1/load/load_run.sh").starts_with(&LAUNCHER[..20]));
    let entrypoint = script.plan.image.entrypoint.clone();
    let image = script.into_image_tree().unwrap();
    let by_script = started(&image, &entrypoint, &[], &["a b"]);
    let by_exec = started(&image, &exec.plan.image.entrypoint, &[], &["a b"]);
    assert_eq!(by_script, by_exec);
    assert_eq!(by_exec, "<--context=Default><a b>");
}
