//! Jobs that a Studio built, compared with what the original's commands make of them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use ocicore::{
    Cx, SizeLimits,
    conformance::peer::{peer, real_data},
};
use repack::Tree;
use talend::{
    ConvertOptions, Converted, Entrypoint, Layout,
    application::{JobInput, MergeSpec, merge},
    convert,
    layers::LayerOptions,
};

use crate::fixture::unpack;

const JOBS: [&str; 2] = ["docker_hello_world", "job2docker_listener"];

/// Path to mode and content.
type Files = BTreeMap<String, (u32, Vec<u8>)>;

fn converted(zip: &Path, options: &ConvertOptions) -> Converted {
    let cx = Cx::default();
    let tree = repack::zip::open(&cx, zip, &SizeLimits::default()).unwrap();
    let name = zip.file_name().unwrap().to_str().unwrap();
    convert(&cx, tree, name, options).unwrap()
}

fn ours(converted: &Converted) -> Files {
    converted
        .tree
        .iter()
        .map(|(path, entry)| {
            let content = entry
                .content()
                .map(|content| content.read(1 << 30).unwrap());
            let content = content.map(|bytes| bytes.to_vec()).unwrap_or_default();
            (path.to_string(), (entry.metadata.mode, content))
        })
        .collect()
}

/// `unzip`, the two renames, the two edits and `chmod +x`; the umask plays no part, since `unzip`
/// restores modes.
fn original(zip: &Path, job: &str, root: &Path) {
    let script = r#"
        set -e
        unzip -q -o "$1" -d "$3/$2_0.1"
        cd "$3/$2_0.1"
        mv jobInfo.properties "jobInfo_$2.properties"
        mv lib/routines.jar "lib/routines_$2.jar"
        sed -i "s/routines\.jar/routines_$2\.jar/g" "$2/$2_run.sh"
        sed -i 's/^java /exec java /g' "$2/$2_run.sh"
        chmod +x "$2/$2_run.sh"
    "#;
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([zip, Path::new(job), root])
        .status()
        .unwrap();
    assert!(status.success());
}

fn on_disk(root: &Path) -> Files {
    use std::os::unix::fs::PermissionsExt;
    let mut files = Files::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let content = if path.is_dir() {
                pending.push(path);
                Vec::new()
            } else {
                fs::read(path).unwrap()
            };
            files.insert(name, (mode, content));
        }
    }
    files
}

#[test]
fn the_originals_layout_has_the_originals_names_bytes_and_modes() {
    let Some(data) = real_data() else { return };
    for job in JOBS {
        let zip = data.join(format!("talend/{job}_0.1.zip"));
        let options = ConvertOptions::default().with_layout(Layout::Job2docker);
        let mut ours = ours(&converted(&zip, &options));
        let directory = tempfile::tempdir().unwrap();
        original(&zip, job, directory.path());
        let mut theirs = on_disk(directory.path());
        // The original leaves the old name in these two, so that they do not run.
        for extension in ["bat", "ps1"] {
            let path = format!("{job}_0.1/{job}/{job}_run.{extension}");
            let (ours, theirs) = (ours.remove(&path).unwrap(), theirs.remove(&path).unwrap());
            let text = String::from_utf8(theirs.1).unwrap();
            let renamed = text.replace("lib/routines.jar", &format!("lib/routines_{job}.jar"));
            assert_eq!(String::from_utf8(ours.1).unwrap(), renamed, "{path}");
        }
        // The top directory is in none of the original's zips, and is made by `unzip -d`.
        ours.remove(&format!("{job}_0.1"));
        theirs.remove(&format!("{job}_0.1"));
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs));
        for (path, ours) in &ours {
            let theirs = &theirs[path];
            assert_eq!(format!("{:o}", ours.0), format!("{:o}", theirs.0), "{path}");
            assert!(ours.1 == theirs.1, "{path}");
        }
    }
}

