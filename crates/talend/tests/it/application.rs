//! Several jobs as one application.

use ocicore::Cx;
use repack::Tree;
use talend::{
    ConvertOptions, Entrypoint, Layout,
    application::{Application, CollisionOutcome, JobInput, MergeSpec, Versions, merge},
    convert,
    layers::LayerOptions,
};

use crate::fixture::{JOB_INFO, LAUNCHER, insert, jar, job, text};

/// The job of the fixture under another name.
fn named(name: &str, version: &str) -> Tree {
    let mut tree = Tree::new();
    let package = |text: &str| {
        text.replace("load", name)
            .replace("_0_1", &format!("_{}", version.replace('.', "_")))
    };
    for (path, entry) in &job() {
        if let Some(content) = entry.content() {
            let bytes = content.read(1 << 20).unwrap();
            let text = package(std::str::from_utf8(&bytes).unwrap());
            let text = text.replace("jobVersion=0.1", &format!("jobVersion={version}"));
            insert(&mut tree, &package(path.to_str().unwrap()), text);
        }
    }
    tree
}

fn input(name: &str) -> JobInput {
    JobInput::new(format!("{name}_0.1.zip"), named(name, "0.1"))
}

fn merged(inputs: Vec<JobInput>, spec: &MergeSpec) -> Application {
    merge(&Cx::default(), inputs, spec).unwrap()
}

fn listing(tree: &Tree) -> String {
    let files = tree.iter().filter(|(_, entry)| !entry.kind.is_dir());
    files
        .map(|(path, entry)| format!("{path} {:o}\n", entry.metadata.mode))
        .collect()
}

#[test]
fn equal_files_are_shared_and_nothing_is_renamed() {
    let spec = MergeSpec::new("orders").with_version("1.2");
    let application = merged(vec![input("load"), input("export")], &spec);
    insta::assert_snapshot!(listing(&application.tree));
    insta::assert_json_snapshot!(application.plan, { ".jobs[].job" => "[job]", ".jobs[].report" => "[report]" });
    let image = application.into_image_tree().unwrap();
    insta::assert_snapshot!(text(&image, "talend/bin/export"));
}

