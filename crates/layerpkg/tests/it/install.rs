use std::{fs, os::unix::fs::PermissionsExt};

use layerpkg::{
    Error, activate,
    install::{Activation, Change, InstallSpec},
};
use ocicore::{Class, Descriptor, MediaType, Name, Place, Platform, RawManifest, Repositories};
use serde_json::json;

use crate::support::{House, gzip, header, image, layer, tar};

#[tokio::test]
async fn what_is_published_is_installed() {
    let house = House::new();
    let one = house.package("1", &["hello"]);
    fs::set_permissions(one.join("share/data"), PermissionsExt::from_mode(0o640)).unwrap();
    let digest = house.publish(&one, "h.io/team/demo:1.0").await;
    let done = house.install("h.io/team/demo:1.0").await.unwrap();
    assert_eq!((done.digest, done.change), (digest, Change::Installed));
    assert_eq!(done.active, Some("1.0".parse().unwrap()));
    let hex = digest.hex();
    let visible = house.visible().join("\n").replace(&hex, "HEX");
    insta::assert_snapshot!(visible);
    assert_eq!(
        fs::read_to_string(house.prefix.active(&done.name).join("share/data")).unwrap(),
        "1"
    );
    let staging = house.prefix.root().join("staging");
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    let json = serde_json::to_string_pretty(&house.prefix.packages().unwrap()).unwrap();
    insta::assert_snapshot!(
        json.replace(&hex, "HEX")
            .replace(Platform::host().architecture(), "ARCH")
    );

    let before = house.visible();
    let again = house.install("h.io/team/demo:1.0").await.unwrap();
    assert_eq!(again.change, Change::Present);
    assert_eq!(house.visible(), before);
}

#[tokio::test]
async fn a_digest_needs_no_tag_and_what_is_there_no_store() {
    let house = House::new();
    let digest = house
        .publish(&house.package("1", &[]), "h.io/demo:1.0")
        .await;
    let reference = format!("h.io/demo@{digest}");
    let done = house.install(&reference).await.unwrap();
    assert_eq!(done.version.as_str(), "1.0", "the label says so");
    let store = house.repositories.repository(&"h.io/demo".parse().unwrap());
    let store = store.unwrap();
    store.delete(&house.cx, &digest.into()).await.unwrap();
    let again = house.install(&reference).await.unwrap();
    assert_eq!(again.change, Change::Present);
    let error = house.install("h.io/demo:1.0").await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}

#[tokio::test]
async fn versions_stay_and_are_switched() {
    let house = House::new();
    for version in ["1", "2"] {
        let directory = house.package(version, &["hello"]);
        house
            .publish(&directory, &format!("h.io/demo:{version}.0"))
            .await;
    }
    let one = house.install("h.io/demo:1.0").await.unwrap();
    let two = house.install("h.io/demo:2.0").await.unwrap();
    assert_eq!(two.active.as_ref(), Some(&one.version), "the first stays");
    let data = || fs::read_to_string(house.prefix.active(&one.name).join("share/data")).unwrap();
    assert_eq!(data(), "1");
    let done = activate(&house.cx, &house.prefix, &one.name, &two.version).await;
    assert_eq!(done.unwrap().previous, Some(one.version.clone()));
    assert_eq!(data(), "2");
    let spec =
        InstallSpec::new("h.io/demo:1.0".parse().unwrap()).with_activation(Activation::Always);
    let done = house.install_as(&spec).await.unwrap();
    assert_eq!(
        (done.change, done.active),
        (Change::Present, Some(one.version.clone()))
    );
    assert_eq!(data(), "1");

    let three = "3.0".parse().unwrap();
    let error = activate(&house.cx, &house.prefix, &one.name, &three)
        .await
        .unwrap_err();
    insta::assert_snapshot!(error);
    let error = activate(&house.cx, &house.prefix, &"nope".parse().unwrap(), &three).await;
    insta::assert_snapshot!(error.unwrap_err());
    assert_eq!(data(), "1");
}

