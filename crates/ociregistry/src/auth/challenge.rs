//! What a registry asks for with `WWW-Authenticate` (RFC 9110 §11.6.1, distribution token
//! authentication). Pure.

use super::scope::Scopes;

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scopes: Scopes,
    },
}

/// The best challenge of all `WWW-Authenticate` fields: `Bearer`, else `Basic`. Unknown schemes are
/// passed over; none is left if there is nothing else.
pub(crate) fn best<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for raw in fields.into_iter().flat_map(parse) {
        if raw.scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = raw.parameter("realm") {
                return Some(Challenge::Bearer {
                    realm: realm.to_owned(),
                    service: raw.parameter("service").map(str::to_owned),
                    scopes: Scopes::parse(raw.parameter("scope").unwrap_or_default()),
                });
            }
        } else if raw.scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

#[derive(Debug, PartialEq, Eq)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// All challenges of one field. A name with `=` is a parameter of the challenge before it, one
/// without starts a new challenge; what fits nowhere is passed over.
fn parse(field: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let Some(first) = rest.chars().next() else {
            return challenges;
        };
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (name, after) = rest.split_at(end);
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, after) = value_of(value.trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((name.to_owned(), value));
                }
                rest = after;
            }
            None => {
                challenges.push(Raw {
                    scheme: name.to_owned(),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows. A string without an end reaches to the end.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ',' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &str) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: Scopes::parse(scopes),
        })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let check = |fields: &[&str], expected: Option<Challenge>| {
            assert_eq!(best(fields.iter().copied()), expected, "{fields:?}");
        };
        check(&[], None);
        check(&["Negotiate"], None);
        check(&["Basic realm=\"x\""], Some(Challenge::Basic));
        check(&["basic"], Some(Challenge::Basic));
        check(
            &["Bearer realm=\"https://a/t\",service=\"a\",scope=\"repository:b:pull,push\""],
            bearer("https://a/t", Some("a"), "repository:b:pull,push"),
        );
        check(
            &["bearer  REALM = https://a/t , x"],
            bearer("https://a/t", None, ""),
        );
        check(
            &[r#"Bearer realm="https://a/\"t\\",error="insufficient_scope""#],
            bearer(r#"https://a/"t\"#, None, ""),
        );
        check(
            &["Basic realm=\"x\", Bearer realm=\"https://a\", service=\"s\""],
            bearer("https://a", Some("s"), ""),
        );
        check(
            &["Basic realm=\"x\"", "Bearer realm=\"https://a\""],
            bearer("https://a", None, ""),
        );
        check(&["Bearer realm=\"\"", "Basic"], Some(Challenge::Basic));
        check(&["Bearer realm=\"https://a"], bearer("https://a", None, ""));
        check(
            &["Negotiate QQ==, Basic realm=\"é, Bearer\""],
            Some(Challenge::Basic),
        );
        check(&["=\"\"é,,,Bearer"], None);
    }

    proptest! {
        #[test]
        fn no_field_panics(field: String) {
            let _ = best([field.as_str()]);
        }

        #[test]
        fn quoted_values_come_back(realm in "[ -~]{1,40}") {
            let quoted = realm.replace('\\', r"\\").replace('"', "\\\"");
            let field = format!("Bearer service=x,realm=\"{quoted}\"");
            prop_assert_eq!(best([field.as_str()]), bearer(&realm, Some("x"), ""));
        }
    }
}
