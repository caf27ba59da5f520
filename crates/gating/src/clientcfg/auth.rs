use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::Problem;
use crate::{Fault, buildset::BuildsetRegistry};

/// Adds the password of `registry` to an auth.json; an empty text is a file that is not there.
pub(super) fn edit(text: &str, registry: &BuildsetRegistry) -> Result<String, Problem> {
    let mut document: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(text).map_err(|error| {
            let Fault { at, message, .. } = Fault::json("", &error);
            Problem { at, message }
        })?
    };
    let before = document.clone();
    let credentials = format!("{}:{}", registry.username(), registry.password().expose());
    let auth = BASE64_STANDARD.encode(credentials);
    let auths = object(&mut document, "auths")?;
    object(auths, &registry.client_address())?.insert("auth".to_owned(), json!(auth));
    if document == before {
        return Ok(text.to_owned());
    }
    Ok(format!("{:#}\n", Value::Object(document)))
}

/// The object under a key, made if there is none.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, Problem> {
    match parent.entry(key).or_insert_with(|| json!({})) {
        Value::Object(object) => Ok(object),
        _ => Err(Problem {
            at: None,
            message: format!("expected an object under `{key}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn check(before: &str) -> Result<String, Problem> {
        let registry = BuildsetRegistry::new("h.io", 5000, Secret::new("a:b"), "").unwrap();
        let after = edit(before, &registry)?;
        assert_eq!(edit(&after, &registry).unwrap(), after);
        Ok(after)
    }

    #[test]
    fn other_passwords_and_helpers_stay() {
        let before = r#"{"auths": {"quay.io": {"auth": "eDp5"}, "h.io:5000": {"auth": "b2xk", "email": "e"}},
            "credHelpers": {"gcr.io": "gcloud"}}"#;
        insta::assert_snapshot!(check(before).unwrap());
        let fresh = check("").unwrap();
        assert!(
            fresh.contains(&BASE64_STANDARD.encode("zuul:a:b")),
            "{fresh}"
        );
    }

    #[test]
    fn a_file_that_is_right_keeps_its_spaces() {
        let auth = BASE64_STANDARD.encode("zuul:a:b");
        let before = format!("{{ \"auths\":{{\"h.io:5000\":{{\"auth\":\"{auth}\"}}}} }}");
        assert_eq!(check(&before).unwrap(), before);
    }

    #[test]
    fn what_is_no_auth_file_is_told() {
        let messages: Vec<_> = [
            "{\n  oops",
            "[]",
            r#"{"auths": 1}"#,
            r#"{"auths": {"h.io:5000": []}}"#,
        ]
        .iter()
        .map(|text| {
            check(text)
                .unwrap_err()
                .of("auth.json".as_ref())
                .to_string()
        })
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".*|[{}\\[\\]\":, auths0]*") {
            let _ = check(&text);
        }
    }
}
