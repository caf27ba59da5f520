//! The project file that tells Maven what an archive is (maven.apache.org/pom.html).

use super::{
    layout::Artifact,
    metadata::{document, element, text},
};

/// A pom without dependencies.
pub(super) fn pom(artifact: &Artifact<'_>, description: Option<&str>) -> Vec<u8> {
    const NAMESPACE: &[(&str, &str)] = &[
        ("xmlns", "http://maven.apache.org/POM/4.0.0"),
        ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
        (
            "xsi:schemaLocation",
            "http://maven.apache.org/POM/4.0.0 http://maven.apache.org/xsd/maven-4.0.0.xsd",
        ),
    ];
    let coordinates = artifact.coordinates;
    document(|xml| {
        element(xml, "project", NAMESPACE, |xml| {
            text(xml, "modelVersion", "4.0.0")?;
            text(xml, "groupId", &coordinates.group)?;
            text(xml, "artifactId", &coordinates.artifact)?;
            text(xml, "version", &coordinates.version)?;
            text(xml, "packaging", artifact.extension)?;
            match description {
                Some(description) => text(xml, "description", description),
                None => Ok(()),
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pom_says_what_an_archive_is() {
        let coordinates = "org.example:orders:1.2".parse().unwrap();
        let artifact = Artifact {
            coordinates: &coordinates,
            extension: "tgz",
        };
        let text = pom(&artifact, Some("Talend jobs: load 0.1 & <more>"));
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