#[test]
fn the_plain_layout_is_the_zip_but_for_the_launcher() {
    let Some(data) = real_data() else { return };
    for job in JOBS {
        let zip = data.join(format!("talend/{job}_0.1.zip"));
        let tree = repack::zip::open(&Cx::default(), &zip, &SizeLimits::default()).unwrap();
        let converted = converted(&zip, &ConvertOptions::default());
        let mut changed = Vec::new();
        for (path, (_, content)) in ours(&converted) {
            let Some(inner) = path.strip_prefix(&format!("{job}_0.1/")) else {
                continue;
            };
            let before = tree.get(&inner.parse().unwrap()).unwrap();
            let before = before
                .content()
                .map(|content| content.read(1 << 30).unwrap());
            if before.unwrap_or_default() != content {
                changed.push(inner.to_owned());
            }
        }
        assert_eq!(changed, [format!("{job}/{job}_run.sh")]);
        assert_eq!(converted.tree.len(), tree.len() + 1);
        let studio = converted.plan.job.studio.as_ref().unwrap();
        assert_eq!(studio.to_string(), "7.0.1.20180411_1414");
        let image = &converted.plan.image;
        let launcher = format!("/talend/{job}_0.1/{job}/{job}_run.sh");
        assert_eq!(image.entrypoint, ["/bin/sh", &launcher]);
        assert_eq!(image.labels["org.opencontainers.image.title"], job);
        assert_eq!(image.labels["org.opencontainers.image.version"], "0.1");
        assert_eq!(image.labels["talend.job.project"], "SE_DEMO");
        let residue: Vec<_> = converted
            .plan
            .residue
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(residue, [format!("{job}/items"), format!("{job}/src")]);
        assert!(converted.plan.exec_form.is_some());
    }
}

#[test]
fn converting_twice_gives_the_same_bytes() {
    let Some(data) = real_data() else { return };
    for job in JOBS {
        let zip = data.join(format!("talend/{job}_0.1.zip"));
        let layer = || {
            let tree = converted(&zip, &ConvertOptions::default())
                .into_image_tree()
                .unwrap();
            let mut bytes = Vec::new();
            let options = repack::layer::Options::default();
            repack::layer::write(&Cx::default(), &tree, &options, &mut bytes).unwrap();
            bytes
        };
        assert!(layer() == layer());
    }
}

/// What a job prints when the image's entry point is run where the image is unpacked.
fn printed(java: &str, image: &Tree, entrypoint: &[String], working_dir: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    unpack(image, directory.path());
    let here = |word: &str| word.replace("/talend/", &format!("{root}/talend/"));
    let path = Path::new(java).parent().unwrap().display();
    let output = Command::new(here(&entrypoint[0]))
        .args(entrypoint[1..].iter().map(|word| here(word)))
        .arg("--context_param")
        .arg("message=hello from an image")
        .current_dir(here(&format!("{working_dir}/")))
        .env("PATH", format!("{path}:{}", env!("PATH")))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_job_runs_in_every_form_as_it_ran_before() {
    let Some(data) = real_data() else { return };
    let Some(java) = peer("JAVA") else { return };
    let zip = data.join("talend/docker_hello_world_0.1.zip");
    let before = {
        let directory = tempfile::tempdir().unwrap();
        let unzip = Command::new("unzip")
            .arg("-qo")
            .arg(&zip)
            .arg("-d")
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(unzip.success());
        let job = directory
            .path()
            .join("docker_hello_world/docker_hello_world_run.sh");
        let output = Command::new("sh")
            .arg(job)
            .args(["--context_param", "message=hello from an image"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(before.contains("hello from an image"), "{before}");

    let plain = ConvertOptions::default();
    for options in [
        plain.clone(),
        plain.clone().with_layout(Layout::Job2docker),
        plain.clone().with_entrypoint(Entrypoint::Exec),
        plain.clone().with_context_from_env("CONTEXT_"),
    ] {
        let converted = converted(&zip, &options);
        let image = converted.plan.image.clone();
        let tree = converted.into_image_tree().unwrap();
        let now = printed(&java, &tree, &image.entrypoint, &image.working_dir);
        assert_eq!(now, before, "{options:?}");
    }

    let inputs = JOBS.map(|job| {
        let name = format!("{job}_0.1.zip");
        let zip = data.join("talend").join(&name);
        let tree = repack::zip::open(&Cx::default(), zip, &SizeLimits::default()).unwrap();
        JobInput::new(name, tree)
    });
    let spec = MergeSpec::new("both").with_default(JOBS[0]);
    let application = merge(&Cx::default(), inputs.into(), &spec).unwrap();
    assert!(
        application
            .plan
            .jobs
            .iter()
            .all(|job| job.separate.is_none())
    );
    let image = application.plan.image.clone();
    let layers = application
        .into_layers(&Cx::default(), &LayerOptions::default())
        .unwrap();
    let mut tree = Tree::new();
    for layer in layers.layers {
        for (path, entry) in &layer.tree {
            if !(entry.kind.is_dir() && tree.contains(&path)) {
                tree.insert(path, entry).unwrap();
            }
        }
    }
    let now = printed(&java, &tree, &image.entrypoint, &image.working_dir);
    assert_eq!(now, before);
}
