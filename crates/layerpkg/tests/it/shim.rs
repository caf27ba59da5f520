use std::{fs, os::unix::fs::MetadataExt, process::Command};

use layerpkg::{Error, activate, install::InstallSpec, shim};

use crate::support::{House, write_program};

#[tokio::test]
async fn a_shim_leads_to_the_active_version() {
    let house = House::new();
    for (text, tools) in [("1", &["hello", "old"][..]), ("2", &["hello", "new"])] {
        let directory = house.package(text, tools);
        house
            .publish(&directory, &format!("h.io/demo:{text}.0"))
            .await;
        house.install(&format!("h.io/demo:{text}.0")).await.unwrap();
    }
    let run = |tool: &str| {
        let program = shim::resolve(&house.prefix.bin().join(tool))?;
        let output = Command::new(program).arg("x").output().unwrap();
        Ok::<_, Error>(String::from_utf8(output.stdout).unwrap())
    };
    let name = "demo".parse().unwrap();
    let switch = async |version: &str| {
        let version = version.parse().unwrap();
        activate(&house.cx, &house.prefix, &name, &version)
            .await
            .unwrap();
    };
    assert_eq!(run("hello").unwrap(), "hello 1 x\n");
    let error = run("new").unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()));
    switch("2.0").await;
    assert_eq!(run("hello").unwrap(), "hello 2 x\n");
    assert_eq!(run("new").unwrap(), "new 2 x\n");
    let error = run("old").unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()));
    assert!(matches!(run("none"), Err(Error::NotShim { .. })));
    fs::remove_file(house.prefix.active(&name)).unwrap();
    let error = run("hello").unwrap_err();
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()));
}

#[tokio::test]
async fn names_that_are_taken_stay() {
    let house = House::new();
    house
        .publish(&house.package("1", &["hello", "mine"]), "h.io/demo:1.0")
        .await;
    house
        .publish(&house.package("2", &["hello", "other"]), "h.io/more:1.0")
        .await;
    fs::create_dir_all(house.prefix.bin()).unwrap();
    write_program(&house.prefix.bin().join("mine"), "of the user");
    let done = house.install("h.io/demo:1.0").await.unwrap();
    insta::assert_json_snapshot!(done.taken, @r#"
    [
      {
        "tool": "mine",
        "by": null
      }
    ]
    "#);
    let done = house.install("h.io/more:1.0").await.unwrap();
    insta::assert_json_snapshot!(done.taken, @r#"
    [
      {
        "tool": "hello",
        "by": "demo"
      }
    ]
    "#);
    let text = fs::read_to_string(house.prefix.bin().join("mine")).unwrap();
    assert_eq!(text, "of the user");
    let inode = |tool: &str| fs::metadata(house.prefix.bin().join(tool)).unwrap().ino();
    assert_eq!(inode("hello"), inode("other"), "shims are one file");
}

#[tokio::test]
async fn a_new_shim_program_replaces_the_old_one() {
    let house = House::new();
    house
        .publish(&house.package("1", &["hello"]), "h.io/demo:1.0")
        .await;
    house.install("h.io/demo:1.0").await.unwrap();
    let newer = house.path("newer");
    write_program(&newer, "newer");
    let prefix = house.prefix.clone().with_shim(newer);
    let spec = InstallSpec::new("h.io/demo:1.0".parse().unwrap());
    crate::support::install_from(&house.cx, &prefix, &house.repositories, &spec)
        .await
        .unwrap();
    let shim = house.prefix.bin().join("hello");
    assert_eq!(fs::read_to_string(shim).unwrap(), "newer");
}
