//! Images files of real repositories, with the files that were beside them.

use std::{fs, path::Path};

use chain::{Fault, Project, ProjectOptions, Selection};
use ocicore::{Cx, conformance::peer};
use tempfile::TempDir;

use crate::directory::lines;

/// Where the images file of a listing lies, and what is in the listing.
fn checkout(images: &Path, name: &str, file: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let siblings = fs::read_to_string(images.join(format!("{name}.siblings.txt"))).unwrap();
    for path in siblings.lines() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let template = images.join("../generate/setups.postgresql_52500df.packer_9.6.5.json");
        // The listing has names only; what an image begins with does not matter here.
        match path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            true => fs::copy(template, path).map(drop),
            false => fs::write(path, "FROM corpusops/baseimage:1\n"),
        }
        .unwrap();
    }
    let to = root.path().join(file);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(images.join(format!("{name}.json")), to).unwrap();
    root
}

fn check(images: &Path, name: &str, file: &str) -> String {
    let root = checkout(images, name, file);
    let options = ProjectOptions::of(root.path()).images_file(file);
    let project = Project::read(&Cx::default(), &options).unwrap();
    let listed = project.images().len();
    let text = match chain::plan(&project, &Selection::all()) {
        Ok(plan) => {
            assert_eq!(plan.steps.len(), listed);
            lines(&plan)
        }
        Err(chain::Error::Problems(problems)) => {
            let dangling = problems
                .iter()
                .filter(|problem| matches!(problem.what, Fault::Dangling { .. }));
            assert_eq!(dangling.count(), problems.iter().count(), "{problems}");
            format!("{problems}\n")
        }
        Err(error) => panic!("{name}: {error}"),
    };
    format!("== {name}, {listed} images\n{text}")
}

#[test]
fn real_images_files_are_planned_and_each_dangling_file_is_named() {
    let Some(data) = peer::real_data() else {
        return;
    };
    let images = data.join("chain/images");
    let mut text = String::new();
    for (name, file) in [
        ("bootstrap_2.0-IMAGES", "docker/2.0-IMAGES.json"),
        ("docker-coturn_IMAGES", ".archive/.docker/IMAGES.json"),
        ("docker-matrix_IMAGES", ".archive/.docker/IMAGES.json"),
        (
            "hist_docker-coturn_2018-01-15_47e40e2",
            ".docker/IMAGES.json",
        ),
        (
            "hist_setups.mysql_2018-03-08_9d77c63",
            ".docker/IMAGES.json",
        ),
        ("setups.dbsmartbackup_IMAGES", ".docker/IMAGES.json"),
        ("setups.mysql_IMAGES", ".docker/IMAGES.json"),
    ] {
        text.push_str(&check(&images, name, file));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_real_template_tells_its_image_and_its_base() {
    let Some(data) = peer::real_data() else {
        return;
    };
    let path = data.join("chain/generate/setups.postgresql_52500df.packer_9.6.5.json");
    let text = fs::read_to_string(&path).unwrap();
    let template = chain::packer::parse(&path, &text, &[].into()).unwrap();
    assert_eq!(
        template.bases[0].image.to_string(),
        "docker.io/corpusops/ubuntu:16.04"
    );
    assert_eq!(template.bases[0].position.to_string(), "27:18");
    assert_eq!(
        template.tags[0].to_string(),
        "docker.io/corpusops/postgresql:9.6.5"
    );
}
