//! Entry points for the fuzz targets: each takes what a repository may send, and must return.

use super::{
    layout::Artifact,
    metadata::{Metadata, Moment},
};
use crate::manifest::Coordinates;

/// `maven-metadata.xml`: what is read stays when a version and a build are added, and is read back.
///
/// # Panics
/// If that does not hold.
pub fn metadata(bytes: &[u8]) {
    let Ok(metadata) = Metadata::parse(bytes) else {
        return;
    };
    for version in ["0.1.0", "0.1.0-SNAPSHOT"] {
        let coordinates = Coordinates {
            group: "org.example".to_owned(),
            artifact: "load".to_owned(),
            version: version.to_owned(),
            classifier: None,
        };
        let artifact = Artifact::job(&coordinates);
        let _ = metadata.newest_build(&artifact);
        let moment = Moment {
            timestamp: "20260102.030405".to_owned(),
            updated: "20260102030405".to_owned(),
        };
        let more = match artifact.is_snapshot() {
            true => {
                let build = format!("0.1.0-20260102.030405-{}", metadata.next_build());
                let more = metadata.clone();
                more.with_build(&artifact, &["zip", "pom"], &build, &moment)
            }
            false => metadata.clone().with_version(&artifact, &moment),
        };
        assert_eq!(Metadata::parse(&more.to_xml()).as_ref(), Ok(&more));
    }
    for word in ["RELEASE", "LATEST"] {
        let _ = metadata.newest_version(word);
    }
}
