//! registries.conf, version 2 (containers-registries.conf(5)), edited in place.

use std::ops::Range;

use toml_edit::{Array, ArrayOfTables, Document, Item, Table, TableLike, Value, value};

use super::Problem;
use crate::{Error, Result, buildset::UNNAMESPACED};

/// Where images of one registry are looked for first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    namespace: String,
    /// `HOST:PORT[/NAMESPACE]`.
    location: String,
}

impl Mirror {
    /// The mirror of `namespace` in the buildset registry at `address`.
    pub(super) fn new(namespace: &str, address: &str) -> Result<Self> {
        // As an image of it lies there; a port has no place in its path.
        let image = format!("{namespace}/x").parse::<ocicore::RepositoryPath>();
        let good = image.is_ok() && (namespace == "localhost" || namespace.contains('.'));
        if !good {
            return Err(Error::Input {
                what: "namespace",
                value: namespace.chars().take(256).collect(),
                expected: "expected the host of a registry, without port, for example `quay.io`",
            });
        }
        let location = if namespace == UNNAMESPACED {
            address.to_owned()
        } else {
            format!("{address}/{namespace}")
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            location,
        })
    }

    /// Location for a `[[registry]]` with this prefix: that of the namespace, or below it. The
    /// longest prefix wins, so that one below a namespace needs the mirror, too.
    fn location_for(&self, prefix: &str) -> Option<String> {
        let rest = prefix.strip_prefix(&self.namespace)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.location))
    }
}

/// Puts the mirrors first, and keeps everything else.
pub(super) fn edit(text: &str, mirrors: &[Mirror]) -> Result<String, Problem> {
    // What is put behind the last line must not become part of it.
    let mut whole = text.to_owned();
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    let document = Document::parse(whole).map_err(|error| Problem {
        at: error.span().map(|span| place(text, &span)),
        message: format!("not valid TOML: {}", error.message().replace('\n', ", ")),
    })?;
    check(text, document.as_table(), mirrors)?;
    let mut document = document.into_mut();
    // Comments at the end stay where they are: before what is added.
    let mut comments = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    let root = document.as_table_mut();
    if !root.contains_key(SEARCH) {
        let only_comments = root.is_empty();
        // Short names mean Docker Hub, as for `docker pull`.
        root.insert(SEARCH, value(Array::from_iter([UNNAMESPACED])));
        if let Some(mut key) = root.key_mut(SEARCH).filter(|_| only_comments) {
            key.leaf_decor_mut()
                .set_prefix(std::mem::take(&mut comments));
        }
    }
    let registries = root
        .entry("registry")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    for mirror in mirrors {
        let mut known = false;
        let none = empty_as(registries);
        for entry in entries(registries) {
            let prefix = prefix(&*entry).to_owned();
            if let Some(location) = mirror.location_for(&prefix) {
                put_first(entry, &location, none.clone());
                known |= prefix == mirror.namespace;
            }
        }
        if !known {
            add(registries, mirror, &mut comments);
        }
    }
    document.set_trailing(comments);
    Ok(document.to_string())
}

const SEARCH: &str = "unqualified-search-registries";

/// Whether the parts that are edited have the shape that they should have, and whether mirrors are
/// asked at all.
fn check(text: &str, root: &Table, wanted: &[Mirror]) -> Result<(), Problem> {
    let problem = |span: Option<Range<usize>>, message: String| Problem {
        at: span.map(|span| place(text, &span)),
        message,
    };
    if let Some(item) = root.get("registries") {
        let message = "this is version 1 of the format, which cannot be mixed with mirrors; \
                       write `unqualified-search-registries` and `[[registry]]` instead";
        return Err(problem(item.span(), message.to_owned()));
    }
    let Some(registries) = root.get("registry") else {
        return Ok(());
    };
    let all = tables(registries)
        .ok_or_else(|| problem(registries.span(), "expected `[[registry]]`".to_owned()))?;
    for (entry, span) in all {
        for key in ["prefix", "location"] {
            if let Some(item) = entry.get(key).filter(|item| !item.is_str()) {
                return Err(problem(item.span(), format!("expected a text for `{key}`")));
            }
        }
        if prefix(entry).is_empty() {
            let message = "a registry needs `prefix` or `location`".to_owned();
            return Err(problem(span, message));
        }
        let edited = |mirror: &Mirror| mirror.location_for(prefix(entry)).is_some();
        for key in ["blocked", "mirror-by-digest-only"] {
            if let Some(item) = entry.get(key).filter(|item| item.as_bool() == Some(true))
                && wanted.iter().any(edited)
            {
                let message = format!(
                    "`{key} = true` hides the buildset registry from pulls of `{}` by tag",
                    prefix(entry)
                );
                return Err(problem(item.span(), message));
            }
        }
        if let Some(mirrors) = entry.get("mirror")
            && tables(mirrors).is_none()
        {
            let message = "expected `[[registry.mirror]]`".to_owned();
            return Err(problem(mirrors.span(), message));
        }
    }
    Ok(())
}

