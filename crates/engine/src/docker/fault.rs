//! What an engine's complaints mean. They are texts, and differ from engine to engine.

use bollard::errors::Error as Bollard;

use super::http::Failure;
use crate::{Error, exit::says_not_found, log::Tail};

/// An engine's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status; none in the middle of an answer.
    pub(super) status: Option<u16>,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, message: String) -> Self {
        Self {
            status: Some(status),
            message: message.trim().to_owned(),
        }
    }

    /// One that came in the middle of an answer.
    pub(super) fn late(message: String) -> Self {
        Self {
            status: None,
            message: message.trim().to_owned(),
        }
    }

    fn says(&self, parts: &[&str]) -> bool {
        says(&self.message, parts)
    }
}

/// What was being done, for messages.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    action: &'static str,
    kind: &'static str,
    subject: String,
}

impl Deed {
    /// `kind` is `image`, `container`, `volume`, `file`, `engine`.
    pub(super) fn new(action: &'static str, kind: &'static str, subject: impl ToString) -> Self {
        Self {
            action,
            kind,
            subject: subject.to_string(),
        }
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Connect(error) => error,
            Failure::Broken(source) => self.vanished(Tail::default(), Some(source)),
            Failure::Refused(refusal) => self.refused(refusal),
        }
    }

    pub(super) fn vanished(
        &self,
        tail: Tail,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Vanished {
            action: self.action,
            subject: self.subject.clone(),
            tail,
            source,
        }
    }

    pub(super) fn garbled(&self, fault: impl ToString) -> Error {
        Error::Protocol {
            action: self.action,
            subject: self.subject.clone(),
            fault: fault.to_string(),
        }
    }

    /// What bollard says. Our transport's errors come back as they were.
    pub(super) fn bollard(&self, error: Bollard) -> Error {
        match error {
            Bollard::DockerResponseServerError {
                status_code,
                message,
            } => self.refused(Refusal::new(status_code, message)),
            Bollard::IOError { err } => match err.downcast::<Failure>() {
                Ok(failure) => self.failed(failure),
                Err(error) => self.vanished(Tail::default(), Some(error.into())),
            },
            Bollard::HyperResponseError { err } => self.vanished(Tail::default(), Some(err.into())),
            Bollard::DockerStreamError { error } => self.refused(Refusal::late(error)),
            Bollard::JsonDataError { message, .. } => self.garbled(message),
            error => self.garbled(error),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        let Self {
            action,
            kind,
            subject,
        } = self.clone();
        let (status, message) = (refusal.status, refusal.message.clone());
        if refusal.says(&["no space left on device", "disk quota exceeded"]) {
            return Error::DiskFull {
                action,
                subject,
                message,
            };
        }
        if let Some(name) = name_in_use(&message) {
            return Error::NameInUse {
                name: if name.is_empty() { subject } else { name },
            };
        }
        if matches!(action, "start" | "run" | "execute a command in")
            && let Some(error) = not_started(&message)
        {
            return error;
        }
        if matches!(action, "pull" | "push" | "build")
            && let Some(error) = registry(action, &subject, &message)
        {
            return error;
        }
        let missing = match kind {
            "file" => refusal.says(&["could not find the file", "no such file or directory"]),
            _ => refusal.says(&[
                "no such image",
                "no such container",
                "no such volume",
                "image not known",
            ]),
        };
        if refusal.says(&["image does not exist locally"]) {
            return Error::NotFound {
                kind,
                name: subject,
            };
        }
        if refusal.says(&["container state improper"]) {
            return Error::Conflict {
                action,
                subject,
                message,
            };
        }
        match status {
            Some(404) => Error::NotFound {
                kind,
                name: subject,
            },
            Some(500) if missing => Error::NotFound {
                kind,
                name: subject,
            },
            Some(409) => Error::Conflict {
                action,
                subject,
                message,
            },
            _ => Error::Engine {
                action,
                subject,
                status,
                message,
            },
        }
    }
}

/// A refusal to push or pull that is the registry's.
pub(super) fn registry(action: &'static str, subject: &str, message: &str) -> Option<Error> {
    let subject = subject.to_owned();
    if says(
        message,
        &[
            "access denied",
            "access to the resource is denied",
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "denied:",
            "forbidden",
        ],
    ) {
        return Some(Error::Denied {
            action: if action == "push" { "push" } else { "pull" },
            subject,
            message: message.to_owned(),
        });
    }
    if says(
        message,
        &[
            "manifest unknown",
            "name unknown",
            "not found: manifest",
            "repository name not known",
        ],
    ) {
        let name = subject;
        return Some(Error::NotFound {
            kind: "image",
            name,
        });
    }
    if says(
        message,
        &[
            "connection refused",
            "connection reset",
            "i/o timeout",
            "no such host",
            "server misbehaving",
            "network is unreachable",
            "tls handshake timeout",
            "temporary failure in name resolution",
        ],
    ) {
        return Some(Error::RegistryUnreachable {
            action: if action == "push" { "push" } else { "pull" },
            subject,
            message: message.to_owned(),
        });
    }
    None
}

