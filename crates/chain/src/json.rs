//! Strict JSON with positions.

use jsonc_parser::{
    ParseOptions,
    ast::{Object, ObjectProp, StringLit, Value},
    common::Ranged,
};

use crate::{
    Fault, Located, Note, Place, Problem, Remark,
    place::{Lines, Position},
    vars,
};

/// A JSON document whose values know where they are.
pub(crate) struct Document<'a> {
    file: &'a std::path::Path,
    text: &'a str,
    lines: Lines<'a>,
    root: Value<'a>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(file: &'a std::path::Path, text: &'a str) -> Result<Self, Problem> {
        let lines = Lines::new(text);
        let collect = jsonc_parser::CollectOptions::default();
        let fault = |position: Position, message: String| {
            Located::new(Place::new(file, position), Fault::Json { message })
        };
        let root = match jsonc_parser::parse_to_ast(text, &collect, &strict()) {
            Ok(result) => result.value,
            Err(error) => {
                let position = lines.position(error.range().start);
                return Err(fault(position, error.kind().to_string().to_lowercase()));
            }
        };
        match root {
            Some(root) => Ok(Self {
                file,
                text,
                lines,
                root,
            }),
            None => Err(fault(lines.position(0), "the file is empty".to_owned())),
        }
    }

    pub(crate) fn root(&self) -> &Value<'a> {
        &self.root
    }

    pub(crate) fn position(&self, value: &impl Ranged) -> Position {
        self.lines.position(value.range().start)
    }

    pub(crate) fn place(&self, value: &impl Ranged) -> Place {
        Place::new(self.file, self.position(value))
    }

    /// The place of a byte of a string's value; of the string if escapes hide it.
    pub(crate) fn place_in(&self, string: &StringLit<'_>, offset: usize) -> Place {
        let range = string.range;
        let inner = self.text.get(range.start + 1..range.end.saturating_sub(1));
        let at = match inner == Some(&*string.value) {
            true => range.start + 1 + offset,
            false => range.start,
        };
        Place::new(self.file, self.lines.position(at))
    }

    pub(crate) fn fault(&self, value: &impl Ranged, fault: Fault) -> Problem {
        Located::new(self.place(value), fault)
    }

    pub(crate) fn wrong_type(
        &self,
        key: &str,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Problem {
        let fault = Fault::Type {
            key: key.to_owned(),
            found: type_of(value),
            expected,
        };
        self.fault(value, fault)
    }

    /// A note for each key that is there more than once.
    pub(crate) fn repeated(&self, object: &Object<'_>) -> Vec<Note> {
        let mut seen = std::collections::BTreeSet::new();
        let repeated = object
            .properties
            .iter()
            .filter(|property| !seen.insert(property.name.as_str().to_owned()));
        repeated
            .map(|property| {
                let key = property.name.as_str().to_owned();
                Located::new(self.place(property), Remark::RepeatedKey { key })
            })
            .collect()
    }
}

/// A member of an object; the last one if there are several, as in Python.
pub(crate) fn member<'v, 'a>(object: &'v Object<'a>, key: &str) -> Option<&'v ObjectProp<'a>> {
    object
        .properties
        .iter()
        .rev()
        .find(|property| property.name.as_str() == key)
}

pub(crate) fn type_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "a boolean",
        Value::Object(_) => "an object",
        Value::Array(_) => "an array",
        Value::NullKeyword(_) => "null",
    }
}

/// As fields of a template see it. The parser bounds the depth.
pub(crate) fn to_value(value: &Value<'_>) -> vars::Value {
    match value {
        Value::StringLit(text) => vars::Value::from(&*text.value),
        Value::NumberLit(number) => vars::Value::Number(number.value.to_owned()),
        Value::BooleanLit(flag) => vars::Value::Bool(flag.value),
        Value::NullKeyword(_) => vars::Value::None,
        Value::Array(array) => vars::Value::List(array.elements.iter().map(to_value).collect()),
        Value::Object(object) => {
            let members = object.properties.iter();
            let members =
                members.map(|member| (member.name.as_str().to_owned(), to_value(&member.value)));
            vars::Value::Map(members.collect())
        }
    }
}

fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}
