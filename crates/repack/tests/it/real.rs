//! Jobs that Talend Studio built, by way of `REAL_DATA`.

use std::{collections::BTreeMap, env, fs, io::Read, path::PathBuf};

use ocicore::{SizeLimits, conformance::peer::peer};
use repack::{Cx, layer::Options};
use tar::EntryType;

use crate::support::{entries, gunzip, gzip, write};

/// The jobs; none where there is no real data, which is recorded.
fn jobs() -> Vec<PathBuf> {
    let folder = env::var("REAL_DATA").ok().or_else(|| peer("REAL_DATA"));
    let Some(folder) = folder else {
        return Vec::new();
    };
    // Tests run in the folder of their crate, the variable is relative to the workspace.
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let jobs = workspace.join(folder).join("talend");
    let mut found: Vec<_> = fs::read_dir(jobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "zip"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn real_jobs_arrive_whole_and_twice_the_same() {
    for job in jobs() {
        let open = || repack::zip::open(&Cx::default(), &job, &SizeLimits::default()).unwrap();
        let layer = gzip(&open());
        assert!(layer == write(&open(), &Options::default()).unwrap().0);
        let mut zip = zip::ZipArchive::new(fs::File::open(&job).unwrap()).unwrap();
        let mut expected = BTreeMap::new();
        for at in 0..zip.len() {
            let mut file = zip.by_index(at).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            if file.is_file() {
                let mode = file.unix_mode().unwrap() & 0o777;
                expected.insert(file.name().unwrap().into_owned(), (mode, content));
            }
        }
        let seen: BTreeMap<_, _> = entries(&gunzip(&layer))
            .into_iter()
            .filter(|entry| entry.kind == EntryType::Regular)
            .map(|entry| (entry.name, (entry.mode, entry.content)))
            .collect();
        assert!(seen == expected, "{}", job.display());
    }
}
