use std::{error::Error as StdError, fmt, time::Duration};

use ocicore::Class;

/// What can go wrong between this client and a registry. The ports return it as the source of
/// [`ocicore::Error::Store`]: `error.find::<ociregistry::Error>()` gets it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A server answered with an error. Retried if its class is [`Class::Transient`].
    #[error("{0}")]
    Answer(Box<Answer>),
    /// A server that asks who one is refused a request: with 401 or 403. Not retried.
    #[error("{}", refused(host, login, *is_known, source.status()))]
    Refused {
        /// Host of the registry, or of its token service.
        host: String,
        /// Who was refused; nobody, where logging in may help.
        login: Login,
        /// Whether a token service knew the login and gave a token for it, so that it is rights that are missing.
        is_known: bool,
        /// What the server said.
        source: Box<Answer>,
    },
    /// There is no answer: the server cannot be reached, or the connection broke. Retried, but for
    /// certificates that cannot be trusted.
    #[error("no answer from `{place}` to `{method}`{}", also(*advice))]
    Transport {
        /// Host and repository.
        place: String,
        /// Method of the request.
        method: String,
        /// Kind of failure.
        class: Class,
        /// What may be the reason, where it can be guessed: TLS or plain HTTP where the other one is spoken (see
        /// [`HostOptions`](crate::HostOptions)), or a certificate of an unknown authority.
        advice: Option<&'static str>,
        /// What the connection said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The connection broke while content came. Retried from where it broke.
    #[error("`{place}` stopped after {at} of {size} bytes")]
    Truncated {
        /// Host and repository.
        place: String,
        /// Bytes that came.
        at: u64,
        /// Bytes that were announced.
        size: u64,
        /// What the connection said, if it did not just end.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// No byte moved for too long, see
    /// [`RegistryBuilder::stall_timeout`](crate::RegistryBuilder::stall_timeout). Retried.
    #[error("`{place}` made no progress for {} s", after.as_secs_f32())]
    Stalled {
        /// Host and repository.
        place: String,
        /// The timeout.
        after: Duration,
    },
    /// A server did what the distribution specification does not allow. Not retried.
    #[error("`{place}` breaks the protocol: {fault}")]
    Protocol {
        /// Host and repository.
        place: String,
        /// What it did, and what was expected.
        fault: String,
    },
    /// A server gave other content than what was asked for, or says that it took other content
    /// than what it was sent. Not retried.
    #[error("`{place}` has other content than it should")]
    Content {
        /// Host and repository.
        place: String,
        /// What is wrong with it.
        source: Box<ocicore::Error>,
    },
    /// Several writers changed the same list, and each change of ours was undone. Retried.
    #[error("`{place}`: others keep changing the list of referrers `{tag}`")]
    Contended {
        /// Host and repository.
        place: String,
        /// The tag of the list (distribution-spec §Referrers Tag Schema).
        tag: String,
    },
    /// The registry failed after its mirrors had. What the registry says decides about all else.
    #[error("its mirrors did not help: {}", faults.join("; "))]
    Mirrors {
        /// What each mirror that was asked says, with its causes.
        faults: Vec<String>,
        /// What the registry says.
        source: Box<Error>,
    },
    /// A redirect, or another place for an upload, that is not followed. Where it has no TLS, who
    /// trusts the way there allows it by
    /// [`HostOptions::with_plain_http`](crate::HostOptions::with_plain_http). Not retried.
    #[error("`{place}` redirects to `{target}`, which is not followed: {reason}")]
    Redirect {
        /// Host and repository.
        place: String,
        /// Where to, without user info and query.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The token service of a registry gave no token. Retried if its own error is.
    #[error("failed to get a token for `{scope}` from `{realm}`")]
    Token {
        /// The token service, without query.
        realm: String,
        /// What the token should have allowed.
        scope: String,
        /// Why not.
        source: Box<Error>,
    },
    /// A registry wants credentials in a way that is unknown or unsafe.
    #[error("`{host}` asks for credentials, but {fault}")]
    Challenge {
        /// Host of the registry.
        host: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A file of credentials cannot be read.
    #[error("failed to read credentials from `{path}`")]
    AuthFile {
        /// The file.
        path: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A credential helper failed.
    #[error("credential helper `{program}` {fault}")]
    Helper {
        /// The program.
        program: String,
        /// What happened.
        fault: String,
        /// The reason, if there is one.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// Certificates or keys that cannot be used.
    #[error("failed to set up TLS for `{host}`")]
    Tls {
        /// Host for which they are.
        host: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A file of hosts or mirrors cannot be understood.
    #[error("{path}{}: {fault}", if *line == 0 { String::new() } else { format!(":{line}") })]
    Hosts {
        /// The file.
        path: String,
        /// The line, from 1; 0 if it is about the file as a whole.
        line: usize,
        /// What is wrong, and what was expected.
        fault: String,
    },
    /// A file of hosts says that this repository is not to be used (`blocked` in
    /// `registries.conf`).
    #[error("`{place}` is blocked by the configuration of registries")]
    Blocked {
        /// Host and repository.
        place: String,
    },
    /// Not the registry's: the source of an upload, a limit, cancellation.
    #[error(transparent)]
    Store(#[from] ocicore::Error),
}

/// Result of this crate's own functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Kind of failure; [`Class::Transient`] is what is retried.
    pub fn class(&self) -> Class {
        match self {
            Self::Answer(answer) | Self::Refused { source: answer, .. } => answer.class(),
            Self::Transport { class, .. } => *class,
            Self::Truncated { .. } | Self::Stalled { .. } | Self::Contended { .. } => {
                Class::Transient
            }
            Self::Protocol { .. } | Self::Content { .. } | Self::Hosts { .. } => Class::Invalid,
            Self::Redirect { .. }
            | Self::Challenge { .. }
            | Self::Helper { .. }
            | Self::Blocked { .. } => Class::Denied,
            Self::Token { source, .. } | Self::Mirrors { source, .. } => source.class(),
            Self::AuthFile { .. } | Self::Tls { .. } => Class::Other,
            Self::Store(error) => error.class(),
        }
    }

    /// The answer that a server gave, if that was the fault.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) | Self::Refused { source: answer, .. } => Some(answer),
            Self::Token { source, .. } | Self::Mirrors { source, .. } => source.answer(),
            _ => None,
        }
    }

    /// Who was refused, if that was the fault: nobody, where logging in may help.
    pub fn refused(&self) -> Option<&Login> {
        match self {
            Self::Refused { login, .. } => Some(login),
            Self::Token { source, .. } | Self::Mirrors { source, .. } => source.refused(),
            _ => None,
        }
    }

    /// Says why the mirrors that were asked before did not help.
    pub(crate) fn with_mirrors(self, faults: Vec<String>) -> Self {
        match faults.is_empty() {
            true => self,
            false => Self::Mirrors {
                faults,
                source: Box::new(self),
            },
        }
    }

    /// Says who was refused, if this is a refusal.
    pub(crate) fn with_login(self, host: &str, login: Option<Login>, is_token: bool) -> Self {
        match (self, login) {
            (Self::Answer(answer), Some(login))
                if matches!(answer.status, 401 | 403) && answer.class() == Class::Denied =>
            {
                Self::Refused {
                    host: host.to_owned(),
                    // A token of one's own is sent as it is, and may be wrong.
                    is_known: is_token && matches!(login, Login::User(_)),
                    login,
                    source: answer,
                }
            }
            (error, _) => error,
        }
    }

    pub(crate) fn protocol(place: impl fmt::Display, fault: impl Into<String>) -> Self {
        Self::Protocol {
            place: place.to_string(),
            fault: fault.into(),
        }
    }

    pub(crate) fn content(place: impl fmt::Display, source: ocicore::Error) -> Self {
        Self::Content {
            place: place.to_string(),
            source: source.into(),
        }
    }

    /// Into the error of the ports, which names what was tried.
    pub(crate) fn into_port(
        self,
        action: &'static str,
        subject: impl fmt::Display,
        store: impl fmt::Display,
    ) -> ocicore::Error {
        match self {
            Self::Store(error) => error,
            error => {
                let class = error.class();
                ocicore::Error::store(action, subject, store, class, error)
            }
        }
    }
}

/// An error that a server sent: its status, and its own codes and messages
/// (distribution-spec §Error Codes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) place: String,
    pub(crate) method: String,
    pub(crate) status: u16,
    pub(crate) faults: Vec<Fault>,
    pub(crate) retry_after: Option<Duration>,
}

/// Who a request was from, as far as its server cares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// There are no credentials for this server.
    Nobody,
    /// A user of this name.
    User(String),
    /// Whoever a token is for.
    Token,
}

impl std::error::Error for Answer {}

impl Answer {
    /// Host and repository, and who answered in its place (`HOST/REPOSITORY at OTHER`).
    pub fn place(&self) -> &str {
        &self.place
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The registry's own codes and messages, as far as they came in the first 64 KiB.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the registry gave this code, for example `BLOB_UPLOAD_INVALID`.
    pub fn has_code(&self, code: &str) -> bool {
        self.faults.iter().any(|fault| fault.code == code)
    }

    /// Whether a registry says that something is not there, and not a page for people that answers every address.
    pub(crate) fn is_missing(&self) -> bool {
        let is_page = |fault: &Fault| fault.code.is_empty() && fault.message.starts_with('<');
        matches!(self.status, 404 | 410) && !self.faults.iter().any(is_page)
    }

    /// Kind of failure, by the status and the registry's code.
    pub fn class(&self) -> Class {
        match self.status {
            _ if self.has_code("TOOMANYREQUESTS") => Class::Transient,
            408 | 425 | 429 => Class::Transient,
            401 | 403 | 407 => Class::Denied,
            404 | 410 => Class::NotFound,
            405 | 501 | 505 => Class::Unsupported,
            _ if self.has_code("UNSUPPORTED") => Class::Unsupported,
            409 | 412 | 416 => Class::Conflict,
            413 | 507 => Class::Exhausted,
            499..=599 => Class::Transient,
            _ => Class::Invalid,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, method, status) = (&self.place, &self.method, self.status);
        write!(f, "`{place}` answered `{method}` with {status}")?;
        if let Some(reason) = reqwest::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
        {
            write!(f, " {reason}")?;
        }
        for (n, fault) in self.faults.iter().enumerate() {
            write!(f, "{} {fault}", if n == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// One entry of a registry's list of errors; of a body that is no such list, its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Fault {
    /// The code, for example `NAME_UNKNOWN`; empty if the server sent something else.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, without control characters and of at most 500 characters.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.code, &*self.message) {
            ("", message) => write!(f, "{message}"),
            (code, "") => write!(f, "{code}"),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

fn also(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!(": {advice}"))
}

fn refused(host: &str, login: &Login, is_known: bool, status: u16) -> String {
    let who = match login {
        Login::Nobody if status == 401 => {
            return format!("`{host}` wants a login, and there are no credentials for it");
        }
        Login::Nobody => "whoever is not logged in".to_owned(),
        Login::User(name) => format!("`{}`", name.escape_debug()),
        Login::Token => "the owner of the token".to_owned(),
    };
    match status {
        401 if !is_known => format!("`{host}` does not accept the login of {who}"),
        _ => format!("`{host}` forbids that to {who}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_a_class() {
        for (status, code, class) in [
            (408, "", Class::Transient),
            (425, "", Class::Transient),
            (429, "", Class::Transient),
            (400, "TOOMANYREQUESTS", Class::Transient),
            (499, "", Class::Transient),
            (500, "", Class::Transient),
            (503, "", Class::Transient),
            (522, "", Class::Transient),
            (501, "", Class::Unsupported),
            (405, "", Class::Unsupported),
            (400, "UNSUPPORTED", Class::Unsupported),
            (400, "DIGEST_INVALID", Class::Invalid),
            (401, "", Class::Denied),
            (403, "DENIED", Class::Denied),
            (404, "NAME_UNKNOWN", Class::NotFound),
            (409, "", Class::Conflict),
            (416, "", Class::Conflict),
            (413, "", Class::Exhausted),
            (302, "", Class::Invalid),
        ] {
            let answer = Answer {
                place: "r.io/a".to_owned(),
                method: "GET".to_owned(),
                status,
                faults: vec![Fault {
                    code: code.to_owned(),
                    message: String::new(),
                }],
                retry_after: None,
            };
            assert_eq!(answer.class(), class, "{status} {code}");
        }
    }
}
