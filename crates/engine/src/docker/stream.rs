//! Answers that come as a stream of JSON objects: of builds, pulls, pushes and loads.
//!
//! An object says that it is an error by `errorDetail` or by `error`, or by both; a stream that only
//! looks at one of them takes some failures for successes.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use super::{
    fault::{Deed, Refusal},
    http::Answer,
};
use crate::{
    Error,
    log::{Event, Tail},
};

/// Longest object. BuildKit sends pieces of logs of up to 1 MiB, in base64.
const LIMIT: usize = 16 << 20;

/// One object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    pub(super) id: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) status: Option<String>,
    #[serde(rename = "progressDetail")]
    progress: Option<Progress>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
    pub(super) aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    current: Option<i64>,
    total: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    code: Option<i64>,
    message: Option<String>,
}

impl Item {
    /// The event of an item that tells a status.
    pub(super) fn event(&self) -> Option<Event> {
        let status = self.status.clone()?;
        let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
        let (current, total) = match &self.progress {
            Some(progress) => (bytes(progress.current), bytes(progress.total)),
            None => (None, None),
        };
        Some(match &self.id {
            Some(id) => Event::Progress {
                id: id.clone(),
                status,
                current,
                total,
            },
            None => Event::Message(status.trim_end().to_owned()),
        })
    }

    /// A text of the item's `aux`.
    pub(super) fn aux_text(&self, key: &str) -> Option<&str> {
        self.aux.as_ref()?.get(key)?.as_str()
    }
}

/// Why there is no next item.
#[derive(Debug)]
pub(super) enum Stop {
    /// The engine says that it failed; with an exit code, if a command did.
    Failed(Refusal, Option<i64>),
    /// The connection broke.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// It is no such stream.
    Garbled(String),
}

impl Stop {
    pub(super) fn into_error(self, deed: &Deed, tail: &Tail) -> Error {
        match self {
            Self::Failed(refusal, _) => deed.refused(refusal),
            Self::Broken(source) => deed.vanished(tail.clone(), Some(source)),
            Self::Garbled(fault) => deed.garbled(fault),
        }
    }
}

/// Reads items, each checked.
#[derive(Debug)]
pub(super) struct Items(Objects);

impl Items {
    pub(super) fn new(answer: Answer) -> Self {
        Self(Objects::new(answer))
    }

    /// The next item; none at an end that looks regular, which alone is no success.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Stop> {
        let Some(object) = self.0.next().await? else {
            return Ok(None);
        };
        match checked(&object) {
            Err(Stop::Garbled(_)) if self.0.ended => {
                Err(Stop::Broken("it ends in the middle of an object".into()))
            }
            item => item.map(Some),
        }
    }
}

/// Reads objects, one on each line, as they come.
#[derive(Debug)]
pub(super) struct Objects {
    body: Incoming,
    buffer: BytesMut,
    /// How far the buffer was searched for a line feed.
    searched: usize,
    ended: bool,
}

impl Objects {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            body: answer.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
        }
    }

    /// The next one, unread; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<BytesMut>, Stop> {
        loop {
            let found = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n');
            let line = match found {
                Some(at) => {
                    let line = self.buffer.split_to(self.searched + at);
                    self.buffer.advance(1);
                    line
                }
                None if self.ended && self.buffer.is_empty() => return Ok(None),
                None if self.ended => self.buffer.split(),
                None => {
                    self.searched = self.buffer.len();
                    self.fill().await?;
                    continue;
                }
            };
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Stop> {
        if self.buffer.len() > LIMIT {
            let fault = format!("an object of its stream is larger than {LIMIT} bytes");
            return Err(Stop::Garbled(fault));
        }
        match self.body.frame().await {
            None => self.ended = true,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => return Err(Stop::Broken(error.into())),
        }
        Ok(())
    }
}

fn checked(line: &[u8]) -> Result<Item, Stop> {
    let item: Item = serde_json::from_slice(line).map_err(|error| {
        let shown: String = String::from_utf8_lossy(line).chars().take(200).collect();
        Stop::Garbled(format!("`{shown}` is no object of its stream: {error}"))
    })?;
    if item.error.is_none() && item.detail.is_none() {
        return Ok(item);
    }
    let code = item.detail.as_ref().and_then(|detail| detail.code);
    let message = item
        .detail
        .and_then(|detail| detail.message)
        .or(item.error)
        .unwrap_or_else(|| "it does not say why".to_owned());
    Err(Stop::Failed(Refusal::late(message), code))
}

/// A query of pairs, escaped.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// A map as the engines want it in a query.
pub(super) fn json_map(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).expect("a map of texts is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> Option<(String, Option<i64>)> {
        match checked(line.as_bytes()) {
            Ok(_) => None,
            Err(Stop::Failed(refusal, code)) => Some((refusal.message, code)),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_forms_of_an_error_are_found() {
        let check = |line: &str, message: &str, code: Option<i64>| {
            assert_eq!(failure(line), Some((message.to_owned(), code)), "{line}");
        };
        check(
            r#"{"errorDetail":{"code":3,"message":"m"},"error":"m"}"#,
            "m",
            Some(3),
        );
        // Podman's.
        check(r#"{"error":"m\n"}"#, "m", None);
        check(r#"{"errorDetail":{"message":"m"}}"#, "m", None);
        check(r#"{"error":"m","errorDetail":{}}"#, "m", None);
        check(r#"{"errorDetail":{}}"#, "it does not say why", None);
        assert_eq!(failure(r#"{"stream":"error"}"#), None);
        assert_eq!(failure(r#"{"error":null,"status":"x"}"#), None);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(matches!(checked(b"<html>"), Err(Stop::Garbled(_))));
        assert!(matches!(checked(b"{\"stream\":1}"), Err(Stop::Garbled(_))));
    }
}
