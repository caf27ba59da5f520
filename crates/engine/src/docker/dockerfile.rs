//! What is wrong with a Dockerfile, and in which line.

use std::io::Read;

use ocicore::{Cx, Reader};

use crate::{Error, spec::BuildSpec};

/// Largest Dockerfile that is looked at.
const LIMIT: u64 = 1 << 20;

/// The error of a complaint about the syntax.
pub(super) async fn syntax_error(spec: &BuildSpec, message: &str) -> Option<Error> {
    let (line, fault) = parse(message)?;
    let line = match (line, quoted_instruction(message)) {
        (None, Some(word)) => line_of(spec, word).await,
        (line, _) => line,
    };
    Some(Error::Dockerfile {
        file: spec.dockerfile.clone(),
        line,
        message: fault,
    })
}

/// Docker: `dockerfile parse error [on ]line 3: unknown instruction: RUNN`. Podman: `… Build error:
/// Unknown instruction: "RUNN" …`, and `… Syntax error - …`.
fn parse(message: &str) -> Option<(Option<u32>, String)> {
    let lower = message.to_ascii_lowercase();
    // Lower case has the same length in ASCII, so that positions are the same.
    if let Some(at) = lower.find("dockerfile parse error") {
        let rest = message[at + "dockerfile parse error".len()..].trim_start_matches([' ', ':']);
        let rest = rest.strip_prefix("on ").unwrap_or(rest);
        let (line, fault) = match rest
            .strip_prefix("line ")
            .and_then(|rest| rest.split_once(": "))
        {
            Some((line, fault)) => (line.parse().ok(), fault),
            None => (None, rest),
        };
        return Some((line, fault.lines().next()?.trim().to_owned()));
    }
    if let Some(word) = quoted_instruction(message) {
        return Some((None, format!("unknown instruction: {word}")));
    }
    let syntax = [
        "syntax error - ",
        "no build stage in current context",
        "no from statement found",
        "requires either one or three arguments",
        "requires at least one argument",
        "requires exactly one argument",
    ];
    syntax.iter().any(|part| lower.contains(part)).then(|| {
        let fault = message.rsplit(": ").next().unwrap_or(message);
        (
            None,
            fault.lines().next().unwrap_or_default().trim().to_owned(),
        )
    })
}

fn quoted_instruction(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("Unknown instruction: \"")?;
    rest.split('"').next().filter(|word| !word.is_empty())
}

/// Podman does not tell the line: looks for the first that begins with the word.
async fn line_of(spec: &BuildSpec, word: &str) -> Option<u32> {
    let context = spec.context.open(0..spec.context.descriptor().size());
    let path = spec.dockerfile.clone();
    let word = word.to_ascii_uppercase();
    Cx::default()
        .blocking(move |cx| {
            let text = dockerfile(Reader::new(&cx, context), &path)?;
            let line = text.lines().position(|line| {
                let first = line.split_ascii_whitespace().next().unwrap_or_default();
                first.to_ascii_uppercase() == word
            })?;
            u32::try_from(line + 1).ok()
        })
        .await
}

/// Reads a file of a tar that may be compressed by gzip; none at the first thing that is wrong.
fn dockerfile(mut context: Reader, path: &str) -> Option<String> {
    let mut magic = [0; 2];
    context.read_exact(&mut magic).ok()?;
    let gzip = magic == [0x1f, 0x8b];
    let context = std::io::Cursor::new(magic).chain(context);
    let content: Box<dyn Read> = if gzip {
        Box::new(flate2::read::MultiGzDecoder::new(context))
    } else {
        Box::new(context)
    };
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries().ok()? {
        let entry = entry.ok()?;
        let name = entry.path_bytes();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if name == path.as_bytes() {
            let mut text = Vec::new();
            entry.take(LIMIT).read_to_end(&mut text).ok()?;
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_about_syntax_are_told_from_others() {
        let check = |message: &str, expected: Option<(Option<u32>, &str)>| {
            let expected = expected.map(|(line, fault)| (line, fault.to_owned()));
            assert_eq!(parse(message), expected, "{message}");
        };
        check(
            "dockerfile parse error line 3: unknown instruction: RUNN",
            Some((Some(3), "unknown instruction: RUNN")),
        );
        check(
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error on line 12: FROM requires either one or three arguments",
            Some((Some(12), "FROM requires either one or three arguments")),
        );
        check(
            "building at STEP \"RUNN \": Build error: Unknown instruction: \"RUNN\" &imagebuilder.Step{}",
            Some((None, "unknown instruction: RUNN")),
        );
        check(
            "The command '/bin/sh -c false' returned a non-zero code: 1",
            None,
        );
        check("no space left on device", None);
    }
}
