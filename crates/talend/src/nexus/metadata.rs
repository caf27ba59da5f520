//! `maven-metadata.xml` (maven.apache.org/ref/3.8.7/maven-repository-metadata), read and written.

use std::io;

use quick_xml::{
    Writer, de,
    events::{BytesDecl, BytesText, Event},
};
use serde::Deserialize;

use super::layout::Artifact;

/// What a repository says about an artifact, or about a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    group_id: Option<String>,
    artifact_id: Option<String>,
    version: Option<String>,
    versioning: Versioning,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Versioning {
    latest: Option<String>,
    release: Option<String>,
    snapshot: Option<Snapshot>,
    versions: Versions,
    last_updated: Option<String>,
    snapshot_versions: SnapshotVersions,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Snapshot {
    timestamp: Option<String>,
    build_number: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Versions {
    version: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SnapshotVersions {
    snapshot_version: Vec<SnapshotVersion>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SnapshotVersion {
    classifier: Option<String>,
    extension: String,
    value: String,
    updated: Option<String>,
}

/// A moment of publication, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// `20260102.030405`
    pub(super) timestamp: String,
    /// `20260102030405`
    pub(super) updated: String,
}

impl Metadata {
    /// Reads a file; what is unknown is passed over.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        let text = text.trim_start_matches('\u{feff}');
        let start = text.trim_start();
        if !start.starts_with('<') || start.to_ascii_lowercase().starts_with("<!doctype html") {
            return Err("it is no XML".to_owned());
        }
        de::from_str(text).map_err(|error| format!("it cannot be parsed: {error}"))
    }

    /// The version of the newest build of a snapshot; none if builds have no times there, so that
    /// the file is called `-SNAPSHOT`.
    pub(super) fn newest_build(&self, artifact: &Artifact<'_>) -> Option<String> {
        let coordinates = artifact.coordinates;
        let classifier = coordinates.classifier.as_deref().unwrap_or_default();
        let listed = &self.versioning.snapshot_versions.snapshot_version;
        let same = listed.iter().filter(|one| {
            one.extension == artifact.extension
                && one.classifier.as_deref().unwrap_or_default() == classifier
        });
        // Times sort as texts.
        if let Some(newest) = same.max_by(|a, b| a.updated.cmp(&b.updated)) {
            return Some(newest.value.clone());
        }
        let snapshot = self.versioning.snapshot.as_ref()?;
        let (timestamp, number) = (snapshot.timestamp.as_ref()?, snapshot.build_number?);
        let base = coordinates.version.strip_suffix("SNAPSHOT")?;
        Some(format!("{base}{timestamp}-{number}"))
    }

    /// What `RELEASE` or `LATEST` means.
    pub(super) fn newest_version(&self, word: &str) -> Option<&str> {
        let Versioning {
            latest,
            release,
            versions,
            ..
        } = &self.versioning;
        let releases = || {
            let mut all = versions.version.iter().rev();
            all.find(|version| !super::layout::is_snapshot(version))
        };
        let found = match word {
            "RELEASE" => release.as_ref().or_else(releases),
            _ => latest.as_ref().or(versions.version.last()),
        };
        found.map(String::as_str)
    }

    /// The number of the next build of a snapshot.
    pub(super) fn next_build(&self) -> u64 {
        let snapshot = self.versioning.snapshot.as_ref();
        let number = snapshot.and_then(|snapshot| snapshot.build_number);
        number.unwrap_or(0).saturating_add(1)
    }

    /// That of an artifact with one more version.
    pub(super) fn with_version(mut self, artifact: &Artifact<'_>, moment: &Moment) -> Self {
        let coordinates = artifact.coordinates;
        self.group_id = Some(coordinates.group.clone());
        self.artifact_id = Some(coordinates.artifact.clone());
        let versioning = &mut self.versioning;
        let versions = &mut versioning.versions.version;
        if !versions.contains(&coordinates.version) {
            versions.push(coordinates.version.clone());
        }
        if !artifact.is_snapshot() {
            versioning.release = Some(coordinates.version.clone());
        }
        versioning.last_updated = Some(moment.updated.clone());
        self
    }

    /// That of a snapshot with one more build of these endings. Builds of other files stay.
    pub(super) fn with_build(
        mut self,
        artifact: &Artifact<'_>,
        extensions: &[&str],
        build: &str,
        moment: &Moment,
    ) -> Self {
        let coordinates = artifact.coordinates;
        let number = self.next_build();
        self.group_id = Some(coordinates.group.clone());
        self.artifact_id = Some(coordinates.artifact.clone());
        self.version = Some(coordinates.version.clone());
        let versioning = &mut self.versioning;
        versioning.last_updated = Some(moment.updated.clone());
        versioning.snapshot = Some(Snapshot {
            timestamp: Some(moment.timestamp.clone()),
            build_number: Some(number),
        });
        let listed = &mut versioning.snapshot_versions.snapshot_version;
        for extension in extensions {
            // A pom has no classifier.
            let classifier = match *extension == artifact.extension {
                true => coordinates.classifier.clone(),
                false => None,
            };
            listed.retain(|one| one.extension != *extension || one.classifier != classifier);
            listed.push(SnapshotVersion {
                classifier,
                extension: (*extension).to_owned(),
                value: build.to_owned(),
                updated: Some(moment.updated.clone()),
            });
        }
        self
    }

    /// The file.
    pub(super) fn to_xml(&self) -> Vec<u8> {
        document(|xml| self.write(xml))
    }

    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        let versioning = &self.versioning;
        element(xml, "metadata", &[("modelVersion", "1.1.0")], |xml| {
            optional(xml, "groupId", self.group_id.as_deref())?;
            optional(xml, "artifactId", self.artifact_id.as_deref())?;
            optional(xml, "version", self.version.as_deref())?;
            element(xml, "versioning", &[], |xml| {
                optional(xml, "latest", versioning.latest.as_deref())?;
                optional(xml, "release", versioning.release.as_deref())?;
                if let Some(snapshot) = &versioning.snapshot {
                    element(xml, "snapshot", &[], |xml| {
                        optional(xml, "timestamp", snapshot.timestamp.as_deref())?;
                        let number = snapshot.build_number.map(|number| number.to_string());
                        optional(xml, "buildNumber", number.as_deref())
                    })?;
                }
                if !versioning.versions.version.is_empty() {
                    element(xml, "versions", &[], |xml| {
                        let mut versions = versioning.versions.version.iter();
                        versions.try_for_each(|version| text(xml, "version", version))
                    })?;
                }
                optional(xml, "lastUpdated", versioning.last_updated.as_deref())?;
                let builds = &versioning.snapshot_versions.snapshot_version;
                if builds.is_empty() {
                    return Ok(());
                }
                element(xml, "snapshotVersions", &[], |xml| {
                    builds.iter().try_for_each(|build| build.write(xml))
                })
            })
        })
    }
}

impl SnapshotVersion {
    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        element(xml, "snapshotVersion", &[], |xml| {
            optional(xml, "classifier", self.classifier.as_deref())?;
            text(xml, "extension", &self.extension)?;
            text(xml, "value", &self.value)?;
            optional(xml, "updated", self.updated.as_deref())
        })
    }
}