/// A table and where it stands in the text.
type Placed<'a> = (&'a dyn TableLike, Option<Range<usize>>);

/// The tables of an array in either notation, with their places; none if it is no such array.
fn tables(item: &Item) -> Option<Vec<Placed<'_>>> {
    match item {
        Item::ArrayOfTables(tables) => Some(
            tables
                .iter()
                .map(|table| (table as &dyn TableLike, table.span()))
                .collect(),
        ),
        Item::Value(Value::Array(array)) => array
            .iter()
            .map(|value| {
                let table = value.as_inline_table()?;
                Some((table as &dyn TableLike, table.span()))
            })
            .collect(),
        _ => None,
    }
}

/// The same, to be changed; [`check`] has found them all to be tables.
fn entries(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables
            .iter_mut()
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        Item::Value(Value::Array(array)) => array
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        _ => Vec::new(),
    }
}

/// `prefix`, which is `location` where it is not said.
fn prefix(entry: &dyn TableLike) -> &str {
    let text = |key| entry.get(key).and_then(Item::as_str);
    text("prefix")
        .or_else(|| text("location"))
        .unwrap_or_default()
}

fn has_location(entry: &dyn TableLike, location: &str) -> bool {
    entry.get("location").and_then(Item::as_str) == Some(location)
}

/// A new `[[registry]]` at the end of the file, after the comments there. Its own location is
/// asked after its mirrors.
fn add(registries: &mut Item, mirror: &Mirror, comments: &mut String) {
    let none = empty_as(registries);
    let mut table = Table::new();
    table.insert("prefix", value(mirror.namespace.as_str()));
    table.insert("location", value(mirror.namespace.as_str()));
    match registries {
        Item::Value(Value::Array(array)) => {
            let mut table = table.into_inline_table();
            put_first(&mut table, &mirror.location, none);
            array.push(table);
        }
        Item::ArrayOfTables(tables) => {
            put_first(&mut table, &mirror.location, none);
            table.set_position(Some(isize::MAX));
            if !comments.is_empty() {
                let comments = std::mem::take(comments);
                table.decor_mut().set_prefix(comments + "\n");
            }
            tables.push(table);
        }
        // `check` lets nothing else pass.
        _ => {}
    }
}

/// An empty array in the notation of another, since inline tables hold nothing but inline ones.
fn empty_as(item: &Item) -> Item {
    match item {
        Item::Value(_) => value(Array::new()),
        _ => Item::ArrayOfTables(ArrayOfTables::new()),
    }
}

/// Makes a mirror the first one; one with this location moves there with its other settings.
/// `none` are the mirrors of a registry without any.
fn put_first(entry: &mut dyn TableLike, location: &str, none: Item) {
    let mirrors = entry.entry("mirror").or_insert(none);
    let found = entries(mirrors)
        .iter()
        .position(|mirror| has_location(&**mirror, location));
    if found == Some(0) {
        return;
    }
    let mut fresh = Table::new();
    fresh.insert("location", value(location));
    match mirrors {
        Item::ArrayOfTables(tables) => {
            let mut first = match found {
                Some(index) => tables.remove(index),
                None => fresh,
            };
            // Without a position of its own, it is written right after its registry.
            first.set_position(None);
            tables.insert(0, first);
        }
        Item::Value(Value::Array(array)) => {
            let first = match found {
                Some(index) => array.remove(index),
                None => fresh.into_inline_table().into(),
            };
            array.insert(0, first);
            if let Some(second) = array.get_mut(1)
                && second.decor().prefix().and_then(|prefix| prefix.as_str()) == Some("")
            {
                second.decor_mut().set_prefix(" ");
            }
        }
        // `check` lets nothing else pass.
        _ => {}
    }
}

