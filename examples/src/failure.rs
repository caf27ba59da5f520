use std::{error::Error as StdError, fmt};

use ocicore::{Class, causes, in_one_line};
use serde_json::json;

/// Why a command failed: an error of one of the crates, its class, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn StdError + Send + Sync>,
    class: Class,
    hint: Option<String>,
    code: Option<u8>,
}

/// Result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure from any error.
    pub fn new(class: Class, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            error: error.into(),
            class,
            hint: None,
            code: None,
        }
    }

    /// Says what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done.
    pub fn context(self, doing: impl Into<String>) -> Self {
        let context = Context {
            doing: doing.into(),
            source: self.error,
        };
        Self {
            error: Box::new(context),
            ..self
        }
    }

    /// A program that was run for the user ended so, and has said why itself.
    pub fn exited(code: u8) -> Self {
        let failure = Self::new(Class::Other, format!("it ended with exit code {code}"));
        Self {
            code: Some(code),
            ..failure
        }
    }

    /// The exit code of the program that was run for the user, if that is what failed.
    pub(crate) fn code(&self) -> Option<u8> {
        self.code
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Kind of failure, which decides the exit code.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The error with its causes, in one line.
    pub fn line(&self) -> String {
        in_one_line(&*self.error)
    }

    /// One JSON object: `error`, `causes`, `class`, `hint`.
    pub fn to_json(&self) -> serde_json::Value {
        let causes = causes(&*self.error).skip(1);
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        json!({
            "error": self.error.to_string(), "causes": causes,
            "class": self.class, "hint": self.hint,
        })
    }

    /// As text, in color if `Color`.
    pub(crate) fn render(&self, color: Color) -> String {
        let theme = match color {
            Color::Yes => miette::GraphicalTheme::unicode(),
            Color::No => miette::GraphicalTheme::unicode_nocolor(),
        };
        let mut text = String::new();
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            Err(fmt::Error) => self.to_string(),
        }
    }
}

/// An error with what was being done.
#[derive(Debug)]
struct Context {
    doing: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl StdError for Context {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// Whether the output is a terminal that shows colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Yes,
    No,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl miette::Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as _)
    }
}

impl From<ocicore::Error> for Failure {
    fn from(error: ocicore::Error) -> Self {
        let hint = match error.class() {
            Class::Denied => {
                Some("log in first, for example with `skopeo login` or `podman login`")
            }
            Class::Transient => Some("try again: what was done is kept"),
            _ => None,
        };
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<repack::Error> for Failure {
    fn from(error: repack::Error) -> Self {
        let broken = matches!(error, repack::Error::Archive { format: "zip", .. });
        let failure = Self::new(error.class(), error);
        match broken {
            true => failure.with_hint("is the file whole? `unzip -t FILE` tells"),
            false => failure,
        }
    }
}

impl From<layerpkg::Error> for Failure {
    fn from(error: layerpkg::Error) -> Self {
        let hint = error.hint();
        let failure = match error {
            layerpkg::Error::Store(error) => return error.into(),
            error => Self::new(error.class(), error),
        };
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<talend::Error> for Failure {
    fn from(error: talend::Error) -> Self {
        let hint = match &error {
            talend::Error::NoJob { .. } => {
                "build the job in Talend Studio as a standalone job with shell launchers"
            }
            talend::Error::UnsafeLaunchers { .. } => {
                "start java as the last command of the launcher, or keep it by `--allow-unsafe`"
            }
            _ => return Self::new(error.class(), error),
        };
        Self::new(error.class(), error).with_hint(hint)
    }
}

impl From<talend::nexus::Error> for Failure {
    fn from(error: talend::nexus::Error) -> Self {
        use talend::nexus::Error;
        let hint = match &error {
            Error::Unauthorized { .. } => {
                "give the user by an option or the environment, or add the host to ~/.netrc"
            }
            Error::Redeploy { .. } => {
                "publish another version, or let the repository replace released files"
            }
            Error::NotAnArchive { .. } => "is the address right, and does it ask for a login?",
            Error::NoRepository { .. } => "give `--repository ADDRESS` or `--nexus-host HOST`",
            Error::Transport { .. } | Error::Server { .. } | Error::Truncated { .. } => {
                "try again: what was downloaded is kept"
            }
            _ => return Self::new(error.class(), error),
        };
        Self::new(error.class(), error).with_hint(hint)
    }
}

impl From<ociregistry::Error> for Failure {
    fn from(error: ociregistry::Error) -> Self {
        Self::new(error.class(), error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let class = match error.kind() {
            std::io::ErrorKind::NotFound => Class::NotFound,
            std::io::ErrorKind::PermissionDenied => Class::Denied,
            std::io::ErrorKind::StorageFull => Class::Exhausted,
            _ => Class::Other,
        };
        Self::new(class, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_causes_and_what_to_do() {
        let cause = std::io::Error::other("connection reset");
        let error = ocicore::Error::store("write", "v1", "h.io/a", Class::Transient, cause);
        let failure = Failure::from(error);
        insta::assert_snapshot!(failure.render(Color::No));
        insta::assert_snapshot!(failure.to_json());
    }
}
