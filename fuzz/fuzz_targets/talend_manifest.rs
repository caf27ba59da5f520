#![no_main]

use talend::{
    Error,
    manifest::{Manifest, Source},
};

// Whatever a manifest says, in both forms: jobs, or all that is wrong with places in it.
libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    for name in ["jobs.txt", "jobs.toml"] {
        match Manifest::parse(name, text) {
            Ok(manifest) => {
                assert!(!manifest.jobs.is_empty());
                for job in &manifest.jobs {
                    assert!(job.position.line <= lines);
                    let Source::Coordinates(coordinates) = &job.source else {
                        continue;
                    };
                    assert_eq!(coordinates.to_string().parse().as_ref(), Ok(coordinates));
                }
            }
            Err(Error::Manifest { faults, .. }) => {
                assert!(!faults.is_empty());
                assert!(faults.iter().all(|fault| fault.position.line <= lines));
                assert!(faults.is_sorted_by_key(|fault| fault.position));
            }
            Err(other) => panic!("{other}"),
        }
    }
});
