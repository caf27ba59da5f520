//! Conversion of a job as a whole.

use ocicore::Cx;
use repack::{Mtime, Tree};
use talend::{ConvertOptions, Converted, Layout, UnsafeLaunchers, convert, inspect, naming};

use crate::fixture::{BATCH, LAUNCHER, POWERSHELL, insert, jar, job, text};

fn converted(tree: Tree, options: &ConvertOptions) -> Converted {
    convert(&Cx::default(), tree, "load_0.1.zip", options).unwrap()
}

/// Path, mode and size of each entry.
fn listing(tree: &Tree) -> String {
    tree.iter()
        .map(|(path, entry)| {
            let size = entry
                .content()
                .map_or("dir".to_owned(), |c| c.size().to_string());
            format!("{path} {:o} {size}\n", entry.metadata.mode)
        })
        .collect()
}

#[test]
fn only_the_launcher_changes() {
    let converted = converted(job(), &ConvertOptions::default());
    insta::assert_snapshot!(listing(&converted.tree));
    let launcher = text(&converted.tree, "load_0.1/load/load_run.sh");
    assert_eq!(launcher, LAUNCHER.replace("\njava ", "\nexec java "));
    assert_eq!(text(&converted.tree, "load_0.1/load/load_run.bat"), BATCH);
    assert_eq!(
        text(&converted.tree, "load_0.1/load/load_run.ps1"),
        POWERSHELL
    );
    insta::assert_json_snapshot!(converted.plan);
}

#[test]
fn the_originals_names_are_kept_in_step_everywhere() {
    let mut tree = job();
    let manifest = "Manifest-Version: 1.0\r\nClass-Path: ../lib/routines.jar load_0_1.jar \r\n\r\n";
    let classpath = jar(&[("META-INF/MANIFEST.MF", manifest.as_bytes())]);
    insert(&mut tree, "load/classpath.jar", classpath);
    let options = ConvertOptions::default().with_layout(Layout::Job2docker);
    let converted = converted(tree, &options);
    insta::assert_snapshot!(listing(&converted.tree));
    let file = |name: &str| text(&converted.tree, &format!("load_0.1/load/load_run.{name}"));
    let renamed = |launcher: &str| launcher.replace("lib/routines.jar", "lib/routines_load.jar");
    assert_eq!(
        file("sh"),
        renamed(LAUNCHER).replace("\njava ", "\nexec java ")
    );
    assert_eq!(file("bat"), renamed(BATCH));
    assert!(file("bat").contains("lib/myroutines.jar"));
    assert_eq!(file("ps1"), renamed(POWERSHELL));
    let path = "load_0.1/load/classpath.jar".parse().unwrap();
    let jar = converted.tree.read(&path, 1 << 20).unwrap();
    let inner = repack::zip::index(
        &Cx::default(),
        std::sync::Arc::new(jar),
        &Default::default(),
    );
    let manifest = text(&inner.unwrap(), "META-INF/MANIFEST.MF");
    assert!(manifest.contains("Class-Path: ../lib/routines_load.jar load_0_1.jar"));
    assert_eq!(converted.plan.report.warnings, [] as [&str; 0]);
}

