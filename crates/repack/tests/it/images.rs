//! Layers as images, by the programs that pull, unpack and run them. Each does it for every form of a
//! layer that it knows; that this Docker knows no Zstandard is its version's.

use std::{
    path::Path,
    process::{self, Command},
};

use bytes::Bytes;
use ocicore::{Digest, conformance::peer::peer};
use repack::{Cx, Entry, Tree, extract};

use crate::{
    sinks::{Form, OF_ESTARGZ, layout, output, said, tree, write_all},
    support::{
        disk::{expected, on_disk},
        index_tar, path,
    },
};

/// The tree below a directory of its own, since engines put files of theirs at the top.
fn below_data() -> Tree {
    let mut tree = tree();
    tree.prefix(&path("data")).unwrap();
    tree
}

/// What `cp` of an engine says is in `/data`.
fn check_data(name: &str, tar: Vec<u8>, tree: &Tree) {
    let found = index_tar(Bytes::from(tar)).unwrap();
    assert_eq!(expected(&found), expected(tree), "{name}");
}

/// Runs `check` with each form as an image in a layout.
fn each(tree: &Tree, takes: &[Form], check: &dyn Fn(&str, &Path, &repack::layer::Written)) {
    let dir = tempfile::tempdir().unwrap();
    for (name, layer, written) in write_all(tree, dir.path(), takes) {
        let images = dir.path().join(format!("{name}.oci"));
        layout(&images, &[(&layer, &written)]);
        check(name, &images, &written);
    }
}

/// `oci:DIR:TAG`, as skopeo and umoci have it.
fn image(layout: &Path) -> String {
    format!("{}:latest", layout.display())
}

#[test]
fn umoci_unpacks_it() {
    let Some(umoci) = peer("UMOCI") else { return };
    let tree = tree();
    each(&tree, &[Form::Tar, Form::Gzip], &|name, images, _| {
        let bundle = images.with_extension("bundle");
        let mut command = Command::new(&umoci);
        command.args(["unpack", "--rootless", "--image", &image(images)]);
        said(command.arg(&bundle));
        let root = bundle.join("rootfs");
        for added in OF_ESTARGZ {
            let _ = std::fs::remove_file(root.join(added));
        }
        assert_eq!(on_disk(&root), expected(&tree), "{name}");
    });
}

/// Whiteouts, opaque directories, and all kinds in the place of others: layers on top of one another are here what they
/// are there.
#[test]
fn umoci_stacks_layers_alike() {
    let Some(umoci) = peer("UMOCI") else { return };
    let file = |text: &'static str| Entry::file(text);
    let layers: [&[(&str, Entry)]; 3] = [
        &[
            ("dir/gone", file("1")),
            ("dir/stays", file("1").with_mode(0o600)),
            ("deep/gone/a/b", file("1")),
            ("opaque/gone", file("1")),
            ("opaque/below/gone", file("1")),
            ("file-to-dir", file("1")),
            ("dir-to-file/x", file("1")),
            ("link-to-file", Entry::symlink("dir/stays")),
            ("file-to-link", file("1")),
            ("target", file("the content")),
            ("linked", Entry::hardlink(path("target"))),
            ("mode", Entry::dir().with_mode(0o700)),
            ("mode/x", file("1")),
        ],
        &[
            ("dir/.wh.gone", file("")),
            ("deep/.wh.gone", file("")),
            ("opaque/.wh..wh..opq", file("")),
            ("opaque/new", file("2")),
            ("file-to-dir/x", file("2")),
            ("dir-to-file", file("2")),
            ("link-to-file", file("2")),
            ("file-to-link", Entry::symlink("target")),
            ("target", file("another")),
            ("mode", Entry::dir().with_mode(0o750)),
        ],
        &[
            // What was hidden is there again, and what replaced something is gone.
            ("dir/gone", file("3")),
            (".wh.opaque", file("")),
            ("opaque/again", file("3")),
            (".wh.link-to-file", file("")),
            ("copy", Entry::symlink("linked")),
        ],
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut stacked = Tree::new();
    let mut written = Vec::new();
    for (at, entries) in layers.iter().enumerate() {
        let mut layer = Tree::new();
        for (name, entry) in *entries {
            layer.insert(path(name), entry.clone()).unwrap();
        }
        let file = dir.path().join(format!("{at}.tar.gz"));
        let options = repack::layer::Options::default();
        written.push((
            file.clone(),
            repack::into_layer(&Cx::default(), &layer, &options, &file).unwrap(),
        ));
        // As it is in an image, where directories are listed.
        stacked
            .apply_layer(index_tar(Bytes::from(std::fs::read(&file).unwrap())).unwrap())
            .unwrap();
    }
    let images = dir.path().join("images");
    let all: Vec<_> = written
        .iter()
        .map(|(file, written)| (&**file, written))
        .collect();
    layout(&images, &all);
    let bundle = dir.path().join("bundle");
    let mut command = Command::new(&umoci);
    command.args(["unpack", "--rootless", "--image", &image(&images)]);
    said(command.arg(&bundle));
    let ours = dir.path().join("ours");
    let options = extract::Options::default().with_durability(extract::Durability::None);
    extract::extract(&Cx::default(), &stacked, &options, &ours).unwrap();
    assert_eq!(on_disk(&ours), on_disk(&bundle.join("rootfs")));
    assert_eq!(on_disk(&ours), expected(&stacked));
}

#[test]
fn skopeo_copies_and_unpacks_it() {
    let Some(skopeo) = peer("SKOPEO") else { return };
    // It converts no Zstandard to what Docker knows.
    each(
        &tree(),
        &[Form::Tar, Form::Gzip],
        &|name, images, written| {
            // A docker-archive has layers that are not compressed, under their diff_ids.
            let archive = images.with_extension("docker.tar");
            let to = format!("docker-archive:{}:x:y", archive.display());
            let from = format!("oci:{}", image(images));
            said(Command::new(&skopeo).args(["copy", "--insecure-policy", "--quiet", &from, &to]));
            let archive = index_tar(Bytes::from(std::fs::read(archive).unwrap())).unwrap();
            let layer = written.diff_id.to_string();
            let layer = format!("{}.tar", &layer["sha256:".len()..]);
            assert!(archive.get(&path(&layer)).is_some(), "{name}: no {layer}");
        },
    );
}

/// As it is, also what it cannot convert.
#[test]
fn skopeo_copies_every_form() {
    let Some(skopeo) = peer("SKOPEO") else { return };
    let forms = [Form::Tar, Form::Gzip, Form::Zstd];
    each(&tree(), &forms, &|name, images, written| {
        let to = images.with_extension("dir");
        let (from, into) = (
            format!("oci:{}", image(images)),
            format!("dir:{}", to.display()),
        );
        said(Command::new(&skopeo).args(["copy", "--insecure-policy", "--quiet", &from, &into]));
        let layer = written.digest.to_string();
        let layer = std::fs::read(to.join(&layer["sha256:".len()..])).unwrap();
        assert_eq!(Digest::of(&layer), written.digest, "{name}");
    });
}

/// A name in the registry that no other run has, taken away from the engine in the end.
struct Pulled<'a> {
    engine: &'a dyn Fn() -> Command,
    name: String,
}