#[test]
fn a_job_that_differs_gets_a_directory_of_its_own() {
    let mut export = input("export");
    insert(&mut export.tree, "lib/dom4j-1.6.1.jar", "another dom4j");
    insert(&mut export.tree, "lib/routines.jar", "other routines");
    let spec = MergeSpec::new("orders").with_default("export");
    let application = merged(vec![input("load"), export, input("report")], &spec);
    let jobs = &application.plan.jobs;
    let roots: Vec<String> = jobs.iter().map(|job| job.root.to_string()).collect();
    assert_eq!(roots, ["orders", "orders/jobs/export", "orders"]);
    assert_eq!(
        jobs[1].separate.as_deref(),
        Some("its `lib/dom4j-1.6.1.jar` is not that of `load`, and 1 more files")
    );
    assert_eq!(
        text(&application.tree, "orders/lib/dom4j-1.6.1.jar"),
        "dom4j"
    );
    assert_eq!(
        text(&application.tree, "orders/jobs/export/lib/dom4j-1.6.1.jar"),
        "another dom4j"
    );
    let launcher = text(&application.tree, "orders/jobs/export/export/export_run.sh");
    assert!(launcher.contains("$ROOT_PATH/../lib/routines.jar"));
    assert_eq!(application.plan.image.entrypoint, ["/talend/bin/export"]);
    let outcomes: Vec<_> = application
        .plan
        .collisions
        .iter()
        .map(|collision| {
            let separated = collision.outcome == CollisionOutcome::Separated;
            format!(
                "{} {} {} {separated}",
                collision.path, collision.first, collision.second
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            "lib/dom4j-1.6.1.jar load export true",
            "lib/routines.jar load export true",
            "lib/dom4j-1.6.1.jar load report false",
            "lib/routines.jar load report false",
        ]
    );
}

#[test]
fn a_checksum_alone_does_not_make_libraries_the_same() {
    // Both have 8 bytes and the CRC-32 4ddb0c25.
    let zipped = |name: &str, library: &[u8; 8]| {
        let mut files = vec![("lib/a.jar".to_owned(), library.to_vec())];
        for (path, entry) in &named(name, "0.1") {
            if let Some(content) = entry.content() {
                files.push((path.to_string(), content.read(1 << 20).unwrap().to_vec()));
            }
        }
        let files: Vec<_> = files
            .iter()
            .map(|(path, bytes)| (path.as_str(), &bytes[..]))
            .collect();
        let (cx, zip) = (Cx::default(), std::sync::Arc::new(jar(&files)));
        let tree = repack::zip::index(&cx, zip, &Default::default()).unwrap();
        JobInput::new(format!("{name}_0.1.zip"), tree)
    };
    let inputs = vec![
        zipped("load", b"plumless"),
        zipped("export", b"buckeroo"),
        zipped("report", b"plumless"),
    ];
    let application = merged(inputs, &MergeSpec::new("orders"));
    let separate = application
        .plan
        .jobs
        .iter()
        .map(|job| job.separate.is_some());
    assert_eq!(separate.collect::<Vec<_>>(), [false, true, false]);
    let layers = application
        .into_layers(&Cx::default(), &LayerOptions::default())
        .unwrap();
    let mut jars = layers.layers.iter().flat_map(|layer| &layer.tree);
    let jars = jars
        .by_ref()
        .filter(|(path, entry)| entry.kind.is_file() && path.file_name() == b"a.jar");
    let mut found: Vec<_> = jars
        .map(|(_, entry)| entry.content().unwrap().read(8).unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["buckeroo", "plumless"]);
}

#[test]
fn the_originals_layout_gives_each_job_its_routines() {
    let mut export = input("export");
    insert(&mut export.tree, "lib/routines.jar", "other routines");
    let convert = ConvertOptions::default().with_layout(Layout::Job2docker);
    let spec = MergeSpec::new("orders").with_convert(convert);
    let application = merged(vec![input("load"), export], &spec);
    assert!(
        application
            .plan
            .jobs
            .iter()
            .all(|job| job.separate.is_none())
    );
    insta::assert_snapshot!(listing(&application.tree));
}

#[test]
fn a_wildcard_sees_no_jars_of_others() {
    let mut export = input("export");
    let launcher = "#!/bin/sh\ncd `dirname $0`\njava -cp .:../lib/*: a.B \"$@\"\n";
    insert(&mut export.tree, "export/export_run.sh", launcher);
    let application = merged(
        vec![export.clone(), input("load")],
        &MergeSpec::new("orders"),
    );
    let reason = application.plan.jobs[0].separate.as_deref();
    assert_eq!(reason, Some("its class path has a wildcard"));
    let alone = merged(vec![export], &MergeSpec::new("orders"));
    assert_eq!(alone.plan.jobs[0].separate, None);
}

#[test]
fn one_job_is_the_same_from_a_manifest_and_alone() {
    for layout in [Layout::Plain, Layout::Job2docker] {
        let options = ConvertOptions::default().with_layout(layout);
        let one = convert(&Cx::default(), job(), "load_0.1.zip", &options).unwrap();
        let spec = MergeSpec::new("orders").with_convert(options);
        let application = merged(vec![JobInput::new("load_0.1.zip", job())], &spec);
        let below = |tree: &Tree, root: &str| {
            let mut tree = tree.clone();
            tree.strip_prefix(&root.parse().unwrap()).unwrap();
            let mut out = Vec::new();
            for (path, entry) in &tree {
                let content = entry
                    .content()
                    .map(|content| content.read(1 << 20).unwrap());
                out.push(format!("{path} {:?} {content:?}", entry.metadata));
            }
            out
        };
        assert_eq!(
            below(&application.tree, "orders"),
            below(&one.tree, "load_0.1")
        );
        assert_eq!(application.plan.image.entrypoint, ["/talend/bin/load"]);
        let options = LayerOptions::default();
        let ours = application.into_layers(&Cx::default(), &options).unwrap();
        let theirs = one.into_layers(&Cx::default(), &options).unwrap();
        let of = |layers: &[talend::layers::ImageLayer], root: &str| {
            let mut tree = layers.last().unwrap().tree.clone();
            tree.strip_prefix(&format!("talend/{root}").parse().unwrap())
                .unwrap();
            listing(&tree)
        };
        assert_eq!(of(&ours.layers, "orders"), of(&theirs.layers, "load_0.1"));
    }
}

#[test]
fn versions_of_a_job_are_separated_when_asked() {
    let second = JobInput::new("load_0.2.zip", named("load", "0.2"));
    let spec = MergeSpec::new("orders").with_versions(Versions::Separate);
    let application = merged(vec![input("load"), second], &spec);
    let job = &application.plan.jobs[1];
    assert_eq!(job.root.to_string(), "orders/jobs/load_0.2");
    assert_eq!(job.entrypoint, "/talend/bin/load_0.2");
    assert_eq!(job.separate.as_deref(), Some("version 0.1 is there, too"));
}

#[test]
fn the_base_is_for_the_newest_job() {
    let studio = |name: &str, version: &str| {
        let mut input = input(name);
        let info = JOB_INFO.replace("=load", &format!("={name}"));
        let info = info.replace("7.0.1.20180411_1414", version);
        insert(&mut input.tree, "jobInfo.properties", info);
        input
    };
    for (versions, base) in [
        (["7.0.1.1", "7.3.1.1"], ":11-jre"),
        (["8.0.1.1", "7.3.1.1"], ":17-jre"),
        (["", "6.5.1"], ":17-jre"),
    ] {
        let inputs = vec![studio("load", versions[0]), studio("export", versions[1])];
        let mut application = merged(inputs, &MergeSpec::new("orders"));
        let found = application.plan.default_base().unwrap().to_string();
        assert!(found.ends_with(base), "{found}");
        assert_eq!(application.drop_residue().len(), 2);
        assert!(
            application
                .tree
                .get(&"orders/load/src".parse().unwrap())
                .is_none()
        );
    }
}

#[test]
fn residue_of_each_job_is_kept_apart() {
    let with_residue = |name: &str| {
        let mut input = input(name);
        for path in ["META-INF/TALEND.SF", "pom.xml", "crcMap"] {
            insert(&mut input.tree, path, format!("{path} of {name}"));
        }
        input
    };
    let inputs = vec![with_residue("load"), with_residue("export")];
    let application = merged(inputs, &MergeSpec::new("orders"));
    assert!(
        application
            .plan
            .jobs
            .iter()
            .all(|job| job.separate.is_none())
    );
    let file = text(&application.tree, "orders/build/export/META-INF/TALEND.SF");
    assert_eq!(file, "META-INF/TALEND.SF of export");
    let layers = application.into_layers(&Cx::default(), &LayerOptions::default());
    let dropped: Vec<_> = layers
        .unwrap()
        .dropped
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        dropped,
        [
            "talend/orders/build/export/META-INF",
            "talend/orders/build/export/pom.xml",
            "talend/orders/build/load/META-INF",
            "talend/orders/build/load/pom.xml",
            "talend/orders/export/src",
            "talend/orders/load/src",
        ]
    );
}

