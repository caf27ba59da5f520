//! Files of configuration, and where in them a fault is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml_edit::{Document, Item, TableLike};

use crate::{Error, Result};

/// Most bytes of a file of configuration or certificates.
const FILE_LIMIT: u64 = 4 << 20;

/// A file whole.
pub(super) fn read(path: &Path) -> Result<String> {
    let fault = |error: io::Error| fault(&path.display().to_string(), error.to_string());
    if fs::metadata(path).map_err(fault)?.len() > FILE_LIMIT {
        return Err(fault(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read_to_string(path).map_err(fault)
}

/// The directories in one, by name; none if it is not there.
pub(super) fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(path)?
        .into_iter()
        .filter(|entry| entry.is_dir())
        .collect())
}

/// The files in a directory, by name.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(path)?
        .into_iter()
        .filter(|entry| entry.is_file())
        .collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let fault = |error: io::Error| fault(&path.display().to_string(), error.to_string());
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(fault)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn fault(path: &str, fault: impl Into<String>) -> Error {
    Error::Hosts {
        path: path.to_owned(),
        line: 0,
        fault: fault.into(),
    }
}

/// A TOML document that knows its name.
pub(super) struct Toml<'a> {
    path: &'a str,
    document: Document<&'a str>,
}

impl<'a> Toml<'a> {
    pub(super) fn parse(path: &'a str, text: &'a str) -> Result<Self> {
        let document = Document::parse(text).map_err(|error| Error::Hosts {
            path: path.to_owned(),
            line: line(text, error.span().map_or(0, |span| span.start)),
            fault: error.message().replace('\n', ", "),
        })?;
        Ok(Self { path, document })
    }

    pub(super) fn root(&self) -> &dyn TableLike {
        self.document.as_table()
    }

    /// What is wrong with a part of it.
    pub(super) fn fault(&self, item: Option<&Item>, fault: impl Into<String>) -> Error {
        let start = item.and_then(Item::span).map_or(0, |span| span.start);
        Error::Hosts {
            path: self.path.to_owned(),
            line: line(self.document.raw(), start),
            fault: fault.into(),
        }
    }

    pub(super) fn text<'t>(&self, table: &'t dyn TableLike, key: &str) -> Result<Option<&'t str>> {
        self.value(table, key, "a text", Item::as_str)
    }

    pub(super) fn flag(&self, table: &dyn TableLike, key: &str) -> Result<bool> {
        let flag = self.value(table, key, "`true` or `false`", Item::as_bool)?;
        Ok(flag.unwrap_or_default())
    }

    /// The tables of an array of tables.
    pub(super) fn tables<'t>(
        &self,
        table: &'t dyn TableLike,
        key: &str,
    ) -> Result<Vec<&'t dyn TableLike>> {
        let all = |item: &'t Item| {
            let tables = item.as_array_of_tables()?.iter();
            Some(tables.map(|table| table as &dyn TableLike).collect())
        };
        let tables = self.value(table, key, "tables", all)?;
        Ok(tables.unwrap_or_default())
    }

    pub(super) fn value<'t, T>(
        &self,
        table: &'t dyn TableLike,
        key: &str,
        expected: &str,
        read: impl Fn(&'t Item) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(item) = table.get(key) else {
            return Ok(None);
        };
        match read(item) {
            Some(value) => Ok(Some(value)),
            None => {
                let kind = item.type_name();
                Err(self.fault(
                    Some(item),
                    format!("`{key}` is of type {kind}, expected {expected}"),
                ))
            }
        }
    }
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}
