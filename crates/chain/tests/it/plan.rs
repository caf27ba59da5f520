use chain::{Error, ProjectOptions, Selection};
use ocicore::{Class, Cx};

use crate::directory::{lines, plan, project, read};

/// Children before parents, arguments, stages, packer, two Dockerfiles with the same parent.
const CHAIN: &[(&str, &str)] = &[
    (
        "docker/IMAGES.json",
        r#"{"images": [
  {"tag": "demo/app:1", "dockerfile": "app/Dockerfile", "extra_args": "--build-arg BASE={img_parts[repo]}/run:{version} --pull"},
  {"tag": "demo/base:1", "dockerfile": "Dockerfile"},
  {"tag": "demo/run:1", "dockerfile": "docker/{name}:{version}"},
  {"file": "pg-9.json"},
  {"tag": "demo/pg-app:9", "dockerfile": "Dockerfile.pg"},
  {"tag": "demo/other", "dockerfile": "Dockerfile.other"}
]}
"#,
    ),
    (
        "app/Dockerfile",
        "ARG BASE\nFROM debian:12 AS build\nFROM ${BASE}\nCOPY --from=build /a /a\nCOPY --from=demo/base:1 /b /b\n",
    ),
    ("Dockerfile", "FROM scratch\n"),
    ("docker/run:1", "FROM docker.io/demo/base:1\n"),
    (
        "docker/packer/pg-9.json",
        r#"{"variables": {"tag": "demo/pg:9"}, "builders": [{"type": "docker", "image": "demo/base:1"}]}"#,
    ),
    (
        "Dockerfile.pg",
        "FROM demo/pg:9\nRUN --mount=type=bind,from=demo/run:1,target=/m make\n",
    ),
    ("Dockerfile.other", "FROM alpine:$TARGETARCH\n"),
];

#[test]
fn parents_are_inferred_and_file_order_breaks_ties() {
    let root = project(CHAIN);
    let plan = plan(&root, &Selection::all()).unwrap();
    insta::assert_snapshot!(lines(&plan));
    insta::assert_json_snapshot!(plan.steps.last());
}

#[test]
fn selected_images_are_those_named_without_those_to_skip() {
    let root = project(CHAIN);
    // By key, by tag, by the tag of a template, by another spelling of a tag.
    let selection = Selection::all()
        .only([
            "dockerfile__demo/app:1",
            "demo/run:1",
            "demo/pg:9",
            "docker.io/demo/other:latest",
        ])
        .without(["demo/run:1"]);
    insta::assert_snapshot!(lines(&plan(&root, &selection).unwrap()));

    let all = Selection::all().without(["packer__pg-9.json"]);
    assert_eq!(plan(&root, &all).unwrap().steps.len(), 5);
    let none = Selection::all()
        .only(["demo/run:1"])
        .without(["demo/run:1"]);
    assert_eq!(plan(&root, &none).unwrap().steps, []);

    let error = plan(
        &root,
        &Selection::all()
            .only(["demo/app", "demo/app:1"])
            .without(["x y"]),
    )
    .unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    insta::assert_snapshot!(error);
}

#[test]
fn cycles_and_names_that_two_images_make_are_errors() {
    let root = project(&[
        (
            "docker/IMAGES.json",
            r#"{"images": [
  {"tag": "demo/a", "dockerfile": "Dockerfile.{name}"},
  {"tag": "demo/b", "dockerfile": "Dockerfile.{name}"},
  {"tag": "demo/c", "dockerfile": "Dockerfile.{name}"},
  {"tag": "demo/self", "dockerfile": "Dockerfile.{name}"},
  {"tag": "demo/child", "dockerfile": "Dockerfile.a"},
  {"tag": "docker.io/demo/c:latest", "dockerfile": "Dockerfile.{name}"}
]}"#,
        ),
        ("Dockerfile.a", "FROM demo/c\n"),
        ("Dockerfile.b", "FROM demo/a\n"),
        ("Dockerfile.c", "FROM scratch\nCOPY --from=demo/b / /\n"),
        ("Dockerfile.self", "FROM demo/self\n"),
    ]);
    let error = plan(&root, &Selection::all()).unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    insta::assert_snapshot!(error);
}

#[test]
fn only_the_files_of_selected_images_must_be_there() {
    let root = project(&[
        (
            "docker/IMAGES.json",
            r#"{"images": [
  {"tag": "demo/a", "dockerfile": "Dockerfile"},
  {"tag": "demo/b", "dockerfile": "gone"},
  {"tag": "demo/c", "dockerfile": "docker"},
  {"version": "9"},
  {"tag": "demo/d", "dockerfile": "wrong"}
]}"#,
        ),
        ("Dockerfile", "FROM scratch\n"),
        ("wrong", "FORM x\nFROM y z\nFROM $EMPTY\n"),
    ]);
    assert_eq!(
        plan(&root, &Selection::all().only(["demo/a"]))
            .unwrap()
            .steps
            .len(),
        1
    );
    let error = plan(&root, &Selection::all()).unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    insta::assert_snapshot!(error);
    let error = plan(
        &root,
        &Selection::all().only(["demo/b", "packer__demo-9.json"]),
    )
    .unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}

#[test]
fn folders_are_found_as_the_original_does_it() {
    let file = r#"{"images": [{"tag": "a", "dockerfile": "Dockerfile"}]}"#;
    let hidden = project(&[
        (".docker/IMAGES.json", file),
        ("Dockerfile", "FROM scratch"),
    ]);
    assert_eq!(plan(&hidden, &Selection::all()).unwrap().steps.len(), 1);
    // The first folder wins, even if the file is in the other one.
    let both = project(&[
        (".docker/IMAGES.json", file),
        ("docker/x", ""),
        ("Dockerfile", "FROM scratch"),
    ]);
    let error = read(&both).unwrap_err();
    insta::assert_snapshot!(error);
    assert_eq!(error.class(), Class::NotFound);
    let neither = project(&[("IMAGES.json", file)]);
    let error = read(&neither).unwrap_err();
    assert!(matches!(error, Error::NoImagesFile { .. }));
    insta::assert_snapshot!(error);
}

#[test]
fn several_files_are_one_chain_and_all_their_problems_are_told() {
    let root = project(&[
        (
            "a/IMAGES.json",
            r#"{"images": [{"tag": "demo/app", "dockerfile": "Dockerfile.app"}]}"#,
        ),
        (
            "b/IMAGES.json",
            r#"{"images": [{"tag": "demo/base", "dockerfile": "Dockerfile", "working_dir": "../src"}]}"#,
        ),
        (
            "c/IMAGES.json",
            "{\"images\": [{\"tag\": 1, \"docker_file\": \"x\"}, {}, \n{\"working_dir\": \"gone\", \"version\": 1}]}",
        ),
        ("Dockerfile.app", "FROM demo/base"),
        ("src/Dockerfile", "FROM scratch"),
    ]);
    let options = |files: &[&str]| {
        files
            .iter()
            .fold(ProjectOptions::of(root.path()), |options, file| {
                options.images_file(file)
            })
    };
    let project = chain::Project::read(
        &Cx::default(),
        &options(&["a/IMAGES.json", "b/IMAGES.json"]),
    )
    .unwrap();
    insta::assert_snapshot!(lines(&chain::plan(&project, &Selection::all()).unwrap()));
    let all = options(&["a/IMAGES.json", "gone.json", "c/IMAGES.json", "src"]);
    let error = chain::Project::read(&Cx::default(), &all).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace("setups.", ""));
}