#[test]
fn names_that_no_rename_reaches_are_reported() {
    let mut tree = job();
    let class = b"\xca\xfe\xba\xbe .:$ROOT_PATH/../lib/routines.jar: \x00";
    insert(
        &mut tree,
        "load/load_0_1.jar",
        jar(&[("demo/load.class", class)]),
    );
    insert(&mut tree, "META-INF/TALEND.SF", "Signature-Version: 1.0\n");
    let options = ConvertOptions::default().with_layout(Layout::Job2docker);
    insta::assert_json_snapshot!(converted(tree.clone(), &options).plan.report.warnings, @r#"
    [
      "`load/load_0_1.jar` starts a job with `lib/routines.jar` on its class path, which has another name now",
      "the build is signed, and its signature does not fit `jobInfo.properties`, `lib/routines.jar`, `load/load_run.bat` and 2 more files"
    ]
    "#);
    // Without the rename there is nothing to report but the signature.
    assert_eq!(
        converted(tree, &ConvertOptions::default())
            .plan
            .report
            .warnings
            .len(),
        1
    );
}

#[test]
fn an_image_has_everything_under_one_directory() {
    let mtime = Mtime {
        seconds: 1_600_000_000,
        nanoseconds: 0,
    };
    let options = ConvertOptions::default()
        .with_parent("opt/jobs".parse().unwrap())
        .with_user("0:0")
        .with_mtime(mtime);
    let converted = converted(job(), &options);
    let image = converted.plan.image.clone();
    assert_eq!(
        image.entrypoint,
        ["/bin/sh", "/opt/jobs/load_0.1/load/load_run.sh"]
    );
    assert_eq!(image.working_dir, "/opt/jobs/load_0.1/load");
    assert_eq!(image.env["JOB_PARENT_DIR"], "/opt/jobs");
    assert_eq!(image.user, "0:0");
    let tree = converted.into_image_tree().unwrap();
    assert!(
        tree.get(&"opt/jobs/config".parse().unwrap())
            .unwrap()
            .kind
            .is_dir()
    );
    for (path, entry) in &tree {
        assert!(path.to_str().unwrap().starts_with("opt"), "{path}");
        let metadata = &entry.metadata;
        assert_eq!(
            (metadata.uid, metadata.gid, metadata.mtime),
            (0, 0, mtime),
            "{path}"
        );
    }
}

#[test]
fn unsafe_launchers_are_left_alone_when_allowed() {
    let mut tree = job();
    let launcher = "#!/bin/sh\njava -cp . demo.load_0_1.load \"$@\" &\nwait\n";
    insert(&mut tree, "load/load_run.sh", launcher);
    let allow = ConvertOptions::default().with_unsafe_launchers(UnsafeLaunchers::Allow);
    let converted = converted(tree, &allow);
    assert_eq!(text(&converted.tree, "load_0.1/load/load_run.sh"), launcher);
    assert_eq!(converted.plan.report.unsafe_launchers().count(), 1);
}

#[test]
fn a_job_without_job_info_is_found_by_its_files() {
    let mut tree = job();
    tree.remove(&"jobInfo.properties".parse().unwrap());
    for (file_name, root) in [
        ("load_2.5.zip", "load_2.5"),
        ("load-1.2.3-20180620.090617-2.zip", "load_1.2.3"),
        ("whatever.zip", "load_0.1"),
        ("", "load_0.1"),
    ] {
        let inspected = inspect(&Cx::default(), &tree, file_name, &Default::default()).unwrap();
        assert_eq!(inspected.job.root(), root, "{file_name}");
    }
}

#[test]
fn inspecting_changes_nothing_and_stops_at_nothing() {
    let mut tree = job();
    let launcher = "#!/bin/sh\njava -cp ${talend.job.sh.classpath} \"$@\"\n";
    insert(&mut tree, "load/load_run.sh", launcher);
    let inspected = inspect(&Cx::default(), &tree, "", &Default::default()).unwrap();
    assert_eq!(text(&tree, "load/load_run.sh"), launcher);
    insta::assert_json_snapshot!(inspected.report.launchers[0].outcome, @r#"
    {
      "outcome": "unresolved",
      "line": 2,
      "column": 10,
      "placeholder": "${talend.job.sh.classpath}"
    }
    "#);
}

#[test]
fn archives_lose_residue_only_when_asked() {
    let mut converted = converted(job(), &ConvertOptions::default());
    let source = "load_0.1/load/src/main/resources/demo/load_0_1/contexts/Default.properties";
    assert!(converted.tree.contains(&source.parse().unwrap()));
    let dropped = converted.drop_residue().unwrap();
    assert_eq!(dropped, ["load/src".parse().unwrap()]);
    assert!(
        converted
            .tree
            .get(&"load_0.1/load/src".parse().unwrap())
            .is_none()
    );
    assert!(converted.plan.residue.is_empty());
    assert!(
        converted
            .plan
            .default_base()
            .unwrap()
            .to_string()
            .ends_with(":11-jre")
    );
}

#[test]
fn names_that_no_registry_takes_stay_in_paths_and_are_mapped_for_it() {
    let long = "Long_Name_".repeat(20);
    let mut mapped = Vec::new();
    for name in ["_Foo__Bar_", "LoadAll", long.as_str()] {
        let mut tree = Tree::new();
        let launcher = LAUNCHER.replace("load", name);
        insert(&mut tree, &format!("{name}/{name}_run.sh"), launcher);
        let info = format!("job={name}\njobVersion=0.1\n");
        insert(&mut tree, "jobInfo.properties", info);
        let options = ConvertOptions::default().with_context_from_env("CONTEXT_");
        let one = convert(&Cx::default(), tree, "job.zip", &options).unwrap();
        assert_eq!(one.plan.image.entrypoint[1], format!("/talend/bin/{name}"));
        let layers = one
            .into_layers(&Cx::default(), &Default::default())
            .unwrap();
        let launcher = format!("talend/{name}_0.1/{name}/{name}_run.sh")
            .parse()
            .unwrap();
        let job = &layers.layers.last().unwrap().tree;
        assert_eq!(job.get(&launcher).unwrap().metadata.mode, 0o755);
        mapped.push(naming::image_name(name).unwrap().to_string());
    }
    assert_eq!(mapped[..2], ["foo__bar", "loadall"]);
    assert_eq!(mapped[2].len(), 128);
    let both = naming::image_names(["LoadAll", "loadall"]).unwrap_err();
    assert_eq!(
        both.to_string(),
        "jobs `LoadAll` and `loadall` would both be called `loadall`"
    );
}