#[tokio::test]
async fn a_tag_that_moved_keeps_what_it_was() {
    let house = House::new();
    let mut digests = Vec::new();
    for content in ["a", "b"] {
        let mut image = image(&[]);
        // Without a label that says the version, the tag does.
        let tar = tar(|tar| {
            let header = header(tar::EntryType::Regular, "data", "", 1);
            tar.append(&header, content.as_bytes()).unwrap();
        });
        image = ocicore::ImageBuilder::from_base(&image)
            .unwrap()
            .append(layer(&tar))
            .build()
            .unwrap();
        digests.push(*image.digest());
        house.push(image, "h.io/demo:edge").await;
        house.install("h.io/demo:edge").await.unwrap();
    }
    let package = house.prefix.find(&"demo".parse().unwrap()).unwrap();
    let kept = format!("edge-{}", &digests[0].hex()[..12]);
    let versions: Vec<_> = package
        .versions
        .iter()
        .map(|v| v.version.as_str())
        .collect();
    assert_eq!(versions, ["edge", &kept]);
    let read = |version: &str| {
        let path = house.prefix.files(&package.name, &version.parse().unwrap());
        fs::read_to_string(path.join("data")).unwrap()
    };
    assert_eq!(
        (read("edge"), read(&kept)),
        ("b".to_owned(), "a".to_owned())
    );
    activate(
        &house.cx,
        &house.prefix,
        &package.name,
        &kept.parse().unwrap(),
    )
    .await
    .unwrap();
    let active = house.prefix.active(&package.name).join("data");
    assert_eq!(fs::read_to_string(active).unwrap(), "a");
}

#[tokio::test]
async fn layers_and_whiteouts_make_one_tree() {
    let house = House::new();
    let file = |tar: &mut tar::Builder<Vec<u8>>, name: &str, text: &str| {
        let size = text.len() as u64;
        let header = header(tar::EntryType::Regular, name, "", size);
        tar.append(&header, text.as_bytes()).unwrap();
    };
    let below = tar(|tar| {
        file(tar, "keep", "below");
        file(tar, "gone", "below");
        file(tar, "dir/a", "below");
        file(tar, "dir/b", "below");
        file(tar, "opaque/a", "below");
    });
    let above = tar(|tar| {
        file(tar, ".wh.gone", "");
        file(tar, "dir/.wh.a", "");
        file(tar, "dir/b", "above");
        file(tar, "opaque/.wh..wh..opq", "");
        file(tar, "opaque/b", "above");
        let link = header(tar::EntryType::Link, "hard", "opaque/b", 0);
        tar.append(&link, &[][..]).unwrap();
    });
    house.push(image(&[below, above]), "h.io/demo:1").await;
    let done = house.install("h.io/demo:1").await.unwrap();
    let files = house.prefix.files(&done.name, &done.version);
    let mut names = Vec::new();
    crate::support::list(&files, "", &mut names);
    insta::assert_snapshot!(names.join("\n"));
    assert_eq!(fs::read_to_string(files.join("dir/b")).unwrap(), "above");
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| fs::metadata(files.join(name)).unwrap().ino();
    assert_eq!(inode("hard"), inode("opaque/b"));
}