/// Line and column, both from 1.
fn place(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edits, and shows that a second time changes nothing.
    fn check(namespaces: &[&str], text: &str) -> Result<String, Problem> {
        let mirrors: Vec<_> = namespaces
            .iter()
            .map(|namespace| Mirror::new(namespace, "b.io:5000").unwrap())
            .collect();
        let after = edit(text, &mirrors)?;
        assert_eq!(edit(&after, &mirrors).unwrap(), after, "twice is once");
        Ok(after)
    }

    #[test]
    fn a_new_file_namespaces_all_but_docker_io() {
        let after = check(&["docker.io", "quay.io"], "").unwrap();
        insta::assert_snapshot!(after);
    }

    #[test]
    fn comments_stay_on_top() {
        let text = "# For more information, see containers-registries.conf(5).\n#\n# unqualified-search-registries = [\"example.com\"]\n";
        insta::assert_snapshot!(check(&["docker.io"], text).unwrap());
        let text = "# no end of line";
        insta::assert_snapshot!(check(&["docker.io"], text).unwrap());
        let text = "short-name-mode = \"enforcing\"\n# [[registry]]\n# prefix = \"example.com\"\n";
        insta::assert_snapshot!(check(&["docker.io"], text).unwrap());
    }

    #[test]
    fn the_mirror_comes_first_and_the_rest_stays() {
        let text = r#"# head
unqualified-search-registries = ["quay.io"] # ours
short-name-mode = "enforcing"

# the hub
[[registry]]
prefix = "docker.io"
location = "proxy.corp/hub" # fast

# in house
[[registry.mirror]]
location = "mirror.corp"
insecure = true

[[registry]]
location = "quay.io"
blocked = false

[[registry]]
prefix = "docker.io/library"
location = "lib.corp"

[[registry]]
prefix = "docker.iota"
location = "other"

[aliases]
"x" = "y.io/x" # last
"#;
        let after = check(&["docker.io", "quay.io", "gcr.io"], text).unwrap();
        insta::assert_snapshot!(after);
    }

    #[test]
    fn inline_arrays_stay_inline() {
        let text = "registry = [{location = \"docker.io\", mirror = [{location = \"m.corp\"}]}, {location = \"quay.io\"}]\n";
        let after = check(&["docker.io", "quay.io", "gcr.io"], text).unwrap();
        insta::assert_snapshot!(after);
        let text = "[[registry]]\nlocation = \"docker.io\"\nmirror = [{location = \"m.corp\"}]\n";
        insta::assert_snapshot!(check(&["docker.io"], text).unwrap());
    }

    #[test]
    fn a_mirror_that_is_there_moves_up_with_its_settings() {
        let text = r#"unqualified-search-registries = []
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "m.corp"
# ours
[[registry.mirror]]
location = "b.io:5000"
pull-from-mirror = "all"
"#;
        insta::assert_snapshot!(check(&["docker.io"], text).unwrap());
    }

    #[test]
    fn what_cannot_be_edited_is_told_with_its_place() {
        let messages: Vec<_> = [
            "a = [1\n",
            "[[registry]]\nlocation = \"a.io\"\n\n[registries.search]\nregistries = []\n",
            "registry = 1\n",
            "\n\n[[registry]]\ninsecure = true\n",
            "[[registry]]\nlocation = 7\n",
            "[[registry]]\nlocation = \"a.io\"\nmirror = \"b.io\"\n",
            "registry = [\"a.io\"]\n",
            "[[registry]]\nlocation = \"docker.io/library\"\nblocked = true\n",
            "[[registry]]\nlocation = \"docker.io\"\nmirror-by-digest-only = true\n",
        ]
        .iter()
        .map(|text| check(&["docker.io"], text).unwrap_err())
        .map(|problem| problem.of("r.conf".as_ref()).to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn a_namespace_is_a_registry() {
        for bad in [
            "",
            "docker",
            "quay.io:443",
            "https://quay.io",
            "a b.io",
            "*.io",
        ] {
            assert!(Mirror::new(bad, "b.io:5000").is_err(), "{bad}");
        }
        for good in ["docker.io", "quay.io/team", "localhost"] {
            assert!(Mirror::new(good, "b.io:5000").is_ok(), "{good}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = check(&["docker.io"], &text);
        }
    }
}
