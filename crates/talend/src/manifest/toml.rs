use toml_edit::{Document, Item, TableLike};

use super::{Manifest, ManifestJob, source::Source};
use crate::launcher::Position;

/// The TOML form.
pub(super) fn parse(text: &str, fault: &mut dyn FnMut(usize, String)) -> Manifest {
    let mut manifest = Manifest::default();
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().trim().replace('\n', "; ");
            fault(offset, message);
            return manifest;
        }
    };
    let root = Table::new(document.as_table(), 0);
    root.only(&["application", "job"], fault);
    if let Some(item) = document.get("application") {
        match item.as_table_like() {
            Some(table) => {
                let table = Table::new(table, start(item));
                table.only(&["name", "version", "group", "default"], fault);
                manifest.name = table.text("name", fault);
                manifest.version = table.text("version", fault);
                manifest.group = table.text("group", fault);
                manifest.default = table.text("default", fault);
            }
            None => fault(start(item), "`application` must be a table".to_owned()),
        }
    }
    if let Some(item) = document.get("job") {
        match item.as_array_of_tables() {
            Some(tables) => {
                for table in tables {
                    let offset = table.span().map_or(0, |span| span.start);
                    let table = Table::new(table, offset);
                    manifest.jobs.extend(job(text, &table, fault));
                }
            }
            None => fault(start(item), "expected `[[job]]` for each job".to_owned()),
        }
    }
    manifest
}

fn job(text: &str, table: &Table<'_>, fault: &mut dyn FnMut(usize, String)) -> Option<ManifestJob> {
    table.only(
        &["url", "coordinates", "file", "context", "entrypoint"],
        fault,
    );
    let sources: Vec<&str> = ["url", "coordinates", "file"]
        .into_iter()
        .filter(|key| table.table.get(key).is_some())
        .collect();
    let context = table.text("context", fault);
    let entrypoint = table.text("entrypoint", fault);
    let [key] = sources.as_slice() else {
        let message = "expected one of `url`, `coordinates`, `file` in each `[[job]]`";
        fault(table.offset, message.to_owned());
        return None;
    };
    let value = table.text(key, fault)?;
    let source = match *key {
        "url" => Source::url(&value),
        "file" => Ok(Source::File(value)),
        _ => value.parse().map(Source::Coordinates),
    };
    match source {
        Ok(source) => Some(ManifestJob {
            source,
            context,
            entrypoint,
            position: Position::of(text.as_bytes(), table.offset),
        }),
        Err(message) => {
            fault(table.table.get(key).map_or(0, start), message);
            None
        }
    }
}

/// A table and where it begins.
struct Table<'t> {
    table: &'t dyn TableLike,
    offset: usize,
}

impl<'t> Table<'t> {
    fn new(table: &'t dyn TableLike, offset: usize) -> Self {
        Self { table, offset }
    }

    /// Finds keys that mean nothing, which may be misspelt.
    fn only(&self, known: &[&str], fault: &mut dyn FnMut(usize, String)) {
        for (key, item) in self.table.iter() {
            if !known.contains(&key) {
                let span = self.table.key(key).and_then(toml_edit::Key::span);
                let offset = span.map_or_else(|| start(item), |span| span.start);
                let known = known.join("`, `");
                let key = key.escape_debug();
                fault(
                    offset,
                    format!("unknown key `{key}`: expected one of `{known}`"),
                );
            }
        }
    }

    fn text(&self, key: &str, fault: &mut dyn FnMut(usize, String)) -> Option<String> {
        let item = self.table.get(key)?;
        let text = item.as_str().map(str::to_owned);
        if text.is_none() {
            fault(start(item), format!("`{key}` must be a text in quotes"));
        }
        text
    }
}

fn start(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}
