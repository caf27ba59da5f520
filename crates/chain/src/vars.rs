//! The part of Python's `str.format` that images files use.
//!
//! A field is `{NAME}`, `{0}` or `{}`, with any number of `[ITEM]` behind it; `{{` and `}}` are
//! braces. Conversions and format specifications are refused, not ignored.

use std::{collections::BTreeMap, fmt};

/// Longest result in bytes: a short template can repeat a long value.
const LIMIT: usize = 1 << 20;

/// A value that a field may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: AsRef<str>> From<Option<T>> for Value {
    fn from(text: Option<T>) -> Self {
        text.map_or(Self::None, |text| Self::from(text.as_ref()))
    }
}

/// What fields are looked up in.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: BTreeMap<String, Value>,
}

/// What is wrong with a template, and at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// Fills in a template. As the original does, a text without `{` or without `}` is no template.
pub(crate) fn format(template: &str, scope: &Scope) -> Result<String, Wrong> {
    if !(template.contains('{') && template.contains('}')) {
        return Ok(template.to_owned());
    }
    let mut out = String::new();
    let mut automatic = 0;
    let mut at = 0;
    while let Some(found) = template[at..].find(['{', '}']) {
        let brace = at + found;
        out.push_str(&template[at..brace]);
        let rest = &template[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            out.push_str(&rest[..1]);
            at = brace + 2;
        } else if rest.starts_with('}') {
            return Err(wrong(
                brace,
                "single `}`, expected `}}` or a field before it",
            ));
        } else {
            let field = field(rest)
                .ok_or_else(|| wrong(brace, "`{` without `}`, expected a field or `{{`"))?;
            out.push_str(
                &lookup(field, scope, &mut automatic).map_err(|message| wrong(brace, message))?,
            );
            at = brace + 1 + field.len() + 1;
        }
        if out.len() > LIMIT {
            return Err(wrong(
                brace,
                format!("the result is longer than {LIMIT} bytes"),
            ));
        }
    }
    out.push_str(&template[at..]);
    Ok(out)
}

fn wrong(offset: usize, message: impl Into<String>) -> Wrong {
    Wrong {
        offset,
        message: message.into(),
    }
}

/// What stands between the brace at the start and its partner; a `}` within `[…]` is none.
fn field(rest: &str) -> Option<&str> {
    let mut bracket = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'[' => bracket = true,
            b']' => bracket = false,
            b'}' if !bracket => return Some(&rest[1..at]),
            b'{' if !bracket => return None,
            _ => {}
        }
    }
    None
}

fn lookup(field: &str, scope: &Scope, automatic: &mut usize) -> Result<String, String> {
    let end = field.find(['[', '.', '!', ':']).unwrap_or(field.len());
    let (name, mut path) = field.split_at(end);
    let mut value = if name.is_empty() || name.bytes().all(|byte| byte.is_ascii_digit()) {
        let index = if name.is_empty() {
            *automatic += 1;
            *automatic - 1
        } else {
            name.parse().unwrap_or(usize::MAX)
        };
        scope
            .positional
            .get(index)
            .ok_or_else(|| match scope.positional.len() {
                0 => format!("`{{{field}}}` has no number here, expected a name"),
                count => format!(
                    "`{{{field}}}` is beyond the {count} values, expected `{{0}}` to `{{{}}}`",
                    count - 1
                ),
            })?
    } else {
        scope.named.get(name).ok_or_else(|| {
            let names: Vec<_> = scope.named.keys().map(|name| format!("`{name}`")).collect();
            format!(
                "unknown name `{name}`, expected one of {}",
                names.join(", ")
            )
        })?
    };
    while let Some(rest) = path.strip_prefix('[') {
        let (item, after) = rest
            .split_once(']')
            .ok_or_else(|| format!("`[` without `]` in `{{{field}}}`"))?;
        value = match value {
            Value::Map(map) => map.get(item),
            Value::List(list) => item.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        }
        .ok_or_else(|| format!("`{{{field}}}`: there is no `[{item}]`"))?;
        path = after;
    }
    match (path.as_bytes().first(), value) {
        (Some(b'!' | b':'), _) => Err(format!(
            "`{{{field}}}` has a conversion or a format, expected a plain field"
        )),
        (Some(_), _) => Err(format!("`{{{field}}}` has an attribute, expected `[ITEM]`")),
        (None, Value::List(_) | Value::Map(_)) => Err(format!(
            "`{{{field}}}` has items, expected `{{{field}[ITEM]}}`"
        )),
        (None, value) => Ok(value.to_string()),
    }
}

/// As Python prints them.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Number(text) | Self::Text(text) => f.write_str(text),
            Self::List(_) => f.write_str("[…]"),
            Self::Map(_) => f.write_str("{…}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> Scope {
        let parts = [("tag", "1.0".into()), ("repo", Value::None)];
        let parts = parts.map(|(name, value): (_, Value)| (name.to_owned(), value));
        let named = [
            ("name", "app".into()),
            ("flag", Value::Bool(true)),
            ("port", Value::Number("80".to_owned())),
            ("img_parts", Value::Map(parts.into())),
            ("list", Value::List(vec!["a".into(), "b".into()])),
        ];
        Scope {
            positional: vec!["zero".into(), "one".into()],
            named: named.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    #[test]
    fn fields_are_filled_in() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{", "{"),
            ("}}", "}}"),
            ("{name}:{img_parts[tag]}", "app:1.0"),
            ("{0}-{1}-{name}", "zero-one-app"),
            ("{}-{}", "zero-one"),
            ("{{name}} {{{name}}}", "{name} {app}"),
            ("{img_parts[repo]} {flag} {port}", "None True 80"),
            ("{list[1]}", "b"),
            ("ä{name}ö", "äappö"),
        ] {
            assert_eq!(
                format(template, &scope()).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_no_field_is_told() {
        let wrong: Vec<_> = [
            "{nam} ",
            "x}{name}",
            "{name}{",
            "{2}",
            "{name!r}",
            "{port:>3}",
            "{img_parts}",
            "{img_parts[tga]}",
            "{img_parts.tag}",
            "{img_parts[tag}",
            "{a{b}}",
            "{name[0]}",
        ]
        .map(|template| match format(template, &scope()) {
            Ok(text) => panic!("{template} gives {text}"),
            Err(wrong) => format!("{template:18} {}: {}", wrong.offset, wrong.message),
        })
        .into();
        insta::assert_snapshot!(wrong.join("\n"));
    }

    #[test]
    fn the_result_is_bounded() {
        let named = [("x".to_owned(), Value::Text("x".repeat(LIMIT / 4)))].into();
        let scope = Scope {
            positional: Vec::new(),
            named,
        };
        assert!(format("{x}{x}", &scope).is_ok());
        assert!(format(&"{x}".repeat(1 << 20), &scope).is_err());
    }

    proptest! {
        #[test]
        fn no_template_panics(template in "[{}\\[\\]!:.a-z0-9ä]{0,24}") {
            drop(format(&template, &scope()));
        }
    }
}
