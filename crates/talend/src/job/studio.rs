use std::{fmt, str::FromStr};

use ocicore::Reference;

/// Version of the Studio that built a job, from `cmdLineVersion` of its jobInfo.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StudioVersion {
    major: u32,
    minor: u32,
    patch: u32,
    /// As it was given: `7.0.1.20180411_1414`.
    text: String,
}

impl StudioVersion {
    /// 7 of `7.0.1`.
    pub fn major(&self) -> u32 {
        self.major
    }
}

impl FromStr for StudioVersion {
    type Err = ocicore::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected MAJOR.MINOR.PATCH, with or without a build after it";
        let error = || ocicore::Error::parse("Studio version", text, EXPECTED);
        let mut numbers = text.split(['.', '-']).map(str::parse);
        let mut number = || numbers.next().and_then(Result::ok).ok_or_else(error);
        Ok(Self {
            major: number()?,
            minor: number()?,
            patch: number()?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for StudioVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for StudioVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The base image for jobs of a Studio: Java 8 up to Talend 6, Java 11 for 7, Java 17 for 8 and
/// later, and where the version is not known, for it runs the class files of all.
///
/// ```
/// use talend::{StudioVersion, default_base};
///
/// let studio: StudioVersion = "7.0.1.20180411_1414".parse()?;
/// let base = default_base(Some(&studio))?;
/// assert_eq!(base.to_string(), "docker.io/library/eclipse-temurin:11-jre");
/// # Ok::<(), ocicore::Error>(())
/// ```
///
/// # Errors
/// None in practice: the names are constants.
pub fn default_base(studio: Option<&StudioVersion>) -> ocicore::Result<Reference> {
    let java = match studio.map(StudioVersion::major) {
        Some(0..=6) => "8",
        Some(7) => "11",
        _ => "17",
    };
    format!("docker.io/library/eclipse-temurin:{java}-jre").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_keep_their_text() {
        for (text, major) in [
            ("7.0.1.20180411_1414", 7),
            ("8.0.1.20211109_1610-patch", 8),
            ("6.5.1", 6),
        ] {
            let version: StudioVersion = text.parse().unwrap();
            assert_eq!(
                (version.major(), version.to_string()),
                (major, text.to_owned())
            );
        }
        for text in ["", "7", "7.0", "a.b.c", "7..1"] {
            assert!(text.parse::<StudioVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_base_fits_the_studio() {
        for (studio, tag) in [("6.5.1", "8-jre"), ("7.3.1", "11-jre"), ("8.0.1", "17-jre")] {
            let base = default_base(Some(&studio.parse().unwrap())).unwrap();
            assert_eq!(base.tag().unwrap().as_str(), tag);
        }
        assert!(default_base(None).unwrap().to_string().ends_with(":17-jre"));
    }
}