#[test]
fn two_hundred_jobs_fit_into_a_hundred_layers() {
    let inputs: Vec<_> = (0..200)
        .map(|number| input(&format!("job{number}")))
        .collect();
    let application = merged(inputs, &MergeSpec::new("orders"));
    assert_eq!(application.plan.jobs.len(), 200);
    let layers = application
        .into_layers(&Cx::default(), &LayerOptions::default())
        .unwrap();
    assert!(layers.layers.len() <= 100, "{}", layers.layers.len());
}

#[test]
fn each_job_has_its_context_and_entry_point() {
    let inputs = vec![
        input("load").with_context("Production"),
        input("export").with_entrypoint("nightly"),
    ];
    let convert = ConvertOptions::default().with_entrypoint(Entrypoint::Exec);
    let spec = MergeSpec::new("orders")
        .with_default("load")
        .with_convert(convert);
    let application = merged(inputs, &spec);
    let image = &application.plan.image;
    assert_eq!(image.entrypoint[0], "java");
    assert_eq!(image.entrypoint.last().unwrap(), "--context=Production");
    assert_eq!(image.working_dir, "/talend/orders/load");
    assert_eq!(image.labels["talend.entrypoints"], "load,nightly");
    assert_eq!(
        application.plan.warnings,
        ["`/talend/bin` needs a shell: on a base without one only the default is started"],
    );
    let tree = application.into_image_tree().unwrap();
    assert!(text(&tree, "talend/bin/load").contains("--context=Production"));
    assert!(!text(&tree, "talend/bin/nightly").contains("--context="));
}

#[test]
fn every_message() {
    let fails = |inputs: Vec<JobInput>, spec: &MergeSpec| {
        let error = merge(&Cx::default(), inputs, spec).unwrap_err();
        let source = std::error::Error::source(&error);
        let source = source.map(|source| format!("\n  because {source}"));
        format!(
            "{error} ({:?}){}\n",
            error.class(),
            source.unwrap_or_default()
        )
    };
    let orders = MergeSpec::new("orders");
    let separate = MergeSpec::new("orders").with_versions(Versions::Separate);
    let second = || JobInput::new("load_0.2.zip", named("load", "0.2"));
    let mut all = String::new();
    all.push_str(&fails(Vec::new(), &orders));
    all.push_str(&fails(vec![input("load"), second()], &orders));
    all.push_str(&fails(vec![input("load"), input("load")], &separate));
    all.push_str(&fails(
        vec![input("a"), input("b").with_entrypoint("a")],
        &orders,
    ));
    all.push_str(&fails(vec![input("a").with_entrypoint("../a")], &orders));
    all.push_str(&fails(vec![input("a").with_entrypoint("")], &orders));
    all.push_str(&fails(
        vec![input("a")],
        &MergeSpec::new("orders").with_default("b"),
    ));
    all.push_str(&fails(vec![input("a")], &MergeSpec::new("my orders")));
    all.push_str(&fails(vec![input("a").with_context("Prod")], &orders));
    all.push_str(&fails(vec![input("a")], &MergeSpec::new("jars")));
    let mut unsafe_job = input("a");
    insert(
        &mut unsafe_job.tree,
        "a/a_run.sh",
        LAUNCHER.replace("\"$@\"", "&"),
    );
    all.push_str(&fails(vec![unsafe_job], &orders));
    let mut tree = input("a");
    insert(
        &mut tree.tree,
        "jobInfo.properties",
        JOB_INFO.replace("=load", "=other"),
    );
    all.push_str(&fails(vec![tree], &orders));
    insta::assert_snapshot!(all);
}
