//! What a build tells while it works.
//!
//! The classic builder and Podman print texts for people: steps, marks of what they made, and in
//! between what the commands print. BuildKit sends messages, see `trace`.

use super::stream::Item;
use crate::{
    log::{Event, Lines, Tail},
    spec::ImageId,
};

/// How the classic builder marks standard error.
const RED: &str = "\u{1b}[91m";
const RESET: &str = "\u{1b}[0m";

/// Something that a builder made on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Container(String),
    Image(String),
}

#[derive(Debug)]
pub(super) struct Narration {
    stdout: Lines,
    stderr: Lines,
    tail: Tail,
    step: Option<String>,
    image: Option<ImageId>,
    made: Vec<Made>,
    cached: bool,
    #[cfg(feature = "buildkit")]
    trace: super::trace::Trace,
}

impl Narration {
    pub(super) fn new() -> Self {
        Self {
            stdout: Lines::default(),
            stderr: Lines::default(),
            tail: Tail::default(),
            step: None,
            image: None,
            made: Vec::new(),
            cached: false,
            #[cfg(feature = "buildkit")]
            trace: super::trace::Trace::default(),
        }
    }

    /// The events of an item.
    pub(super) fn hear(&mut self, item: &Item) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(id) = item.aux_text("ID") {
            self.image = id.parse().ok();
        }
        #[cfg(feature = "buildkit")]
        if item.id.as_deref() == Some("moby.buildkit.trace") {
            if let Some(text) = item.aux.as_ref().and_then(|aux| aux.as_str()) {
                events = self.trace.hear(text);
            }
            return self.noted(events);
        }
        if let Some(text) = &item.stream {
            match text.strip_prefix(RED) {
                Some(red) => {
                    let text = red.strip_suffix(RESET).unwrap_or(red);
                    let lines = self.stderr.push(text.as_bytes());
                    events.extend(lines.into_iter().map(Event::Stderr));
                }
                None => {
                    let lines = self.stdout.push(text.as_bytes());
                    events.extend(lines.into_iter().filter_map(|line| self.understand(line)));
                }
            }
        }
        events.extend(item.event());
        self.noted(events)
    }

    /// The events of what was not finished.
    pub(super) fn finish(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(line) = std::mem::take(&mut self.stdout).finish() {
            events.extend(self.understand(line));
        }
        events.extend(std::mem::take(&mut self.stderr).finish().map(Event::Stderr));
        #[cfg(feature = "buildkit")]
        events.extend(self.trace.finish());
        self.noted(events)
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The step that it is at.
    pub(super) fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    /// The image, once it is there.
    pub(super) fn image(&self) -> Option<ImageId> {
        self.image
    }

    /// What it made since it was last asked.
    pub(super) fn take_made(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    fn noted(&mut self, events: Vec<Event>) -> Vec<Event> {
        for event in &events {
            self.tail.push(event);
            if let Event::Step { instruction, .. } = event {
                self.step = Some(instruction.clone());
            }
        }
        events
    }

    /// Tells the builder's own words from what commands print. A command may print the same; nothing
    /// worse comes of it than an odd event, for what is said to be made is checked before it is
    /// removed.
    fn understand(&mut self, line: String) -> Option<Event> {
        let text = line.trim_end();
        if let Some(step) = step(text) {
            self.cached = false;
            return Some(step);
        }
        let mark = text
            .strip_prefix(" ---> ")
            .or_else(|| text.strip_prefix("--> "));
        if let Some(mark) = mark {
            if mark.starts_with("Using cache") {
                self.cached = true;
                return Some(Event::Cached {
                    instruction: self.step.clone().unwrap_or_default(),
                });
            }
            if let Some(id) = mark.strip_prefix("Running in ").filter(|id| is_id(id)) {
                self.made.push(Made::Container(id.to_owned()));
                return None;
            }
            if is_id(mark) {
                if !self.cached {
                    self.made.push(Made::Image(mark.to_owned()));
                }
                return None;
            }
        }
        if text.starts_with("Removing intermediate container ") {
            return None;
        }
        let own = ["Successfully built ", "Successfully tagged ", "COMMIT"];
        if own.iter().any(|own| text.starts_with(own)) {
            return Some(Event::Message(text.to_owned()));
        }
        // The classic builder ends each step's line by an item of its own.
        if line == "\n" && self.tail.lines().is_empty() {
            return None;
        }
        Some(Event::Stdout(line))
    }
}

/// `Step 2/3 : RUN x` of Docker, `STEP 2/3: RUN x` of Podman, also with `[1/2] ` before it.
fn step(line: &str) -> Option<Event> {
    let line = match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ")?.1,
        None => line,
    };
    let rest = line
        .strip_prefix("Step ")
        .or_else(|| line.strip_prefix("STEP "))?;
    let (count, instruction) = rest.split_once(": ")?;
    let (number, total) = count.trim_end().split_once('/')?;
    let (number, total) = (number.parse().ok()?, total.parse().ok()?);
    Some(Event::Step {
        number: Some(number),
        total: Some(total),
        instruction: instruction.trim().to_owned(),
    })
}