pub(super) type Xml = Writer<Vec<u8>>;

/// A document with its declaration.
pub(super) fn document(root: impl FnOnce(&mut Xml) -> io::Result<()>) -> Vec<u8> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = xml
        .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| root(&mut xml));
    debug_assert!(written.is_ok(), "memory takes all that is written");
    let mut bytes = xml.into_inner();
    bytes.push(b'\n');
    bytes
}

/// An element with elements in it.
pub(super) fn element(
    xml: &mut Xml,
    name: &str,
    attributes: &[(&str, &str)],
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    xml.create_element(name)
        .with_attributes(attributes.iter().copied())
        .write_inner_content(inner)?;
    Ok(())
}

/// An element with text in it.
pub(super) fn text(xml: &mut Xml, name: &str, value: &str) -> io::Result<()> {
    xml.create_element(name)
        .write_text_content(BytesText::new(value))?;
    Ok(())
}

fn optional(xml: &mut Xml, name: &str, value: Option<&str>) -> io::Result<()> {
    value.map_or(Ok(()), |value| text(xml, name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(second: &str) -> Moment {
        Moment {
            timestamp: format!("20260102.0304{second}"),
            updated: format!("202601020304{second}"),
        }
    }

    #[test]
    fn the_newest_build_is_found() {
        let of = |text: &str, coordinates: &str| {
            let coordinates = coordinates.parse().unwrap();
            let metadata = Metadata::parse(text.as_bytes()).unwrap();
            metadata.newest_build(&Artifact::job(&coordinates))
        };
        // As Nexus 2 and Maven 2 have it.
        let old = "<?xml version='1.0'?>\n<!-- x --><metadata><versioning><snapshot>\
                   <timestamp>20180620.090617</timestamp><buildNumber>2</buildNumber></snapshot>\
                   </versioning></metadata>";
        let job = "org.example:load:0.1.0-SNAPSHOT";
        assert_eq!(of(old, job).unwrap(), "0.1.0-20180620.090617-2");
        // Files of one snapshot can be of different builds.
        let new = "<metadata modelVersion='1.1.0'><versioning><snapshot>\
            <timestamp>20180620.090617</timestamp><buildNumber>2</buildNumber></snapshot>\
            <snapshotVersions>\
            <snapshotVersion><extension>pom</extension><value>0.1.0-2</value></snapshotVersion>\
            <snapshotVersion><extension>zip</extension><value>0.1.0-1</value>\
            <updated>20180620090616</updated></snapshotVersion>\
            <snapshotVersion><classifier>dist</classifier><extension>zip</extension>\
            <value>0.1.0-3</value></snapshotVersion>\
            </snapshotVersions></versioning><plugins><plugin/></plugins></metadata>";
        assert_eq!(of(new, job).unwrap(), "0.1.0-1");
        assert_eq!(of(new, &format!("{job}:dist")).unwrap(), "0.1.0-3");
        assert_eq!(of("<metadata/>", job), None);
    }

    #[test]
    fn words_for_versions_are_understood() {
        let of = |text: &str| {
            let metadata = Metadata::parse(text.as_bytes()).unwrap();
            ["RELEASE", "LATEST"].map(|word| metadata.newest_version(word).map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        let versions = "<versions><version>1</version><version>2</version>\
                        <version>3-SNAPSHOT</version></versions>";
        let listed = format!("<metadata><versioning>{versions}</versioning></metadata>");
        assert_eq!(of(&listed), [some("2"), some("3-SNAPSHOT")]);
        let said =
            "<metadata><versioning><latest>5</latest><release>4</release></versioning></metadata>";
        assert_eq!(of(said), [some("4"), some("5")]);
        assert_eq!(of("<metadata/>"), [None, None]);
    }

    #[test]
    fn metadata_is_written_as_maven_does() {
        let coordinates = "org.example:load:0.1.0-SNAPSHOT:dist".parse().unwrap();
        let artifact = Artifact {
            coordinates: &coordinates,
            extension: "tgz",
        };
        let mut metadata = Metadata::default();
        for (second, build) in [
            ("05", "0.1.0-20260102.030405-1"),
            ("06", "0.1.0-20260102.030406-2"),
        ] {
            let extensions = ["tgz", "pom"];
            metadata = metadata.with_build(&artifact, &extensions, build, &moment(second));
        }
        let text = metadata.to_xml();
        assert_eq!(Metadata::parse(&text).unwrap(), metadata);
        let old = "<metadata><versioning><versions><version>0.0.9</version></versions></versioning></metadata>";
        let versions = Metadata::parse(old.as_bytes()).unwrap();
        let release = "org.example:load:0.1.0".parse().unwrap();
        let release = Artifact::job(&release);
        let versions = versions
            .with_version(&release, &moment("07"))
            .with_version(&release, &moment("08"));
        let text = String::from_utf8([text, versions.to_xml()].concat()).unwrap();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        let shown = [
            &b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"[..],
            b"",
            b"\xff",
            b"<metadata><versioning>",
            b"<metadata><versioning><snapshot><buildNumber>x</buildNumber></snapshot></versioning></metadata>",
            b"<!DOCTYPE m [<!ENTITY a 'b'>]><metadata><groupId>&a;</groupId></metadata>",
        ]
        .map(|text| Metadata::parse(text).unwrap_err());
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn deep_documents_do_no_harm() {
        let text = format!("<metadata>{}", "<a>".repeat(200_000));
        assert!(Metadata::parse(text.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|(<metadata>|<versioning>|<versions>|</|<!--|&amp;|&x;|a|>){0,20}") {
            let _ = Metadata::parse(text.as_bytes());
        }
    }
}
