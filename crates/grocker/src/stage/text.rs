//! What may be written into a Dockerfile.

use crate::{Error, Result};

/// Name of a system package, with what package managers allow behind it.
pub(super) fn package(name: &str) -> Result<()> {
    let good = name
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric)
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-_:=~<>@".contains(&b));
    check(
        good && !name.contains(['<', '>']),
        "system package",
        name,
        "expected a name of letters, digits, `+`, `.`, `-`, and a version after `=`",
    )
}

/// Name and line of a package repository, which go into a quoted word of a shell.
pub(super) fn repository(name: &str, uri: &str) -> Result<()> {
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    check(
        good,
        "repository name",
        name,
        "expected letters, digits, `_` and `-`",
    )?;
    let good = !uri.is_empty()
        && uri
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'\'' && b != b'\\' || b == b' ');
    check(
        good,
        "repository",
        uri,
        "expected one line, as of sources.list, without quotes",
    )
}

/// `PORT[/PROTOCOL]`.
pub(super) fn port(port: &str) -> Result<()> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let good = number.parse::<u16>().is_ok_and(|n| n > 0)
        && number.bytes().all(|b| b.is_ascii_digit())
        && matches!(protocol, "tcp" | "udp" | "sctp");
    check(
        good,
        "port",
        port,
        "expected 1 to 65535, with `/tcp`, `/udp` or `/sctp`",
    )
}

/// An absolute path.
pub(super) fn volume(path: &str) -> Result<()> {
    let good = path.starts_with('/') && !path.bytes().any(|b| b.is_ascii_control() || b == b'"');
    check(good, "volume", path, "expected an absolute path")
}

/// The name of a command.
pub(super) fn command(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b));
    check(good, "entry point", name, "expected the name of a command")
}

/// `NAME="value"` of an `ENV`, which substitutes variables and ends at the line.
pub(super) fn env(name: &str, value: &str) -> Result<String> {
    let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.as_bytes().first().is_some_and(|b| !b.is_ascii_digit());
    check(good, "variable", name, "expected letters, digits and `_`")?;
    check(
        !value.contains(['\n', '\r', '\0']),
        "value",
        value,
        "a Dockerfile cannot hold a value of several lines",
    )?;
    let mut quoted = String::new();
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Ok(format!("ENV {name}=\"{quoted}\"\n"))
}

fn check(good: bool, what: &'static str, value: &str, expected: &'static str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::Value {
        what,
        value: value.chars().take(256).collect(),
        expected,
    })
}
