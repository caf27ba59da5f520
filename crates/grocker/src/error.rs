use ocicore::Class;

/// What can go wrong while an application becomes an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no release.
    #[error("`{input}` is no release: {expected}")]
    Release {
        /// The text.
        input: String,
        /// What a release looks like, and what is wrong with this one.
        expected: String,
    },
    /// A configuration file cannot be read.
    #[error("cannot read `{file}`")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A configuration file is not what it should be.
    #[error("`{file}` is no configuration{}", at(.place))]
    Config {
        /// The file.
        file: String,
        /// Line and column, from 1, where they are known.
        place: Option<(u64, u64)>,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such runtime.
    #[error("there is no runtime `{name}`, only {known}")]
    Runtime {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A value cannot be written into a Dockerfile or a name.
    #[error("{what} `{value}` is refused: {expected}")]
    Value {
        /// What it is, for example `port`.
        what: &'static str,
        /// The value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The compiler ended with an error; the last lines of its output are in the source.
    #[error("cannot compile `{release}`")]
    Compile {
        /// The release.
        release: String,
        /// The compiler's end.
        source: Box<engine::Error>,
    },
    /// The compiler made no wheels.
    #[error("compiling `{release}` gave no wheels")]
    NoWheels {
        /// The release.
        release: String,
    },
    /// The engine could not do its part.
    #[error("cannot {action} `{subject}`")]
    Engine {
        /// `build`, `find`, `pull` and so on.
        action: &'static str,
        /// An image or container.
        subject: String,
        /// The engine's own error.
        source: Box<engine::Error>,
    },
    /// The build context or the wheels could not be packed.
    #[error("cannot pack {what}")]
    Pack {
        /// What.
        what: &'static str,
        /// Why.
        source: repack::Error,
    },
    /// A name or stream of another crate.
    #[error(transparent)]
    Core(#[from] ocicore::Error),
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Self::Release { .. } | Self::Config { .. } | Self::Value { .. } => Class::Invalid,
            Self::Runtime { .. } => Class::NotFound,
            Self::Read { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Class::NotFound,
                std::io::ErrorKind::PermissionDenied => Class::Denied,
                _ => Class::Other,
            },
            Self::Compile { source, .. } => match source.class() {
                Class::Other => Class::Invalid,
                class => class,
            },
            Self::NoWheels { .. } => Class::Invalid,
            Self::Engine { source, .. } => source.class(),
            Self::Pack { source, .. } => source.class(),
            Self::Core(error) => error.class(),
        }
    }

    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Release { .. } => {
                Some("for example `httpie[socks]==3.2.4` or `./dist/x-1.0-py3-none-any.whl`")
            }
            Self::Compile { .. } => Some(
                "the compiler's last lines are above; system packages that it needs go into \
                 `dependencies: {build: […]}`",
            ),
            _ => None,
        }
    }

    pub(crate) fn engine(
        action: &'static str,
        subject: impl ToString,
    ) -> impl FnOnce(engine::Error) -> Self {
        move |source| Self::Engine {
            action,
            subject: subject.to_string(),
            source: source.into(),
        }
    }
}

impl From<ocicore::Cancelled> for Error {
    fn from(cancelled: ocicore::Cancelled) -> Self {
        Self::Core(cancelled.into())
    }
}

fn at(place: &Option<(u64, u64)>) -> String {
    place.map_or_else(String::new, |(line, column)| {
        format!(", at {line}:{column}")
    })
}

#[cfg(test)]
mod tests {
    use ocicore::conformance::errors;

    use super::*;

    #[test]
    fn each_error_says_what_is_wrong_and_what_to_do() {
        let text = |text: &str| text.to_owned();
        let all = [
            Error::Release {
                input: text("app"),
                expected: text("NAME==VERSION"),
            },
            Error::Read {
                file: text(".grocker.yml"),
                source: std::io::ErrorKind::PermissionDenied.into(),
            },
            Error::Config {
                file: text(".grocker.yml"),
                place: Some((3, 7)),
                source: "unknown field".into(),
            },
            Error::Config {
                file: text(".grocker.yml"),
                place: None,
                source: "it is empty".into(),
            },
            Error::Runtime {
                name: text("python2"),
                known: text("python3"),
            },
            Error::Value {
                what: "package",
                value: text("a b"),
                expected: "a name of a package has no spaces",
            },
            Error::Compile {
                release: text("app==1.0"),
                source: Box::new(engine::Error::Cancelled),
            },
            Error::NoWheels {
                release: text("app==1.0"),
            },
            Error::Engine {
                action: "build",
                subject: text("app:1.0"),
                source: Box::new(engine::Error::Cancelled),
            },
            Error::Pack {
                what: "the build context",
                source: repack::Error::Cancelled,
            },
            Error::Core(ocicore::Error::Cancelled),
        ];
        let shown = errors::shown(&all, include_str!("error.rs"), |error| {
            (error.class(), error.hint())
        });
        insta::assert_snapshot!(shown);
    }
}