impl<'a> Pulled<'a> {
    fn new(
        engine: &'a dyn Fn() -> Command,
        registry: &str,
        of: &str,
        images: &Path,
    ) -> Option<Self> {
        let skopeo = peer("SKOPEO")?;
        let tag = of.replace('.', "-");
        let name = format!("{registry}/repack-readers-{}/{of}:{tag}", process::id());
        let (from, to) = (format!("oci:{}", image(images)), format!("docker://{name}"));
        let mut push = Command::new(skopeo);
        // Else it would push another form of the same layer that it has seen before, even one that the
        // engine does not know.
        push.args([
            "copy",
            "--insecure-policy",
            "--preserve-digests",
            "--quiet",
            "--dest-tls-verify=false",
        ]);
        said(push.args([&from, &to]));
        Some(Self { engine, name })
    }

    /// Makes a container, which is not started, and returns the tar of its `/data`.
    fn data(&self, pull: &[&str]) -> Vec<u8> {
        said((self.engine)().args(pull).arg(&self.name));
        let id = said((self.engine)().args(["create", &self.name, "x"]));
        let tar = output((self.engine)().args(["cp", &format!("{id}:/data"), "-"]));
        said((self.engine)().args(["rm", &id]));
        tar
    }
}

impl Drop for Pulled<'_> {
    fn drop(&mut self) {
        // As well as can be: the test may have failed before there was an image.
        let _ = (self.engine)().args(["rmi", "-f", &self.name]).output();
    }
}

#[test]
fn docker_pulls_it() {
    let (Some(docker), Some(host), Some(registry)) =
        (peer("DOCKER"), peer("DOCKER_HOST"), peer("REGISTRY"))
    else {
        return;
    };
    let engine = || {
        let mut command = Command::new(&docker);
        command.env("DOCKER_HOST", &host);
        command
    };
    let tree = below_data();
    each(&tree, &[Form::Tar, Form::Gzip], &|name, images, _| {
        if let Some(pulled) = Pulled::new(&engine, &registry, name, images) {
            check_data(name, pulled.data(&["pull", "--quiet"]), &tree);
        }
    });
}

#[test]
fn podman_pulls_it() {
    let (Some(podman), Some(registry)) = (peer("PODMAN"), peer("REGISTRY")) else {
        return;
    };
    let engine = || Command::new(&podman);
    let tree = below_data();
    let forms = [Form::Tar, Form::Gzip, Form::Zstd];
    each(&tree, &forms, &|name, images, _| {
        if let Some(pulled) = Pulled::new(&engine, &registry, name, images) {
            let pull = ["pull", "--quiet", "--tls-verify=false"];
            check_data(name, pulled.data(&pull), &tree);
        }
    });
}