/// As `docker buildx build` pushes it: images by platform, and an attestation of no platform.
#[tokio::test]
async fn of_an_index_the_image_for_the_platform_is_installed() {
    let house = House::new();
    let repository = "h.io/demo".parse().unwrap();
    let store = house.repositories.repository(&repository).unwrap();
    let mut entries = Vec::new();
    let mut digests = Vec::new();
    for platform in ["unknown/unknown", "linux/amd64", "linux/arm64"] {
        let platform: Platform = platform.parse().unwrap();
        let image = ocicore::ImageBuilder::scratch(&platform).build().unwrap();
        digests.push(*image.digest());
        house.push(image.clone(), "h.io/demo:child").await;
        entries.push(
            image
                .manifest()
                .descriptor()
                .clone()
                .with_platform(platform),
        );
    }
    // An entry without a platform, as older tools write it.
    entries.push(Descriptor::new(MediaType::OCI_MANIFEST, digests[0], 1));
    for (tag, media_type) in [
        ("oci", MediaType::OCI_INDEX),
        ("list", MediaType::DOCKER_LIST),
    ] {
        let json = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        let index = RawManifest::new(media_type, json.to_string());
        let place = [tag.parse().unwrap()];
        let place = Place::Root(&place);
        store.put_manifest(&house.cx, &index, place).await.unwrap();
        let spec = |platform: &str| {
            InstallSpec::new(format!("h.io/demo:{tag}").parse().unwrap())
                .with_name(
                    format!("{tag}-{}", platform.replace('/', "-"))
                        .parse()
                        .unwrap(),
                )
                .with_platform(platform.parse().unwrap())
        };
        for (platform, digest) in [("linux/amd64", digests[1]), ("linux/arm64", digests[2])] {
            let done = house.install_as(&spec(platform)).await.unwrap();
            assert_eq!(done.digest, digest);
            let package = house.prefix.find(&done.name).unwrap();
            let origin = package.versions[0].origin.as_ref().unwrap();
            assert_eq!(origin.root, *index.digest());
        }
        let error = house.install_as(&spec("linux/s390x")).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
        if tag == "oci" {
            insta::assert_snapshot!(error);
        }
    }
    let name = Name::Tag("oci".parse().unwrap());
    assert!(store.resolve(&house.cx, &name).await.is_ok());
}

#[tokio::test]
async fn layers_that_cannot_be_unpacked_are_refused_before_they_are_fetched() {
    let house = House::new();
    for media_type in [
        #[cfg(not(feature = "zstd"))]
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/octet-stream",
    ] {
        let bytes = gzip(b"x");
        let media_type: MediaType = media_type.parse().unwrap();
        let blob = ocicore::BytesBlob::new(media_type, bytes);
        let layer = ocicore::Layer::new(std::sync::Arc::new(blob), ocicore::Digest::of(b"x"));
        let image = ocicore::ImageBuilder::scratch(&Platform::host())
            .append(layer)
            .build()
            .unwrap();
        house.push(image, "h.io/demo:1").await;
        let error = house.install("h.io/demo:1").await.unwrap_err();
        assert!(matches!(error, Error::MediaType { .. }), "{error}");
        assert_eq!(error.class(), Class::Unsupported);
        assert!(!house.prefix.root().exists());
    }
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn a_layer_may_be_compressed_by_zstandard() {
    let house = House::new();
    let tar = tar(|tar| {
        let header = header(tar::EntryType::Regular, "data", "", 5);
        tar.append(&header, &b"hello"[..]).unwrap();
    });
    for (reference, packed, good) in [
        ("h.io/good:1", zstd::encode_all(&*tar, 3).unwrap(), true),
        ("h.io/bad:1", gzip(&tar), false),
    ] {
        let blob = ocicore::BytesBlob::new(MediaType::OCI_LAYER_ZSTD, packed);
        let layer = ocicore::Layer::new(std::sync::Arc::new(blob), ocicore::Digest::of(&tar));
        let image = ocicore::ImageBuilder::scratch(&Platform::host()).append(layer);
        house.push(image.build().unwrap(), reference).await;
        match house.install(reference).await {
            Ok(done) => {
                assert!(good);
                let data = house.prefix.active(&done.name).join("data");
                assert_eq!(fs::read_to_string(data).unwrap(), "hello");
            }
            Err(error) => assert!(!good && matches!(error, Error::Layer { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn content_that_was_deleted_comes_back() {
    let house = House::new();
    let directory = house.package("1", &["hello"]);
    house.publish(&directory, "h.io/demo:1.0").await;
    house.install("h.io/demo:1.0").await.unwrap();
    let before = house.visible();
    fs::remove_dir_all(house.prefix.root().join("store")).unwrap();
    house.install("h.io/demo:1.0").await.unwrap();
    assert_eq!(house.visible(), before);
}
