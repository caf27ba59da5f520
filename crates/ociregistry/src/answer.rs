//! Reads what registries say in the bodies of their errors.

use serde::Deserialize;

use crate::error::Fault;

/// Most bytes of an error's body that are read.
pub(crate) const BODY_LIMIT: usize = 64 << 10;

/// Most entries and characters that are kept.
const MOST_FAULTS: usize = 8;
const MOST_CHARACTERS: usize = 500;

/// The faults in an error's body: the list of the distribution specification (§Error Codes), the
/// shapes that token services use (RFC 6749 §5.2, and `details`), else the text.
pub(crate) fn faults(body: &[u8]) -> Vec<Fault> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Option<Vec<Entry>>,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
        #[serde(default)]
        details: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: Option<serde_json::Value>,
        #[serde(default)]
        message: Option<String>,
    }
    let fault = |code: &str, message: &str| Fault {
        code: clean(code),
        message: clean(message),
    };
    let read = serde_json::from_slice::<Body>(body).ok().map(|body| {
        let mut faults: Vec<Fault> = body
            .errors
            .unwrap_or_default()
            .iter()
            .take(MOST_FAULTS)
            .map(|entry| {
                let code = match &entry.code {
                    Some(serde_json::Value::String(code)) => code.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                fault(&code, entry.message.as_deref().unwrap_or_default())
            })
            .collect();
        let message = body.error_description.or(body.details).or(body.message);
        if faults.is_empty() && (body.error.is_some() || message.is_some()) {
            faults.push(fault(
                body.error.as_deref().unwrap_or_default(),
                message.as_deref().unwrap_or_default(),
            ));
        }
        faults
    });
    match read {
        Some(faults) => faults
            .into_iter()
            .filter(|fault| !(fault.code.is_empty() && fault.message.is_empty()))
            .collect(),
        None => {
            let text = clean(&String::from_utf8_lossy(body));
            let code = String::new();
            let known = (!text.is_empty()).then_some(Fault {
                code,
                message: text,
            });
            known.into_iter().collect()
        }
    }
}

/// One line of printable characters: what a server says must not move a terminal's cursor.
pub(crate) fn clean(text: &str) -> String {
    let mut line = String::new();
    let mut characters = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
            characters += 1;
        }
        for c in word.chars() {
            if characters == MOST_CHARACTERS {
                line.push('…');
                return line;
            }
            // Marks that turn the direction of the text around it.
            let safe = !matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            line.push(if safe { c } else { '\u{fffd}' });
            characters += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bodies_are_read_as_servers_write_them() {
        let check = |body: &str, expected: &[&str]| {
            let shown: Vec<String> = faults(body.as_bytes())
                .iter()
                .map(Fault::to_string)
                .collect();
            assert_eq!(shown, expected, "{body}");
        };
        check("", &[]);
        check("{}", &[]);
        check(r#"{"errors":null}"#, &[]);
        check(
            r#"{"errors":[{"code":"A","message":"b","detail":{"x":1}},{"code":"C"}]}"#,
            &["A: b", "C"],
        );
        check(r#"{"errors":[{"code":12,"message":"b"}]}"#, &["12: b"]);
        check(
            r#"{"error":"invalid_grant","error_description":"no"}"#,
            &["invalid_grant: no"],
        );
        check(
            r#"{"details":"incorrect username or password"}"#,
            &["incorrect username or password"],
        );
        check(
            "<html>\n <h1>502\u{1b}[31m Bad</h1>",
            &["<html> <h1>502 [31m Bad</h1>"],
        );
    }

    #[test]
    fn a_long_body_is_shortened() {
        assert_eq!(
            clean(&"é".repeat(2000)).chars().count(),
            MOST_CHARACTERS + 1
        );
        let many = format!(
            r#"{{"errors":[{}]}}"#,
            vec![r#"{"code":"A"}"#; 100].join(",")
        );
        assert_eq!(faults(many.as_bytes()).len(), MOST_FAULTS);
    }

    proptest! {
        #[test]
        fn no_body_panics_or_escapes(body: Vec<u8>) {
            for fault in faults(&body) {
                prop_assert!(!fault.to_string().contains(char::is_control));
            }
        }
    }
}
