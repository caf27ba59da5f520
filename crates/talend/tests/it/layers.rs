//! Images as layers.

use std::collections::BTreeMap;

use ocicore::Cx;
use repack::{Kind, Tree};
use talend::{
    ConvertOptions, convert,
    layers::{LayerOptions, Layers, Residue},
};

use crate::fixture::{JOB_INFO, insert, job};

fn layers(tree: Tree, options: &LayerOptions) -> Layers {
    let converted = convert(
        &Cx::default(),
        tree,
        "load_0.1.zip",
        &ConvertOptions::default(),
    );
    converted
        .unwrap()
        .into_layers(&Cx::default(), options)
        .unwrap()
}

/// A job with large and small libraries, and all kinds of residue.
fn full_job() -> Tree {
    let mut tree = job();
    insert(&mut tree, "lib/spark.jar", vec![1; 600 << 10]);
    insert(&mut tree, "lib/hadoop.jar", vec![2; 600 << 10]);
    for path in [
        "META-INF/MANIFEST.MF",
        "crcMap",
        "pom.xml",
        "code/routines/pom.xml",
        "load/items/demo/talend.project",
        "load/src/main/java/load.java",
        "load/xmlMappings/mapping.xml",
    ] {
        insert(&mut tree, path, path.to_owned());
    }
    tree
}

fn shown(layers: &Layers) -> String {
    let mut out = String::new();
    for layer in &layers.layers {
        out.push_str(&format!("layer: {}\n", layer.name));
        for (path, entry) in &layer.tree {
            let what = match &entry.kind {
                Kind::Dir => continue,
                Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                _ => format!("{:o}", entry.metadata.mode),
            };
            out.push_str(&format!("  {path} {what}\n"));
        }
    }
    for path in &layers.dropped {
        out.push_str(&format!("dropped: {path}\n"));
    }
    out
}

/// Layer digests by name.
fn digests(layers: &Layers) -> BTreeMap<String, String> {
    let options = repack::layer::Options::default();
    let digest = |tree| {
        let written = repack::layer::write(&Cx::default(), tree, &options, &mut std::io::sink());
        written.unwrap().descriptor().digest().to_string()
    };
    let named = layers.layers.iter();
    named
        .map(|layer| (layer.name.clone(), digest(&layer.tree)))
        .collect()
}

#[test]
fn libraries_are_apart_from_the_job_and_residue_is_dropped() {
    insta::assert_snapshot!(shown(&layers(full_job(), &LayerOptions::default())));
    let keep = LayerOptions::default().with_residue(Residue::Keep);
    let kept = layers(full_job(), &keep);
    assert_eq!(kept.dropped, []);
    let last = &kept.layers.last().unwrap().tree;
    assert!(
        last.get(
            &"talend/load_0.1/load/items/demo/talend.project"
                .parse()
                .unwrap()
        )
        .is_some()
    );
}

#[test]
fn a_change_of_the_job_moves_only_its_layer() {
    let before = digests(&layers(full_job(), &LayerOptions::default()));
    let mut changed = full_job();
    insert(&mut changed, "load/load_0_1.jar", "another");
    // Another version is in another directory; its libraries are not.
    let info = JOB_INFO.replace("jobVersion=0.1", "jobVersion=0.2");
    insert(&mut changed, "jobInfo.properties", info);
    let after = digests(&layers(changed, &LayerOptions::default()));
    assert_eq!(before.len(), 4);
    for (name, digest) in before {
        assert_eq!(after[&name] == digest, name != "load", "{name}");
    }
}

#[test]
fn there_are_never_more_layers_than_asked_for() {
    let mut tree = job();
    for number in 0..40 {
        insert(
            &mut tree,
            &format!("lib/l{number}.jar"),
            vec![number; 4 << 10],
        );
    }
    for max_layers in [0, 4, 5, 10, 44, 100] {
        let options = LayerOptions::default()
            .with_max_layers(max_layers)
            .with_large(1 << 10);
        let layers = layers(tree.clone(), &options);
        assert!(layers.layers.len() <= max_layers.max(4), "{max_layers}");
        let files = layers.layers.iter().flat_map(|layer| &layer.tree);
        let jars = files.filter(|(path, entry)| {
            entry.kind.is_file() && path.to_str().unwrap().starts_with("talend/jars/")
        });
        assert_eq!(jars.count(), 41, "{max_layers}");
    }
}

#[test]
fn a_project_called_like_residue_keeps_its_contexts() {
    let mut tree = job();
    insert(
        &mut tree,
        "load/src/load_0_1/contexts/Default.properties",
        "a=1",
    );
    let layers = layers(tree, &LayerOptions::default());
    assert_eq!(layers.dropped, []);
}
