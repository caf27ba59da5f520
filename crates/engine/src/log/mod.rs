//! Output of builds and containers as typed events.
//!
//! Events are lines. Nothing is lost and nothing is hoarded: whoever produces events waits until
//! they are taken, and the engine waits with it. Bytes that are no UTF-8 become U+FFFD.

mod lines;
mod tail;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::mpsc;

pub use lines::Lines;
pub use tail::Tail;

/// Something that happened while an engine worked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A step of a build begins.
    Step {
        /// Its number, from 1, where the engine counts.
        number: Option<u32>,
        /// How many there are.
        total: Option<u32>,
        /// The instruction.
        instruction: String,
    },
    /// The result of an earlier build was taken for this step.
    Cached {
        /// The instruction.
        instruction: String,
    },
    /// A line of standard output, with its line feed. Longer ones than 16 KiB come in pieces, of
    /// which only the last has it.
    Stdout(String),
    /// A line of standard error, as above.
    Stderr(String),
    /// How far something is that has an end: a layer that is pulled or pushed.
    Progress {
        /// What it is about, for example the id of a layer; empty for the whole.
        id: String,
        /// What is being done.
        status: String,
        /// Bytes done.
        current: Option<u64>,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// What the engine itself has to say: a line without line feed.
    Message(String),
}

/// Where events go. Cheap to clone.
#[derive(Clone, Default)]
pub struct Log(Option<Target>);

#[derive(Clone)]
enum Target {
    Channel(mpsc::Sender<Event>),
    Function(Arc<dyn Fn(Event) + Send + Sync>),
}

impl Log {
    /// Drops all events.
    pub fn discard() -> Self {
        Self(None)
    }

    /// Gives each event to a function, which must be quick: it is called in the middle of async
    /// work.
    pub fn to(function: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Target::Function(Arc::new(function))))
    }

    /// A stream of events, which somebody else must read at the same time: when `capacity` events
    /// wait, the engine waits for the reader. When the stream is dropped, events are discarded.
    ///
    /// # Panics
    /// If `capacity` is 0.
    pub fn channel(capacity: usize) -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(Some(Target::Channel(sender))), Events(receiver))
    }

    /// Passes an event on, waiting for the reader where there is one.
    pub async fn send(&self, event: Event) {
        match &self.0 {
            None => {}
            Some(Target::Function(function)) => function(event),
            // A reader that has gone is not interested.
            Some(Target::Channel(sender)) => drop(sender.send(event).await),
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            None => "Log::discard",
            Some(Target::Function(_)) => "Log::to",
            Some(Target::Channel(_)) => "Log::channel",
        })
    }
}

/// The stream of [`Log::channel`]; it ends when all clones of the log are gone.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_channel_makes_the_writer_wait_and_loses_nothing() {
        let (log, events) = Log::channel(1);
        let writer = tokio::spawn(async move {
            for n in 0..100 {
                log.send(Event::Message(n.to_string())).await;
            }
        });
        let seen: Vec<Event> = events.collect().await;
        writer.await.unwrap();
        let wanted: Vec<Event> = (0..100).map(|n| Event::Message(n.to_string())).collect();
        assert_eq!(seen, wanted);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_blocks_nobody() {
        let (log, events) = Log::channel(1);
        drop(events);
        for _ in 0..3 {
            log.send(Event::Message(String::new())).await;
        }
    }

    #[tokio::test]
    async fn a_function_gets_each_event() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Log::to({
            let seen = Arc::clone(&seen);
            move |event| seen.lock().unwrap().push(event)
        });
        log.send(Event::Stdout("hi\n".to_owned())).await;
        assert_eq!(*seen.lock().unwrap(), [Event::Stdout("hi\n".to_owned())]);
    }
}
