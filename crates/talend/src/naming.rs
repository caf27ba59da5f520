//! Names of jobs as names in a registry.

use std::collections::BTreeMap;

use ocicore::{Digest, RepositoryPath, Tag};

use crate::{Error, Result, job::ArchiveName};

/// Longest component that [`image_name`] makes.
const MAX_COMPONENT: usize = 128;

/// The repository name for a job: lower case; what is neither letter nor digit becomes `-`, but
/// `_`, `__` and `.` between letters or digits stay; separators at the ends are cut off; what is
/// longer than 128 characters is cut to 119 and gets `-` and 8 digits of its SHA-256.
///
/// Different names can become one: see [`image_names`].
///
/// ```
/// use talend::naming::image_name;
///
/// assert_eq!(image_name("_Foo__Bar_")?.as_str(), "foo__bar");
/// assert_eq!(image_name("Load___Übung 2")?.as_str(), "load-bung-2");
/// # Ok::<(), talend::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoImageName`] if the name has no ASCII letter or digit.
pub fn image_name(job: &str) -> Result<RepositoryPath> {
    let mut name = String::new();
    let mut separator = String::new();
    for character in job.chars() {
        let lower = character.to_ascii_lowercase();
        if !lower.is_ascii_alphanumeric() {
            separator.push(lower);
            continue;
        }
        if !name.is_empty() {
            name.push_str(match separator.as_str() {
                "" => "",
                "_" => "_",
                "__" => "__",
                "." => ".",
                _ => "-",
            });
        }
        separator.clear();
        name.push(lower);
    }
    if name.is_empty() {
        return Err(Error::NoImageName {
            name: job.to_owned(),
        });
    }
    if name.len() > MAX_COMPONENT {
        let digest = Digest::of(job.as_bytes()).hex();
        name.truncate(MAX_COMPONENT - 9);
        let kept = name.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
        name = format!("{kept}-{}", &digest[..8]);
    }
    Ok(name.parse()?)
}

/// [`image_name`] of several jobs that go to one place.
///
/// # Errors
/// [`Error::NameCollision`] if two become one; [`Error::NoImageName`].
pub fn image_names<'j>(
    jobs: impl IntoIterator<Item = &'j str>,
) -> Result<BTreeMap<&'j str, RepositoryPath>> {
    let mut names = BTreeMap::new();
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for job in jobs {
        let name = image_name(job)?;
        if let Some(first) = owners.insert(name.as_str().to_owned(), job)
            && first != job
        {
            return Err(Error::NameCollision {
                first: first.to_owned(),
                second: job.to_owned(),
                mapped: name.as_str().to_owned(),
            });
        }
        names.insert(job, name);
    }
    Ok(names)
}

/// The job that the file name of its archive names: what comes before the version at its end. The
/// original calls its archives so, `<Job>.tgz`.
///
/// ```
/// use talend::naming::archive_job;
///
/// assert_eq!(archive_job("load_2_10.3.zip"), "load_2");
/// assert_eq!(archive_job("load-0.1.0-20180620.090617-2.zip"), "load");
/// ```
pub fn archive_job(file_name: &str) -> String {
    ArchiveName::parse(file_name).job
}

/// The tag for a job's version; what a tag may not have becomes `-`.
///
/// # Errors
/// If nothing is left.
pub fn image_tag(version: &str) -> Result<Tag> {
    let tag: String = version
        .chars()
        .map(|character| match character {
            '_' | '.' | '-' => character,
            _ if character.is_ascii_alphanumeric() => character,
            _ => '-',
        })
        .take(MAX_COMPONENT)
        .collect();
    Ok(tag.trim_start_matches(['.', '-']).parse()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_mapped_as_documented() {
        for (job, expected) in [
            ("docker_hello_world", "docker_hello_world"),
            ("A___B", "a-b"),
            ("a_-b", "a-b"),
            ("load.2", "load.2"),
            ("-x-", "x"),
        ] {
            assert_eq!(image_name(job).unwrap().as_str(), expected);
        }
        let long = image_name(&"Ab_".repeat(100)).unwrap();
        assert!(long.as_str().len() <= 128 && long.as_str().starts_with("ab_ab_"));
        assert!(image_name("___").is_err());
    }

    #[test]
    fn two_jobs_do_not_get_one_name() {
        let error = image_names(["Load", "other", "load"]).unwrap_err();
        let expected = "jobs `Load` and `load` would both be called `load`";
        assert_eq!(error.to_string(), expected);
        assert_eq!(image_names(["a", "b", "a"]).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn every_name_is_valid(job in "\\PC{0,300}", version in "\\PC{0,200}") {
            let mapped = image_name(&job);
            prop_assert_eq!(mapped.is_ok(), job.contains(|c: char| c.is_ascii_alphanumeric()));
            if let Ok(mapped) = mapped {
                let again = image_name(mapped.as_str()).unwrap();
                prop_assert_eq!(again, mapped);
            }
            let _ = image_tag(&version);
        }
    }
}
