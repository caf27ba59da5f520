//! What a server says when it does not do what it was asked for.

use std::time::Duration;

use reqwest::{Method, Response};

use super::{Error, client};

/// As much of an error's body as is read.
const BODY_LIMIT: usize = 16 << 10;
/// As much of a server's words as is shown, in characters.
const SHOWN: usize = 200;

/// The error that an answer is. What of its body cannot be read is left out: the status says enough.
pub(super) async fn error(
    mut response: Response,
    method: Method,
    place: String,
    user: Option<String>,
    stall: Duration,
) -> Error {
    let status = response.status().as_u16();
    let retry_after = client::retry_after(response.headers());
    let mut body = Vec::new();
    while body.len() < BODY_LIMIT {
        match tokio::time::timeout(stall, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                tracing::debug!(error = %error.without_url(), "the body of an error was cut");
                break;
            }
            Err(_) => break,
        }
    }
    let message = message(&body).unwrap_or_else(|| {
        let reason = response.status().canonical_reason();
        reason.unwrap_or("it does not say why").to_owned()
    });
    match status {
        401 => Error::Unauthorized { place, user },
        403 => Error::Forbidden {
            place,
            user,
            message,
        },
        404 | 410 => Error::NotFound { place },
        408 | 429 | 500 | 502..=506 | 508..=599 => Error::Server {
            place,
            status,
            message,
            retry_after,
        },
        _ => Error::Refused {
            place,
            method: method.to_string(),
            status,
            message,
        },
    }
}

/// The words of an error: the title of a page, the message of an answer of an API, or the first
/// line of a text.
fn message(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let found = html_title(&text)
        .or_else(|| json_message(body))
        .or_else(|| {
            let line = text.lines().find(|line| !line.trim().is_empty())?;
            (!line.trim_start().starts_with(['<', '{', '['])).then(|| line.to_owned())
        })?;
    Some(shown(&found)).filter(|found| !found.is_empty())
}

/// What a page calls itself.
pub(super) fn html_title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(shown(&text[start..end]))
}

/// On one line, short, without control characters.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut shown: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN + 1)
        .collect();
    if shown.chars().count() > SHOWN {
        shown.pop();
        shown.push('…');
    }
    shown
}

fn json_message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = match &value {
        serde_json::Value::Array(all) => all.first()?,
        other => other,
    };
    let message = first.get("message").or_else(|| first.get("error"))?;
    message.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_of_an_error_are_found() {
        let cases = [
            // Nexus 3.
            "<!DOCTYPE html><html><head>\n<title>400 - Repository does not allow updating assets: \
             releases</title></head><body>x</body></html>",
            // The API of Nexus 3.
            r#"[{"id":"*","message":"Search returned multiple assets"}]"#,
            r#"{"error":"no"}"#,
            "\n  plain text \nmore",
            "<html>no title</html>",
            "{}",
            "",
            "<title>",
            "<title>İ</title>",
        ];
        let shown: Vec<_> = cases
            .map(|text| format!("{:?}", message(text.as_bytes())))
            .into();
        insta::assert_snapshot!(shown.join("\n"));
        assert_eq!(
            message("x".repeat(1000).as_bytes())
                .unwrap()
                .chars()
                .count(),
            201
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, text in "(<title|>|</title|İ|a){0,10}") {
            let _ = message(&body);
            let _ = message(text.as_bytes());
        }
    }
}
