//! Where files lie in a Maven repository (maven.apache.org/repositories/layout.html). Pure.

use crate::manifest::Coordinates;

/// An artifact and the ending of its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Artifact<'a> {
    pub(super) coordinates: &'a Coordinates,
    /// `zip` for built jobs, `tgz` for what we publish.
    pub(super) extension: &'a str,
}

impl<'a> Artifact<'a> {
    /// A built job.
    pub(super) fn job(coordinates: &'a Coordinates) -> Self {
        Self {
            coordinates,
            extension: "zip",
        }
    }

    /// `org/example/load`: where the list of versions is.
    pub(super) fn directory(&self) -> String {
        let Coordinates {
            group, artifact, ..
        } = self.coordinates;
        format!("{}/{artifact}", group_path(group))
    }

    /// `org/example/load/0.1.0-SNAPSHOT`: all builds of a snapshot have one.
    pub(super) fn version_directory(&self) -> String {
        let version = base_version(&self.coordinates.version);
        format!("{}/{version}", self.directory())
    }

    /// The name of a file: `load-0.1.0-dist.zip`. `version` is that of one build of a snapshot.
    pub(super) fn file_name(&self, version: &str) -> String {
        let Coordinates {
            artifact,
            classifier,
            ..
        } = self.coordinates;
        let extension = self.extension;
        match classifier {
            Some(classifier) => format!("{artifact}-{version}-{classifier}.{extension}"),
            None => format!("{artifact}-{version}.{extension}"),
        }
    }

    /// Whether only the repository knows what the newest build is.
    pub(super) fn is_snapshot(&self) -> bool {
        is_snapshot(&self.coordinates.version)
    }
}

/// `org/example`, also of a group that is written so already, as the original's are.
pub(super) fn group_path(group: &str) -> String {
    group.replace('.', "/")
}

/// `0.1.0-SNAPSHOT`, and `SNAPSHOT` alone.
pub(super) fn is_snapshot(version: &str) -> bool {
    version == "SNAPSHOT" || version.ends_with("-SNAPSHOT")
}

/// `0.1.0-20180620.090617-2` is one build of `0.1.0-SNAPSHOT`, and lies with it.
pub(super) fn base_version(version: &str) -> String {
    one_build(version).map_or_else(|| version.to_owned(), |base| format!("{base}-SNAPSHOT"))
}

/// The part of a version before `-YYYYMMDD.HHMMSS-N`.
fn one_build(version: &str) -> Option<&str> {
    let (rest, number) = version.rsplit_once('-')?;
    let (base, time) = rest.rsplit_once('-')?;
    let (date, clock) = time.split_once('.')?;
    let digits = |text: &str, count: Option<usize>| {
        !text.is_empty()
            && count.is_none_or(|count| text.len() == count)
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    (digits(number, None) && digits(date, Some(8)) && digits(clock, Some(6))).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_maven() {
        let mut shown = String::new();
        for (text, build) in [
            ("org.example:load:0.1.0", "0.1.0"),
            ("org.example:load:0.1.0:dist", "0.1.0"),
            ("org.example:load:0.1.0-SNAPSHOT", "0.1.0-20180620.090617-2"),
            (
                "org.example:load:0.1.0-20180620.090617-2",
                "0.1.0-20180620.090617-2",
            ),
            ("a:b:1-2018.1-2", "1-2018.1-2"),
        ] {
            let coordinates = text.parse().unwrap();
            let artifact = Artifact::job(&coordinates);
            shown += &format!(
                "{text} -> {}/{}\n",
                artifact.version_directory(),
                artifact.file_name(build)
            );
        }
        insta::assert_snapshot!(shown);
    }
}
