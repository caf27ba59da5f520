use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    time::{Duration, SystemTime},
};

use layerpkg::publish::{self, PublishSpec};
use ocicore::{Class, Cx, Image, Platform, Repositories};

use crate::support::{House, list, write_program};

#[tokio::test]
async fn the_same_directory_gives_the_same_digest() {
    let house = House::new();
    let directory = house.package("1", &["hello", "bye"]);
    let first = house.publish(&directory, "h.io/demo:1.0").await;
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let file = fs::File::options()
        .append(true)
        .open(directory.join("share/data"))
        .unwrap();
    file.set_modified(later).unwrap();
    let copy = house.path("copy");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&directory, &copy])
        .status()
        .unwrap();
    assert!(copied.success());
    assert_eq!(house.publish(&copy, "h.io/demo:1.0").await, first);
    write_program(&copy.join("share/data"), "1");
    let other = house.publish(&copy, "h.io/demo:1.0").await;
    assert_ne!(other, first, "a mode is content");
}

#[tokio::test]
async fn a_plan_says_what_will_be_published() {
    let house = House::new();
    let directory = house.package("1", &["hello"]);
    let spec = PublishSpec::new(directory, "h.io/team/demo:latest".parse().unwrap())
        .with_version("1.2.3".parse().unwrap())
        .with_platform("linux/arm64".parse().unwrap())
        .with_label("org.opencontainers.image.source", "https://h.io/demo");
    let plan = publish::plan(&house.cx, &spec).await.unwrap();
    insta::assert_json_snapshot!(plan);
    publish::run(&house.cx, &house.repositories, plan)
        .await
        .unwrap();
    let store = house
        .repositories
        .repository(&"h.io/team/demo".parse().unwrap());
    let (cx, platform): (_, Platform) = (Cx::default(), "linux/arm64".parse().unwrap());
    let name = "latest".parse().unwrap();
    let image = Image::open(&cx, &*store.unwrap(), &name, &platform)
        .await
        .unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(image.config().bytes()));
}

#[tokio::test]
async fn what_no_install_would_take_is_not_published() {
    let house = House::new();
    let directory = house.path("bad");
    let check = async |make: &dyn Fn()| {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        make();
        let spec = PublishSpec::new(&directory, "h.io/demo:1".parse().unwrap());
        let error = publish::plan(&house.cx, &spec).await.unwrap_err();
        assert_eq!(error.class(), Class::Invalid, "{error}");
        let mut text = error.to_string();
        let mut at = std::error::Error::source(&error);
        while let Some(cause) = at {
            text += &format!(": {cause}");
            at = cause.source();
        }
        text.replace(directory.to_str().unwrap(), "DIR")
    };
    let shown = [
        check(&|| {}).await,
        check(&|| symlink("/etc/passwd", directory.join("link")).unwrap()).await,
        check(&|| symlink("../x", directory.join("link")).unwrap()).await,
        // Sockets are passed over, as by Docker.
        check(&|| drop(UnixListener::bind(directory.join("socket")).unwrap())).await,
    ];
    insta::assert_snapshot!(shown.join("\n"));
    let spec = PublishSpec::new(house.path("none"), "h.io/demo:1".parse().unwrap());
    let error = publish::plan(&house.cx, &spec).await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    let digest = ocicore::Digest::of(b"x");
    let reference = format!("h.io/demo@{digest}").parse().unwrap();
    let spec = PublishSpec::new(house.package("1", &[]), reference);
    let error = publish::plan(&house.cx, &spec).await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
}

#[tokio::test]
async fn what_is_ignored_is_not_published() {
    let house = House::new();
    let directory = house.package("1", &["hello"]);
    fs::create_dir_all(directory.join("sub/.git/objects")).unwrap();
    fs::write(directory.join("sub/.git/config"), "x").unwrap();
    fs::write(
        directory.join(".dockerignore"),
        "**/.git\n.dockerignore\nbin/data\n",
    )
    .unwrap();
    house.publish(&directory, "h.io/demo:1").await;
    let done = house.install("h.io/demo:1").await.unwrap();
    let mut names = Vec::new();
    list(
        &house.prefix.files(&done.name, &done.version),
        "",
        &mut names,
    );
    insta::assert_snapshot!(names.join("\n"));
}
