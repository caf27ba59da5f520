use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use gating::{
    Secret,
    buildset::BuildsetRegistry,
    clientcfg::{Action, NAMESPACES, PodmanFiles, apply, plan_podman},
};

fn registry(host: &str) -> BuildsetRegistry {
    BuildsetRegistry::new(host, 5000, Secret::new("hunter2"), "PEM\n").unwrap()
}

fn files(root: &Path) -> PodmanFiles {
    PodmanFiles::below(root, Path::new("/srv/ci"))
}

#[test]
fn a_plan_shows_what_changes_and_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    fs::create_dir_all(files.registries.parent().unwrap()).unwrap();
    let before = "# mine\nunqualified-search-registries = [\"quay.io\"]\n";
    fs::write(&files.registries, before).unwrap();
    let plan = plan_podman(&registry("10.0.0.7"), ["docker.io", "quay.io"], &files).unwrap();
    let shown = serde_json::to_string_pretty(&plan).unwrap();
    assert!(!shown.contains("hunter2") && !format!("{plan:?}").contains("hunter2"));
    let root = dir.path().display().to_string();
    insta::assert_snapshot!(shown.replace(&root, "ROOT"));
    assert_eq!(fs::read_to_string(&files.registries).unwrap(), before);
    assert!(!files.auth.exists(), "a plan writes nothing");
}

#[test]
fn what_is_applied_is_complete_and_twice_is_once() {
    let dir = tempfile::tempdir().unwrap();
    let (files, registry) = (files(dir.path()), registry("::7"));
    apply(&plan_podman(&registry, NAMESPACES, &files).unwrap()).unwrap();
    let cert = files.certs.join("zuul-jobs.buildset-registry:5000/ca.crt");
    assert_eq!(fs::read_to_string(cert).unwrap(), "PEM\n");
    assert_eq!(
        files.auth,
        dir.path().join("srv/ci/.config/containers/auth.json")
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files.auth), 0o600);
    assert_eq!(mode(&files.registries), 0o644);
    assert_eq!(
        fs::read_to_string(&files.hosts).unwrap(),
        "::7\tzuul-jobs.buildset-registry\n"
    );
    insta::assert_snapshot!(fs::read_to_string(&files.registries).unwrap());

    let again = plan_podman(&registry, NAMESPACES, &files).unwrap();
    assert!(
        again
            .files()
            .iter()
            .all(|file| file.action() == Action::Keep)
    );
    fs::set_permissions(&files.auth, fs::Permissions::from_mode(0o644)).unwrap();
    let narrowed = plan_podman(&registry, NAMESPACES, &files).unwrap();
    apply(&narrowed).unwrap();
    assert_eq!(mode(&files.auth), 0o600);
}

#[test]
fn all_broken_files_are_told_and_none_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    for (path, text) in [
        (
            &files.registries,
            "[registries.search]\nregistries = ['docker.io']\n",
        ),
        (&files.auth, "{\n  \"auths\": }\n"),
    ] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let error = plan_podman(&registry("h.io"), NAMESPACES, &files).unwrap_err();
    let root = dir.path().display().to_string();
    insta::assert_snapshot!(error.to_string().replace(&root, "ROOT"));
}
