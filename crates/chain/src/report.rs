//! What became of the images of a plan.

use std::time::Duration;

use engine::spec::ImageId;
use ocicore::{Class, causes};
use serde::{Serialize, Serializer};

use crate::{Error, Plan, Step};

/// What became of the images of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Those of the plan in its order, then those that were not selected.
    pub images: Vec<ImageReport>,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ImageReport {
    /// What it is selected by.
    pub key: String,
    /// Its first name, as short as it can be written, or its key.
    pub image: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it was built; serialized in seconds.
    #[serde(serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was built and has its names.
    Built {
        /// What it is.
        #[serde(serialize_with = "text")]
        id: ImageId,
    },
    /// It could not be built.
    Failed {
        /// Why: the error and its causes.
        errors: Vec<String>,
        /// Kind of failure.
        class: Class,
        /// Last lines of the log, oldest first.
        tail: Vec<String>,
    },
    /// It was not begun, because an image that it needs could not be built.
    Blocked {
        /// Key of that image.
        by: String,
    },
    /// It was not begun, or not finished, because the caller cancelled.
    Cancelled,
    /// It was not selected.
    Skipped,
}

impl Report {
    /// How many images became what `outcome` accepts.
    pub fn count(&self, outcome: impl Fn(&Outcome) -> bool) -> usize {
        self.images
            .iter()
            .filter(|image| outcome(&image.outcome))
            .count()
    }

    /// None if all images that were to be built were; else what kind of failure it is as a whole.
    pub fn failure(&self) -> Option<Class> {
        if self.count(|outcome| matches!(outcome, Outcome::Cancelled)) > 0 {
            return Some(Class::Cancelled);
        }
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed { .. }));
        (failed > 0).then_some(Class::Other)
    }

    pub(crate) fn new(plan: &Plan, outcomes: Vec<(Outcome, Option<Duration>)>) -> Self {
        let built = plan
            .steps
            .iter()
            .zip(outcomes)
            .map(|(step, (outcome, duration))| ImageReport {
                key: step.key.clone(),
                image: Step::label(step),
                outcome,
                duration,
            });
        let skipped = plan.skipped.iter().map(|key| ImageReport {
            key: key.clone(),
            image: key.clone(),
            outcome: Outcome::Skipped,
            duration: None,
        });
        Self {
            images: built.chain(skipped).collect(),
        }
    }
}

impl Outcome {
    pub(crate) fn of(error: &Error) -> Self {
        if error.class() == Class::Cancelled {
            return Self::Cancelled;
        }
        Self::Failed {
            errors: causes(error).map(ToString::to_string).collect(),
            class: error.class(),
            tail: error.tail().to_vec(),
        }
    }
}

fn text<S: Serializer>(id: &ImageId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration
        .map(|duration| duration.as_secs_f64())
        .serialize(serializer)
}
