//! What happens at an engine.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Limited};
use jiff::{SignedDuration, Timestamp};
use ocicore::BoxStream;
use serde::Deserialize;

use super::{
    Docker,
    fault::Deed,
    get,
    http::Failure,
    stream::{Objects, query},
};
use crate::{EngineEvent, Error, Label, Result, log::Tail, spec::ContainerId};

/// Largest answer to what an engine is.
const DOCUMENT_LIMIT: usize = 4 << 20;
const MARGIN: SignedDuration = SignedDuration::from_secs(1);
/// How long the engine has for telling the end of a container that it knows to have ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers in a row that may end without an event.
const EMPTY_ANSWERS: u32 = 10;

impl Docker {
    /// What happens after this was called. The engine answers before it listens to itself, so that
    /// something may happen in between: it is asked for all since a time before, by its own clock.
    pub(super) async fn watch(&self, labels: &[Label]) -> Result<BoxStream<EngineEvent>> {
        let deed = Deed::new("watch", "engine", self.endpoint());
        let since = self.now(&deed).await?;
        let labels = labels.iter().map(ToString::to_string).collect();
        let watch = Watch::open(self, deed, ("label", labels), since).await?;
        let events = stream::try_unfold(watch, async |mut watch| {
            let event = watch.next().await?;
            Ok::<_, Error>(Some((event, watch)))
        });
        Ok(events.map_err(ocicore::Error::from).boxed())
    }

    /// Whether a container that has ended was sent no signal since it started. False if the engine
    /// no longer knows. (Engines write down a signal before they tell the end that it led to.)
    pub(super) async fn had_no_signal(&self, id: &ContainerId, started: Timestamp) -> Result<bool> {
        let deed = Deed::new("watch", "container", id);
        // It is told a bit before or after what counts as the start.
        let since = started.saturating_sub(MARGIN).unwrap_or(started);
        // Not until now: Podman then tells nothing, and the end may be told only after it is known.
        let told = async {
            let filter = ("container", vec![id.to_string()]);
            let mut watch = Watch::open(self, deed, filter, since).await?;
            let mut quiet = false;
            loop {
                match watch.next().await?.action.as_str() {
                    "start" => quiet = true,
                    "kill" => quiet = false,
                    "die" => return Ok(quiet),
                    _ => {}
                }
            }
        };
        let told = tokio::time::timeout(PATIENCE, told).await;
        told.unwrap_or(Ok(false))
    }

    /// The time by the engine's own clock.
    async fn now(&self, deed: &Deed) -> Result<Timestamp> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct RawInfo {
            system_time: String,
        }
        let request = get("/info").map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        let answer = answer.map_err(|failure| deed.failed(failure))?;
        let body: Bytes = Limited::new(answer.into_body(), DOCUMENT_LIMIT)
            .collect()
            .await
            .map_err(|error| deed.failed(Failure::Broken(error)))?
            .to_bytes();
        let info: RawInfo = serde_json::from_slice(&body).map_err(|error| deed.garbled(error))?;
        info.system_time
            .parse()
            .map_err(|error| deed.garbled(error))
    }
}

/// Events since a time. An answer that ends is asked for again, from where it ended: Podman ends it
/// when it begins a new file of events.
struct Watch {
    engine: Docker,
    deed: Deed,
    /// As JSON.
    filters: String,
    answer: Objects,
    /// Nanoseconds since 1970 of the last event.
    last: i128,
    /// Up to when events were told by an answer before.
    told: i128,
    /// Answers in a row that ended without an event.
    empty: u32,
}

impl Watch {
    async fn open(
        engine: &Docker,
        deed: Deed,
        filter: (&str, Vec<String>),
        since: Timestamp,
    ) -> Result<Self> {
        let filters = HashMap::from([filter]);
        let filters = serde_json::to_string(&filters).map_err(|error| deed.garbled(error))?;
        let since = since.as_nanosecond();
        Ok(Self {
            answer: ask(engine, &deed, &filters, since).await?,
            engine: engine.clone(),
            deed,
            filters,
            last: since,
            told: since,
            empty: 0,
        })
    }

    /// The next event; there always is one, or the engine goes away.
    async fn next(&mut self) -> Result<EngineEvent> {
        loop {
            let line = self.answer.next().await;
            let line = line.map_err(|stop| stop.into_error(&self.deed, &Tail::default()))?;
            let Some(line) = line else {
                self.resume().await?;
                continue;
            };
            let raw: RawEvent =
                serde_json::from_slice(&line).map_err(|error| self.deed.garbled(error))?;
            // Engines tell some that are a bit older than what they were asked for.
            let time = raw.time_nano.map(i128::from);
            if time.is_some_and(|time| time <= self.told) {
                continue;
            }
            self.empty = 0;
            // Events of one moment may be out of order.
            self.last = self.last.max(time.unwrap_or(self.last));
            return Ok(raw.into());
        }
    }

    async fn resume(&mut self) -> Result<()> {
        self.empty += 1;
        if self.empty > EMPTY_ANSWERS {
            return Err(self.deed.vanished(Tail::default(), None));
        }
        tracing::debug!(endpoint = %self.engine.endpoint(), "the answer ended, asking again");
        self.answer = ask(&self.engine, &self.deed, &self.filters, self.last).await?;
        self.told = self.last;
        Ok(())
    }
}

async fn ask(engine: &Docker, deed: &Deed, filters: &str, since: i128) -> Result<Objects> {
    let pairs = [("filters", filters.to_owned()), ("since", seconds(since))];
    let request = get(&format!("/events?{}", query(pairs)));
    let request = request.map_err(|error| deed.garbled(error))?;
    let answer = engine.http().ask(request).await;
    Ok(Objects::new(
        answer.map_err(|failure| deed.failed(failure))?,
    ))
}

/// As the engines want times: seconds since 1970, with nine digits of a fraction.
fn seconds(nanos: i128) -> String {
    let nanos = nanos.max(0);
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawEvent {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    actor: RawActor,
    /// Docker and Podman both tell it.
    #[serde(rename = "timeNano")]
    time_nano: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawActor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: Option<BTreeMap<String, String>>,
}

impl From<RawEvent> for EngineEvent {
    fn from(raw: RawEvent) -> Self {
        Self {
            kind: raw.r#type,
            action: raw.action,
            subject: raw.actor.id,
            attributes: raw.actor.attributes.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_nanosecond() {
        let check = |time: &str, expected: &str| {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(seconds(time.as_nanosecond()), expected);
        };
        check("1970-01-01T00:00:01.5Z", "1.500000000");
        check(
            "2026-11-21T13:09:48.098785354+01:00",
            "1795262988.098785354",
        );
    }

    #[test]
    fn events_lack_what_they_do_not_have() {
        let read =
            |json: &str| -> EngineEvent { serde_json::from_str::<RawEvent>(json).unwrap().into() };
        let event = read(
            r#"{"status":"die","Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"3"}},"time":1}"#,
        );
        assert_eq!(
            (&*event.kind, &*event.action, &*event.subject),
            ("container", "die", "a")
        );
        assert_eq!(event.attributes["exitCode"], "3");
        let event = read(r#"{"Type":"daemon","Action":"reload","Actor":{"Attributes":null}}"#);
        assert!(event.subject.is_empty() && event.attributes.is_empty());
    }
}
