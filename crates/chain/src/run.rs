//! Builds the images of a plan, as many at once as may be.

use std::{fmt, num::NonZero, sync::Arc, time::Duration};

use engine::log::{self, Log};
use futures_util::{StreamExt, stream::FuturesUnordered};
use ocicore::Cx;
use tracing::Instrument;

use crate::{Builder, Plan, Report, Result, report::Outcome, schedule::Schedule};

/// How to run a plan.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// How many images are built at once; 4.
    pub jobs: NonZero<usize>,
    /// Where events go; nowhere.
    pub events: Events,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            jobs: NonZero::<usize>::MIN.saturating_add(3),
            events: Events::default(),
        }
    }
}

impl RunOptions {
    /// Builds so many images at once.
    pub fn jobs(mut self, jobs: NonZero<usize>) -> Self {
        self.jobs = jobs;
        self
    }

    /// Tells what happens.
    pub fn events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }
}

/// Something that happened in a run. Of each image that is begun, `Started` comes first and
/// `Finished` last; of each other image of the plan only `Finished` comes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The build of an image begins.
    Started {
        /// Its key.
        key: String,
    },
    /// The build of an image has something to say.
    Log {
        /// Its key.
        key: String,
        /// What.
        event: log::Event,
    },
    /// It is clear what becomes of an image.
    Finished {
        /// Its key.
        key: String,
        /// What becomes of it.
        outcome: Outcome,
    },
}

/// Where events go. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Events {
    /// Drops all events.
    pub fn discard() -> Self {
        Self(None)
    }

    /// Gives each event to a function, which must be quick: it is called in the middle of async
    /// work.
    pub fn to(function: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(function)))
    }

    fn send(&self, event: Event) {
        if let Some(function) = &self.0 {
            function(event);
        }
    }

    /// The log of the build of an image.
    fn log(&self, key: &str) -> Log {
        let Some(function) = &self.0 else {
            return Log::discard();
        };
        let (function, key) = (Arc::clone(function), key.to_owned());
        Log::to(move |event| {
            let key = key.clone();
            function(Event::Log { key, event });
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            None => "Events::discard",
            Some(_) => "Events::to",
        })
    }
}

/// Builds the images of a plan: each as soon as all that it needs is built and there is room, the
/// first ones of the plan first. An image that fails blocks those that need it, and nothing else,
/// so that none is ever built on a parent from an earlier run.
///
/// A run that is cancelled still reports.
///
/// # Errors
/// What [`Builder::check`] says about the plan, before anything is built.
pub async fn run(
    cx: &Cx,
    plan: &Plan,
    builder: &dyn Builder,
    options: &RunOptions,
) -> Result<Report> {
    builder.check(plan)?;
    let task = cx.task("images", Some(plan.steps.len() as u64));
    let mut schedule = Schedule::new(plan);
    let mut running = FuturesUnordered::new();
    let mut outcomes: Vec<Option<(Outcome, Option<Duration>)>> = vec![None; plan.steps.len()];
    loop {
        while running.len() < options.jobs.get() && cx.check().is_ok() {
            let Some(index) = schedule.next() else {
                break;
            };
            running.push(build(cx, plan, index, builder, &options.events));
        }
        let Some((index, outcome, duration)) = running.next().await else {
            break;
        };
        let mut finished = vec![(index, outcome, Some(duration))];
        match &finished[0].1 {
            Outcome::Built { .. } => schedule.built(index),
            Outcome::Cancelled => {}
            _ => {
                let by = &plan.steps[index].key;
                let blocked = schedule.failed(index).into_iter();
                finished.extend(
                    blocked.map(|index| (index, Outcome::Blocked { by: by.clone() }, None)),
                );
            }
        }
        for (index, outcome, duration) in finished {
            let event = Event::Finished {
                key: plan.steps[index].key.clone(),
                outcome: outcome.clone(),
            };
            options.events.send(event);
            outcomes[index] = Some((outcome, duration));
            // Whether to go on is asked before each build.
            let _ = task.add(1);
        }
    }
    // Only after a cancellation there are images about which nothing is known.
    let outcomes = outcomes
        .into_iter()
        .zip(&plan.steps)
        .map(|(outcome, step)| {
            outcome.unwrap_or_else(|| {
                let (key, outcome) = (step.key.clone(), Outcome::Cancelled);
                options.events.send(Event::Finished { key, outcome });
                (Outcome::Cancelled, None)
            })
        });
    Ok(Report::new(plan, outcomes.collect()))
}

async fn build(
    cx: &Cx,
    plan: &Plan,
    index: usize,
    builder: &dyn Builder,
    events: &Events,
) -> (usize, Outcome, Duration) {
    let step = &plan.steps[index];
    let span = tracing::info_span!("build", image = %step.key);
    let begin = cx.now();
    events.send(Event::Started {
        key: step.key.clone(),
    });
    let log = events.log(&step.key);
    let outcome = match builder.build(cx, step, &log).instrument(span).await {
        Ok(id) => Outcome::Built { id },
        Err(error) => Outcome::of(&error),
    };
    let duration = cx.now().duration_since(begin).unwrap_or_default();
    (index, outcome, duration)
}
