use serde_json::{Map, Value, json};

use super::{Layout, REF_NAME, disk::read_limited};
use crate::{Descriptor, Error, Result, Tag};

impl Layout {
    pub(super) fn read_index(&self) -> Result<Map<String, Value>> {
        let path = self.root.join("index.json");
        let bytes = read_limited(&path, self.limits.config())
            .map_err(|error| self.io("read", &path, error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.bad_index(&error.to_string()))
    }

    /// Reads, edits and replaces `index.json` under the lock.
    pub(super) fn edit_index(
        &self,
        edit: impl FnOnce(&mut Vec<Value>) -> Result<()>,
    ) -> Result<()> {
        let lock = || {
            let guard = self.guard()?;
            guard.lock().map(|()| guard)
        };
        let _guard = lock().map_err(|error| self.io("lock", &self.root, error))?;
        let mut index = self.read_index()?;
        let list = index.entry("manifests").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        let Value::Array(manifests) = list else {
            return Err(self.bad_index("`manifests` is no list"));
        };
        let before = manifests.clone();
        edit(manifests)?;
        if *manifests == before {
            return Ok(());
        }
        let bytes = Value::Object(index).to_string();
        self.replace("index.json", bytes.as_bytes())
            .map_err(|error| self.io("write", &self.root.join("index.json"), error))
    }

    pub(super) fn bad_index(&self, fault: &str) -> Error {
        Error::Format {
            path: self.root.join("index.json").display().to_string(),
            fault: fault.to_owned(),
        }
    }
}

/// Lists a root under its tags, taking each tag from whatever had it.
pub(super) fn list_root(entries: &mut Vec<Value>, root: &Descriptor, tags: &[Tag]) {
    let digest = root.digest().to_string();
    for tag in tags {
        entries.retain(|entry| ref_name(entry) != Some(tag.as_str()));
    }
    if tags.is_empty() {
        if !entries
            .iter()
            .any(|entry| entry["digest"].as_str() == Some(&digest))
        {
            entries.push(json!(root));
        }
        return;
    }
    // An unnamed entry has become a named one.
    entries.retain(|entry| entry["digest"].as_str() != Some(&digest) || ref_name(entry).is_some());
    entries.extend(
        tags.iter()
            .map(|tag| json!(root.clone().with_annotation(REF_NAME, tag.as_str()))),
    );
}

pub(super) fn entries(index: &Map<String, Value>) -> &[Value] {
    index
        .get("manifests")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn ref_name(entry: &Value) -> Option<&str> {
    entry["annotations"][REF_NAME].as_str()
}
