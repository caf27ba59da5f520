/// What the file name of a built job says: `<Job>_<x.y>.zip` from the Studio,
/// `<Job>-<x.y.z>[-<timestamp>-<n>].zip` from a Maven repository.
///
/// Only a version at the very end counts, so that jobs may be called `load_2` or `a_1.2_b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveName {
    pub(crate) job: String,
    pub(crate) version: Option<String>,
}

impl ArchiveName {
    /// Parses a file name, or a path of which the last component is one.
    pub(crate) fn parse(path: &str) -> Self {
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = [".zip", ".tar.gz", ".tgz", ".tar"]
            .iter()
            .find_map(|suffix| file.strip_suffix(suffix))
            .unwrap_or(file);
        if let Some((job, version)) = stem.rsplit_once('_')
            && !job.is_empty()
            && is_version(version, 2)
        {
            return Self::new(job, Some(version));
        }
        // `-SNAPSHOT`, or the timestamp and build number that stand for it.
        let release = stem.strip_suffix("-SNAPSHOT").or_else(|| {
            let (rest, build) = stem.rsplit_once('-')?;
            let (rest, timestamp) = rest.rsplit_once('-')?;
            let (day, time) = timestamp.split_once('.')?;
            let all_digits = [build, day, time].iter().all(|part| is_number(part));
            (all_digits && day.len() == 8 && time.len() == 6).then_some(rest)
        });
        let stem = release.unwrap_or(stem);
        match stem.rsplit_once('-') {
            Some((job, version)) if !job.is_empty() && is_version(version, 3) => {
                Self::new(job, Some(version))
            }
            _ => Self::new(stem, None),
        }
    }

    fn new(job: &str, version: Option<&str>) -> Self {
        Self {
            job: job.to_owned(),
            version: version.map(str::to_owned),
        }
    }
}

fn is_version(text: &str, numbers: usize) -> bool {
    text.split('.').count() == numbers && text.split('.').all(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_at_the_end_counts() {
        for (path, job, version) in [
            (
                "docker_hello_world_0.1.zip",
                "docker_hello_world",
                Some("0.1"),
            ),
            ("/tmp/a_1.2/load_2_10.3.zip", "load_2", Some("10.3")),
            ("C:\\jobs\\load_0.1.zip", "load", Some("0.1")),
            ("load-0.1.0.zip", "load", Some("0.1.0")),
            ("load-0.1.0-20180620.090617-2.zip", "load", Some("0.1.0")),
            ("load-0.1.0-SNAPSHOT.tar.gz", "load", Some("0.1.0")),
            ("load-0.1.0-2-3.zip", "load-0.1.0-2-3", None),
            ("Foo_1.2x.zip", "Foo_1.2x", None),
            ("a_1.2_b.zip", "a_1.2_b", None),
            ("_0.1.zip", "_0.1", None),
            ("load_2.zip", "load_2", None),
            ("", "", None),
        ] {
            assert_eq!(
                ArchiveName::parse(path),
                ArchiveName::new(job, version),
                "{path}"
            );
        }
    }
}
