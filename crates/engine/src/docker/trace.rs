//! What BuildKit tells while it works: vertices of its graph, which are steps, and their logs.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};
use prost::Message;

use crate::log::{Event, Lines};

/// Most vertices of which something is remembered; a build has some hundred.
const LIMIT: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Trace {
    begun: BTreeSet<String>,
    cached: BTreeSet<String>,
    /// Unfinished lines by vertex and stream.
    open: BTreeMap<(String, i64), Lines>,
}

impl Trace {
    /// The events of a message, in base64. One that cannot be read says nothing: whether the build
    /// succeeds is told elsewhere.
    pub(super) fn hear(&mut self, text: &str) -> Vec<Event> {
        let decoded = STANDARD.decode(text).map_err(|error| error.to_string());
        let message = decoded.and_then(|bytes| {
            StatusResponse::decode(bytes.as_slice()).map_err(|error| error.to_string())
        });
        match message {
            Ok(message) => self.understand(message),
            Err(error) => {
                tracing::warn!(error, "message of BuildKit");
                Vec::new()
            }
        }
    }

    /// Lines without an end.
    pub(super) fn finish(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.open)
            .into_iter()
            .filter_map(|((_, stream), lines)| Some(event(stream, lines.finish()?)))
            .collect()
    }

    fn understand(&mut self, message: StatusResponse) -> Vec<Event> {
        let mut events = Vec::new();
        for vertex in &message.vertexes {
            if vertex.started.is_some() && remember(&mut self.begun, &vertex.digest) {
                events.push(step(vertex));
            }
            if vertex.cached && remember(&mut self.cached, &vertex.digest) {
                events.push(Event::Cached {
                    instruction: step_name(&vertex.name).to_owned(),
                });
            }
        }
        for status in message.statuses {
            events.push(Event::Progress {
                id: status.id,
                status: status.name,
                current: u64::try_from(status.current).ok().filter(|&n| n > 0),
                total: u64::try_from(status.total).ok().filter(|&n| n > 0),
            });
        }
        for log in message.logs {
            self.hear_log(log, &mut events);
        }
        for vertex in message.vertexes {
            if vertex.completed.is_none() {
                continue;
            }
            for stream in [1, 2] {
                let lines = self.open.remove(&(vertex.digest.clone(), stream));
                let rest = lines.and_then(Lines::finish);
                events.extend(rest.map(|line| event(stream, line)));
            }
            if !vertex.error.is_empty() {
                events.push(Event::Message(format!("{}: {}", vertex.name, vertex.error)));
            }
        }
        events
    }

    fn hear_log(&mut self, log: VertexLog, events: &mut Vec<Event>) {
        if self.open.len() >= LIMIT {
            events.extend(self.finish());
        }
        let lines = self.open.entry((log.vertex, log.stream)).or_default();
        let whole = lines.push(&log.msg);
        events.extend(whole.into_iter().map(|line| event(log.stream, line)));
    }
}

fn event(stream: i64, line: String) -> Event {
    if stream == 2 {
        Event::Stderr(line)
    } else {
        Event::Stdout(line)
    }
}

fn remember(seen: &mut BTreeSet<String>, digest: &str) -> bool {
    if seen.len() >= LIMIT {
        seen.clear();
    }
    seen.insert(digest.to_owned())
}

/// `[stage 2/3] RUN x`; others are `[internal] …`, `exporting to image`, …
fn step(vertex: &Vertex) -> Event {
    let name = vertex.name.as_str();
    let count = name.strip_prefix('[').and_then(|rest| {
        let (count, instruction) = rest.split_once("] ")?;
        let (number, total) = count.rsplit(' ').next()?.split_once('/')?;
        Some((number.parse().ok()?, total.parse().ok()?, instruction))
    });
    match count {
        Some((number, total, instruction)) => Event::Step {
            number: Some(number),
            total: Some(total),
            instruction: instruction.to_owned(),
        },
        None => Event::Step {
            number: None,
            total: None,
            instruction: name.to_owned(),
        },
    }
}

fn step_name(name: &str) -> &str {
    match name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((count, instruction)) if count.contains('/') => instruction,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Timestamp;

    use super::*;

    fn vertex(name: &str) -> Vertex {
        Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            started: Some(Timestamp::default()),
            ..Default::default()
        }
    }

    fn log(vertex: &str, stream: i64, text: &str) -> VertexLog {
        VertexLog {
            vertex: vertex.to_owned(),
            stream,
            msg: text.into(),
            ..Default::default()
        }
    }

    #[test]
    fn vertices_are_steps_and_have_logs() {
        let mut trace = Trace::default();
        let run = "[build 2/3] RUN x";
        let first = StatusResponse {
            vertexes: vec![vertex("[internal] load context"), vertex(run)],
            logs: vec![log(run, 1, "one\ntw"), log(run, 2, "err")],
            ..Default::default()
        };
        let second = StatusResponse {
            vertexes: vec![Vertex {
                completed: Some(Timestamp::default()),
                cached: true,
                error: "it failed".to_owned(),
                ..vertex(run)
            }],
            logs: vec![log(run, 1, "o\n")],
            ..Default::default()
        };
        let mut events = trace.hear(&STANDARD.encode(first.encode_to_vec()));
        events.extend(trace.hear(&STANDARD.encode(second.encode_to_vec())));
        let wanted = [
            Event::Step {
                number: None,
                total: None,
                instruction: "[internal] load context".to_owned(),
            },
            Event::Step {
                number: Some(2),
                total: Some(3),
                instruction: "RUN x".to_owned(),
            },
            Event::Stdout("one\n".to_owned()),
            Event::Cached {
                instruction: "RUN x".to_owned(),
            },
            Event::Stdout("two\n".to_owned()),
            Event::Stderr("err".to_owned()),
            Event::Message("[build 2/3] RUN x: it failed".to_owned()),
        ];
        assert_eq!(events, wanted);
        assert_eq!(trace.finish(), []);
    }

    #[test]
    fn garbage_says_nothing() {
        let mut trace = Trace::default();
        assert_eq!(trace.hear("?"), []);
        assert_eq!(trace.hear("AAAA"), []);
    }
}