/// A runtime that could not start a program: as the docker CLI tells 126 from 127. The program is
/// what is quoted after `exec:`.
fn not_started(message: &str) -> Option<Error> {
    let exec = message.find("exec: \"").map(|at| &message[at + 7..]);
    let command = exec.and_then(|rest| rest.split('"').next());
    let command = command.unwrap_or("the command").to_owned();
    let tail = Tail::of_text(message);
    if says_not_found(message) && (exec.is_some() || message.contains("crun")) {
        return Some(Error::CommandNotFound { command, tail });
    }
    let unusable = ["permission denied", "exec format error", "is a directory"];
    (exec.is_some() && says(message, &unusable)).then_some(Error::NotExecutable { command, tail })
}

/// `The container name "/x" is already in use by …`, and Podman's without the slash.
fn name_in_use(message: &str) -> Option<String> {
    let at = message.to_ascii_lowercase().find("is already in use")?;
    let before = message[..at].trim_end().trim_end_matches('"');
    let name = before.rsplit('"').next().unwrap_or_default();
    Some(name.trim_start_matches('/').to_owned())
}

pub(super) fn says(message: &str, parts: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    parts.iter().any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use ocicore::Class;

    use super::*;

    fn check(action: &'static str, kind: &'static str, status: u16, message: &str) -> String {
        let error = Deed::new(action, kind, "x").refused(Refusal::new(status, message.to_owned()));
        let class: Class = error.class();
        let hint = if error.hint().is_some() { ", hint" } else { "" };
        format!("{class:?}{hint}: {error}")
    }

    #[test]
    fn complaints_are_understood() {
        // Each as Docker 20.10 or Podman 4.3 says it.
        let cases = [
            check("create", "image", 404, "No such image: x:1"),
            check("inspect", "container", 404, "No such container: x"),
            check(
                "inspect",
                "image",
                500,
                "failed to find image x: x: image not known",
            ),
            check(
                "create",
                "container",
                409,
                "Conflict. The container name \"/job\" is already in use by container \"0123\". You have to remove (or rename) that container to be able to reuse that name.",
            ),
            check(
                "create",
                "container",
                500,
                "creating container storage: the container name \"job\" is already in use by 0123. You have to remove that container to be able to reuse that name: that name is already in use",
            ),
            check(
                "remove",
                "image",
                409,
                "conflict: unable to remove repository reference \"x\" (must force) - container 01 is using its referenced image 02",
            ),
            check(
                "start",
                "container",
                400,
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown",
            ),
            check(
                "start",
                "container",
                500,
                "runc: runc create failed: unable to start container process: exec: \"/etc\": permission denied: OCI permission denied",
            ),
            check(
                "pull",
                "image",
                404,
                "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            ),
            check(
                "pull",
                "image",
                404,
                "manifest for 127.0.0.1:5000/x:1 not found: manifest unknown: manifest unknown",
            ),
            check(
                "pull",
                "image",
                500,
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            check("push", "image", 500, "no basic auth credentials"),
            check("build", "image", 500, "write /x: no space left on device"),
            check("build", "image", 400, "invalid reference format"),
            check("tag", "image", 500, "something else"),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r#"
        NotFound, hint: no such image: `x`
        NotFound: no such container: `x`
        NotFound, hint: no such image: `x`
        Conflict, hint: name `job` is already in use
        Conflict, hint: name `job` is already in use
        Conflict: cannot remove `x`: conflict: unable to remove repository reference "x" (must force) - container 01 is using its referenced image 02
        NotFound, hint: command `nope` not found in the container
        Invalid, hint: command `/etc` cannot be executed in the container
        Denied, hint: registry denies to pull `x`: pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied
        NotFound, hint: no such image: `x`
        Transient, hint: engine cannot reach the registry to pull `x`: Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused
        Denied, hint: registry denies to push `x`: no basic auth credentials
        Exhausted, hint: engine has no space left to build `x`: write /x: no space left on device
        Invalid: engine failed to build `x`: invalid reference format
        Other: engine failed to tag `x`: something else
        "#);
    }
}
