use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{Descriptor, Digest, Error, Platform, Result};

/// An image's config (image-spec config.md): its bytes as they came, and what is asked of them
/// often. Everything else is in [`Config::json`]; nothing is lost, for Docker writes fields that
/// the specification does not know (`Healthcheck`, `OnBuild`, `Shell`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    bytes: Bytes,
    json: Map<String, Value>,
    diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads the content of `descriptor`.
    ///
    /// # Errors
    /// [`Error::Document`] if it is no JSON object or its `diff_ids` are no digests.
    pub(crate) fn parse(bytes: Bytes, descriptor: &Descriptor) -> Result<Self> {
        let fault = |source| Error::Document {
            what: "config",
            digest: (*descriptor.digest()).into(),
            source,
        };
        let json: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| fault(error.into()))?;
        let ids = json.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids"));
        let diff_ids = match ids {
            None | Some(Value::Null) => Vec::new(),
            Some(ids) => {
                serde_json::from_value(ids.clone()).map_err(|error| fault(error.into()))?
            }
        };
        Ok(Self {
            bytes,
            json,
            diff_ids,
        })
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// Digests of the uncompressed layers, from the bottom up.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// Operating system and architecture; what is not said is empty.
    pub fn platform(&self) -> Platform {
        let text = |key: &str| {
            self.json
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let plain = Platform::new(text("os"), text("architecture"));
        match text("variant") {
            "" => plain,
            variant => format!("{plain}/{variant}").parse().unwrap_or(plain),
        }
    }

    /// The labels, sorted by key.
    pub fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let labels = self.execution().and_then(|config| config.get("Labels"));
        serde_json::from_value(labels.cloned().unwrap_or(json!({}))).unwrap_or_default()
    }

    /// The environment as `KEY=value`.
    pub fn env(&self) -> Vec<String> {
        self.words("Env")
    }

    /// The entry point.
    pub fn entrypoint(&self) -> Vec<String> {
        self.words("Entrypoint")
    }

    /// The default arguments.
    pub fn cmd(&self) -> Vec<String> {
        self.words("Cmd")
    }

    /// The user, or nothing for root.
    pub fn user(&self) -> &str {
        self.execution()
            .and_then(|config| config.get("User")?.as_str())
            .unwrap_or_default()
    }

    fn words(&self, key: &str) -> Vec<String> {
        let words = self.execution().and_then(|config| config.get(key)).cloned();
        words
            .and_then(|words| serde_json::from_value(words).ok())
            .unwrap_or_default()
    }

    /// The part that says how to run it.
    fn execution(&self) -> Option<&Map<String, Value>> {
        self.json.get("config")?.as_object()
    }
}

/// JSON with sorted keys, whatever order the maps have: same value, same bytes.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.iter().collect();
                pairs.sort_by_key(|(key, _)| *key);
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect()
            }
            Value::Array(list) => list.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string().into_bytes()
}
