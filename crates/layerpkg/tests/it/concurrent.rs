use std::{collections::BTreeSet, fs};

use layerpkg::install::{Change, InstallSpec};

use crate::support::{House, install_from};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn installs_at_once_do_not_disturb_each_other() {
    let house = House::new();
    let mut references = Vec::new();
    for text in ["1", "2", "3"] {
        let reference = format!("h.io/demo:{text}.0");
        house
            .publish(&house.package(text, &["hello"]), &reference)
            .await;
        references.push(reference);
    }
    let tasks: Vec<_> = references
        .iter()
        .cycle()
        .take(12)
        .map(|reference| {
            let spec = InstallSpec::new(reference.parse().unwrap());
            let (cx, prefix) = (house.cx.clone(), house.prefix.clone());
            let repositories = house.repositories.clone();
            tokio::spawn(async move { install_from(&cx, &prefix, &repositories, &spec).await })
        })
        .collect();
    let mut installed = BTreeSet::new();
    for task in tasks {
        let done = task.await.unwrap().unwrap();
        if done.change == Change::Installed {
            assert!(installed.insert(done.version.clone()), "only one did it");
        }
        let data = house
            .prefix
            .files(&done.name, &done.version)
            .join("share/data");
        assert_eq!(
            format!("{}.0", fs::read_to_string(data).unwrap()),
            done.version.as_str()
        );
    }
    assert_eq!(installed.len(), 3);
    let packages = house.prefix.packages().unwrap();
    assert_eq!(packages[0].versions.len(), 3);
    assert!(packages[0].active.is_some());
    let staging = house.prefix.root().join("staging");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_killed_install_left_is_removed() {
    let house = House::new();
    let staging = house.prefix.root().join("staging");
    let dead = staging.join("0".repeat(64));
    fs::create_dir_all(dead.join("entry/files")).unwrap();
    fs::write(dead.with_extension("lock"), "").unwrap();
    house
        .publish(&house.package("1", &[]), "h.io/demo:1.0")
        .await;
    house.install("h.io/demo:1.0").await.unwrap();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}
