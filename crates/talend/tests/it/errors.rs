//! Every message that a user can cause.

use std::error::Error as _;

use ocicore::Cx;
use repack::Tree;
use talend::{ConvertOptions, Entrypoint, Layout, convert};

use crate::fixture::{JOB_INFO, LAUNCHER, insert, job, tree};

fn message(tree: Tree, file_name: &str, options: &ConvertOptions) -> String {
    let error = convert(&Cx::default(), tree, file_name, options).unwrap_err();
    let mut message = format!("{error} ({:?})", error.class());
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!("\n  because {cause}"));
        source = cause.source();
    }
    message
}

#[test]
fn every_message() {
    let with = |path: &str, text: &str| {
        let mut tree = job();
        insert(&mut tree, path, text.to_owned());
        tree
    };
    let without = |path: &str| {
        let mut tree = job();
        tree.remove(&path.parse().unwrap());
        tree
    };
    let mut nested = job();
    nested.prefix(&"load_0.1".parse().unwrap()).unwrap();
    let mut two = job();
    insert(&mut two, "other/other_run.sh", LAUNCHER);
    let mut two_without_info = two.clone();
    two_without_info.remove(&"jobInfo.properties".parse().unwrap());
    let plain = ConvertOptions::default();
    let original = ConvertOptions::default().with_layout(Layout::Job2docker);
    let blank = ConvertOptions::default().with_parent("my jobs".parse().unwrap());
    let exec = ConvertOptions::default().with_entrypoint(Entrypoint::Exec);
    let exec_from_env = exec.clone().with_context_from_env("CONTEXT_");
    let unknown = ConvertOptions::default().with_context("Prod");
    let prefix = ConvertOptions::default().with_context_from_env("a-b");
    let volume = ConvertOptions::default().with_volume("out");
    let users = ["a b", "1:", ""].map(|user| ConvertOptions::default().with_user(user));
    let cases = [
        ("empty", Tree::new(), &plain),
        ("bundle", tree(&[("OSGI-INF/a.xml", "")]), &plain),
        ("nested", nested, &plain),
        ("no launcher", without("load/load_run.sh"), &plain),
        ("two jobs", two, &plain),
        ("two jobs without jobInfo", two_without_info, &plain),
        (
            "no version",
            tree(&[("load/load_run.sh", LAUNCHER)]),
            &plain,
        ),
        (
            "name with a blank",
            tree(&[("my load/my load_run.sh", LAUNCHER)]),
            &plain,
        ),
        (
            "hostile version",
            with("jobInfo.properties", &JOB_INFO.replace("=0.1", "=../0.1")),
            &plain,
        ),
        (
            "bad escape",
            with("jobInfo.properties", "job=load\nproject=\\u00\n"),
            &plain,
        ),
        ("blank in the parent", job(), &blank),
        (
            "unsafe",
            with(
                "load/load_run.sh",
                "#!/bin/sh\njava -cp . a.B \"$@\" | tee log\n",
            ),
            &plain,
        ),
        (
            "no java",
            with("load/load_run.sh", "#!/bin/sh\necho hello\n"),
            &plain,
        ),
        (
            "unresolved",
            with(
                "load/load_run.sh",
                "#!/bin/sh\njava -cp ${talend.job.sh.classpath}\n",
            ),
            &plain,
        ),
        (
            "name is taken",
            with("lib/routines_load.jar", "other"),
            &original,
        ),
        (
            "a shell is needed",
            with(
                "load/load_run.sh",
                "#!/bin/sh\njava $JAVA_OPTS a.B \"$@\"\n",
            ),
            &exec,
        ),
        ("no shell to pass variables on", job(), &exec_from_env),
        ("no such context", job(), &unknown),
        ("prefix", job(), &prefix),
        ("volume", job(), &volume),
        ("user with a blank", job(), &users[0]),
        ("no group", job(), &users[1]),
        ("no user", job(), &users[2]),
        (
            "bad context",
            with(
                "load/demo/load_0_1/contexts/Default.properties",
                "\n a=\\u1\n",
            ),
            &plain,
        ),
        (
            "damaged classpath.jar",
            with("load/classpath.jar", "no zip"),
            &original,
        ),
    ];
    let mut all = String::new();
    for (name, tree, options) in cases {
        all.push_str(&format!("{name}: {}\n", message(tree, "load.zip", options)));
    }
    insta::assert_snapshot!(all);
}
