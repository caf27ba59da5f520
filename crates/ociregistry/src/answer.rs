//! Reads what registries say in the bodies of their errors.

use serde::Deserialize;

use crate::error::Fault;

/// Most bytes of an error's body that are read.
pub(crate) const BODY_LIMIT: usize = 64 << 10;

/// Most entries and characters that are kept.
const MOST_FAULTS: usize = 8;
const MOST_CHARACTERS: usize = 500;

/// The faults in an error's body: the list of the distribution specification (§Error Codes), the
/// shapes that token services use (RFC 6749 §5.2, and `details`), else the text. Of a body that
/// was cut they are what came.
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
    let parsed = serde_json::from_slice::<Body>(body).ok().or_else(|| {
        let text = String::from_utf8_lossy(body);
        let mut ends = ended(&text).into_iter();
        ends.find_map(|text| serde_json::from_str(&text).ok())
    });
    let read = parsed.map(|body| {
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

/// What a JSON text that was cut may have meant, best guesses first: all of it, with its last
/// string and all that is open ended; the same without half an escape at its end; and without the
/// member in which it was cut.
fn ended(text: &str) -> [String; 3] {
    let (mut open, mut in_string, mut is_escaped, mut whole) = (Vec::new(), false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_string => is_escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' | '[' => {
                open.push(if c == '{' { '}' } else { ']' });
                whole = at + 1;
            }
            '}' | ']' => {
                open.pop();
                whole = at + 1;
            }
            ',' => whole = at,
            _ => {}
        }
    }
    let close: String = open.into_iter().rev().collect();
    let quote = if in_string { "\"" } else { "" };
    let unescaped = text.rsplit_once('\\').map_or(text, |(before, _)| before);
    let whole = text.get(..whole).unwrap_or_default();
    [
        format!("{text}{quote}{close}"),
        format!("{unescaped}{quote}{close}"),
        format!("{whole}{close}"),
    ]
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

    fn check(body: &str, expected: &[&str]) {
        let shown: Vec<String> = faults(body.as_bytes())
            .iter()
            .map(Fault::to_string)
            .collect();
        assert_eq!(shown, expected, "{body}");
    }

    #[test]
    fn bodies_are_read_as_servers_write_them() {
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

    #[test]
    fn a_body_that_was_cut_says_what_came() {
        for start in [
            r#"{"errors":[{"code":"A","message":"b"#,
            r#"{"errors":[{"code":"A","message":"b\"#,
            r#"{"errors":[{"code":"A","message":"b\u00"#,
            r#"{"errors":[{"code":"A","message":"b","#,
            r#"{"errors":[{"code":"A","message":"b","det"#,
            r#"{"errors":[{"code":"A","message":"b","detail":"#,
            r#"{"errors":[{"code":"A","message":"b","detail":{"x":["],\""#,
            r#"{"errors":[{"code":"A","message":"b","detail":{"x":[tr"#,
            r#"{"errors":[{"code":"A","message":"b"}"#,
            r#"{"errors":[{"code":"A","message":"b"},{"#,
            r#"{"errors":[{"code":"A","message":"b"}],"x":-"#,
            r#"{"x":[1,{"y":2}],"errors":[{"detail":[],"code":"A","message":"b"#,
            r#"{"error":"A","error_description":"b"#,
        ] {
            check(start, &["A: b"]);
        }
        check(r#"{"errors":[{"code":"A","message":"\ud83d\ud"#, &["A"]);
        check(r#"{"errors":[{"code":"A","mess"#, &["A"]);
        check(r#"{"errors":[{"co"#, &[]);
        check("nul", &["nul"]);
        check("\"b", &["\"b"]);
        // In the middle of a character, too.
        let cut = b"{\"errors\":[{\"code\":\"A\",\"message\":\"\xc3";
        assert_eq!(faults(cut)[0].code(), "A");
    }

    proptest! {
        #[test]
        fn a_code_is_kept_wherever_a_body_is_cut(message: String, detail: String, cut: usize) {
            let json = serde_json::json!([message, detail]);
            let head = r#"{"errors":[{"code":"A","message":"#;
            let body = format!("{head}{},\"detail\":{json}}}]}}", json[0]);
            let cut = head.len() + cut % (body.len() - head.len() + 1);
            let faults = faults(&body.as_bytes()[..cut]);
            prop_assert_eq!(faults[0].code(), "A");
        }

        #[test]
        fn no_body_that_was_cut_panics(body in "[\\[\\]{}\",:\\\\u0a-z é]*") {
            faults(body.as_bytes());
        }

        #[test]
        fn no_body_panics_or_escapes(body: Vec<u8>) {
            for fault in faults(&body) {
                prop_assert!(!fault.to_string().contains(char::is_control));
            }
        }
    }
}