fn is_id(text: &str) -> bool {
    (10..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lines: &[&str]) -> (Vec<Event>, Narration) {
        let mut narration = Narration::new();
        let mut events = Vec::new();
        for line in lines {
            events.extend(narration.hear(&serde_json::from_str(line).unwrap()));
        }
        events.extend(narration.finish());
        (events, narration)
    }

    fn step(number: u32, total: u32, instruction: &str) -> Event {
        Event::Step {
            number: Some(number),
            total: Some(total),
            instruction: instruction.to_owned(),
        }
    }

    const ID: &str = "04c8c647e492947ca53f1cb3adf67f725ac2a86e973541f1b33c329d8ddefd04";

    #[test]
    fn the_classic_builder_is_understood() {
        let aux = format!("{{\"aux\":{{\"ID\":\"sha256:{ID}\"}}}}");
        let (events, mut narration) = hear(&[
            r#"{"stream":"Step 1/3 : FROM a"}"#,
            r#"{"stream":"\n"}"#,
            r#"{"stream":" ---\u003e f19b26cb543b\n"}"#,
            r#"{"stream":"Step 2/3 : RUN b"}"#,
            r#"{"stream":"\n"}"#,
            r#"{"stream":" ---\u003e Using cache\n"}"#,
            r#"{"stream":" ---\u003e 111111111111\n"}"#,
            r#"{"stream":"Step 3/3 : RUN c"}"#,
            r#"{"stream":"\n"}"#,
            r#"{"stream":" ---\u003e Running in 26833d2c544e\n"}"#,
            r#"{"stream":"\u001b[91merr\n\u001b[0m"}"#,
            r#"{"stream":"ou"}"#,
            r#"{"stream":"t\n"}"#,
            r#"{"stream":" ---\u003e 04c8c647e492\n"}"#,
            &aux,
        ]);
        let wanted = [
            step(1, 3, "FROM a"),
            step(2, 3, "RUN b"),
            Event::Cached {
                instruction: "RUN b".to_owned(),
            },
            step(3, 3, "RUN c"),
            Event::Stderr("err\n".to_owned()),
            Event::Stdout("out\n".to_owned()),
        ];
        assert_eq!(events, wanted);
        assert_eq!(narration.image(), format!("sha256:{ID}").parse().ok());
        assert_eq!(narration.step(), Some("RUN c"));
        let made = [
            Made::Image("f19b26cb543b".to_owned()),
            Made::Container("26833d2c544e".to_owned()),
            Made::Image("04c8c647e492".to_owned()),
        ];
        assert_eq!(narration.take_made(), made);
    }

    #[test]
    fn podman_is_understood() {
        let (events, mut narration) = hear(&[
            r#"{"stream":"[1/2] STEP 1/2: FROM a AS b\n"}"#,
            r#"{"stream":"STEP 2/2: RUN c\n"}"#,
            r#"{"stream":"--\u003e c9d6884e2e2\n"}"#,
            r#"{"stream":"last"}"#,
        ]);
        let wanted = [
            step(1, 2, "FROM a AS b"),
            step(2, 2, "RUN c"),
            Event::Stdout("last".to_owned()),
        ];
        assert_eq!(events, wanted);
        assert_eq!(narration.image(), None);
        assert_eq!(
            narration.take_made(),
            [Made::Image("c9d6884e2e2".to_owned())]
        );
    }

    #[test]
    fn pulls_are_told() {
        let (events, _) = hear(&[
            r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a1"}"#,
            r#"{"status":"Digest: x"}"#,
        ]);
        let wanted = [
            Event::Progress {
                id: "a1".to_owned(),
                status: "Downloading".to_owned(),
                current: Some(1),
                total: Some(2),
            },
            Event::Message("Digest: x".to_owned()),
        ];
        assert_eq!(events, wanted);
    }
}
