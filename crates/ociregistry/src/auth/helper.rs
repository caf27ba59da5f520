//! Credential helpers (docker-credential-helpers, "Development"): `docker-credential-NAME get` is
//! given a server on its standard input and answers with JSON.

use std::{io, path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::Credentials;
use crate::{Error, Result};

/// Most bytes of a helper's answer.
const ANSWER_LIMIT: u64 = 64 << 10;
/// What all helpers say when they have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that comes with an identity token.
const TOKEN_USER: &str = "<token>";

/// Asks the helper `name` for the credentials of `server`.
pub(super) async fn get(
    name: &str,
    server: &str,
    directory: Option<&Path>,
    timeout: Duration,
) -> Result<Option<Credentials>> {
    // The name comes from a file and becomes part of a program's name.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let program = format!("docker-credential-{name}");
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(fault(
            &program,
            "has an unusable name, expected letters, digits, `.`, `_`, `-`",
        ));
    }
    match tokio::time::timeout(timeout, run(&program, server, directory)).await {
        Ok(output) => parse(&program, output?),
        Err(_) => Err(fault(
            &program,
            format!("gave no answer within {} s", timeout.as_secs_f32()),
        )),
    }
}

struct Output {
    success: bool,
    answer: Vec<u8>,
}

async fn run(program: &str, server: &str, directory: Option<&Path>) -> Result<Output> {
    let broken = |what: &str, error: io::Error| Error::Helper {
        program: program.to_owned(),
        fault: what.to_owned(),
        source: Some(error.into()),
    };
    let mut child =
        Command::new(directory.map_or(Path::new(program).to_owned(), |at| at.join(program)))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| broken("cannot be started", error))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read what it is asked for may still answer.
        if let Err(error) = input.write_all(format!("{server}\n").as_bytes()).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(broken("cannot be asked", error));
        }
    }
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output
            .take(ANSWER_LIMIT + 1)
            .read_to_end(&mut answer)
            .await
            .map_err(|error| broken("cannot be read", error))?;
    }
    if answer.len() as u64 > ANSWER_LIMIT {
        return Err(fault(
            program,
            format!("answered with more than {ANSWER_LIMIT} bytes"),
        ));
    }
    let status = child
        .wait()
        .await
        .map_err(|error| broken("cannot be waited for", error))?;
    Ok(Output {
        success: status.success(),
        answer,
    })
}

fn parse(program: &str, output: Output) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    if !output.success {
        // Helpers write their errors, and no secrets, to their standard output.
        let text = String::from_utf8_lossy(&output.answer);
        if text.contains(NOT_FOUND) {
            return Ok(None);
        }
        let said = crate::answer::clean(&text);
        return Err(fault(program, format!("failed: {said}")));
    }
    let answer: Answer = serde_json::from_slice(&output.answer)
        .map_err(|_| fault(program, "gave an answer that is not the expected JSON"))?;
    let credentials = match answer.username.as_str() {
        TOKEN_USER => Credentials::identity_token(answer.secret),
        username => Credentials::basic(username, answer.secret),
    };
    Ok(credentials.filled())
}

fn fault(program: &str, fault: impl Into<String>) -> Error {
    Error::Helper {
        program: program.to_owned(),
        fault: fault.into(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let check = |success: bool, answer: &str| {
            let answer = answer.as_bytes().to_vec();
            parse("docker-credential-x", Output { success, answer }).map_err(|e| e.to_string())
        };
        assert_eq!(
            check(true, r#"{"ServerURL":"s","Username":"u","Secret":"p"}"#),
            Ok(Some(Credentials::basic("u", "p")))
        );
        assert_eq!(
            check(true, r#"{"Username":"<token>","Secret":"t"}"#),
            Ok(Some(Credentials::identity_token("t")))
        );
        assert_eq!(check(true, r#"{"Username":"","Secret":""}"#), Ok(None));
        assert_eq!(
            check(false, "credentials not found in native keychain\n"),
            Ok(None)
        );
        insta::assert_snapshot!(check(false, "the keyring\nis \u{1b}[1mlocked").unwrap_err(), @"credential helper `docker-credential-x` failed: the keyring is [1mlocked");
        insta::assert_snapshot!(check(true, "hunter2").unwrap_err(), @"credential helper `docker-credential-x` gave an answer that is not the expected JSON");
    }

    #[tokio::test]
    async fn a_name_is_no_path() {
        for name in ["", "../x", "a/b", "a b"] {
            let error = get(name, "s", None, Duration::from_secs(1))
                .await
                .unwrap_err();
            assert!(error.to_string().contains("unusable name"), "{name}");
        }
        let error = get("no-such-helper", "s", None, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "credential helper `docker-credential-no-such-helper` cannot be started"
        );
    }
}
