use std::{collections::BTreeSet, fs};

use futures_util::FutureExt;
use layerpkg::{
    Prefix,
    install::{Change, InstallSpec},
};

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

/// Whatever the moment, and whether the next one has to fetch anything or not.
#[tokio::test]
async fn what_a_killed_install_left_is_removed() {
    let house = House::new();
    let staging = house.prefix.root().join("staging");
    let package = house.package("1", &[]);
    let digest = house.publish(&package, "h.io/demo:1.0").await;
    house.publish(&package, "h.io/other:2").await;
    let leave = |name: &str, directory: bool, lock: bool| {
        fs::create_dir_all(&staging).unwrap();
        if directory {
            fs::create_dir_all(staging.join(name).join("entry/files")).unwrap();
        }
        if lock {
            fs::write(staging.join(format!("{name}.lock")), "").unwrap();
        }
    };
    let unknown = "0".repeat(64);
    // New; there already; the content there, but not the package.
    for reference in ["h.io/demo:1.0", "h.io/demo:1.0", "h.io/other:2"] {
        for name in [&unknown, &digest.hex()] {
            leave(name, true, true);
            house.install(reference).await.unwrap();
            assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
            leave(name, false, true);
            house.install(reference).await.unwrap();
            assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
            leave(name, true, false);
            house.install(reference).await.unwrap();
            assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
        }
    }
}

/// Its threads run on for a while, and must not disturb who comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_install_does_not_disturb_the_next() {
    let house = House::new();
    let package = house.package("1", &["hello"]);
    for n in 0..50 {
        fs::write(package.join(format!("share/{n}")), [b'x'; 100_000]).unwrap();
    }
    house.publish(&package, "h.io/demo:1.0").await;
    let spec = InstallSpec::new("h.io/demo:1.0".parse().unwrap());
    for polls in (0..14).map(|n| 1 << n) {
        let prefix = Prefix::new(house.path(&format!("prefix-{polls}")));
        let install = || install_from(&house.cx, &prefix, &house.repositories, &spec);
        let mut dropped = Box::pin(install());
        let mut done = false;
        for _ in 0..polls {
            done = dropped.as_mut().now_or_never().is_some();
            if done {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(dropped);
        install().await.unwrap();
        let files = fs::read_dir(prefix.root().join("active/demo/share")).unwrap();
        assert_eq!(files.count(), 52, "after {polls} polls");
        // The threads of the dropped one end.
        let staging = prefix.root().join("staging");
        while fs::read_dir(&staging).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
        fs::remove_dir_all(prefix.root()).unwrap();
        if done {
            break;
        }
    }
}
