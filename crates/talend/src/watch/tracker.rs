//! What becomes of a file: seen, stable, taken, done or failed. No file is touched here, and time is
//! an argument, so that all of it can be tested as data.

use std::{collections::BTreeMap, time::Duration};

use super::Stamp;

/// Time since the watch began.
pub(crate) type Moment = Duration;

/// When a file is taken, and how often it is tried.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How long size and times must stay as they are.
    pub(crate) settle: Duration,
    /// How long a file that is no whole zip may stay as it is before that is an error.
    pub(crate) patience: Duration,
    /// How often a failure that may pass is tried again.
    pub(crate) retries: u32,
    /// Pause before the first of these; each one is twice as long.
    pub(crate) pause: Duration,
    /// Most files in work.
    pub(crate) parallel: usize,
}

/// Files of the folder, by their paths in it.
#[derive(Debug)]
pub(crate) struct Tracker {
    rules: Rules,
    files: BTreeMap<String, Tracked>,
}

#[derive(Clone, Debug)]
struct Tracked {
    stamp: Stamp,
    phase: Phase,
}

/// Where a file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It may still be written to.
    Seen {
        /// Since when it is as it is.
        since: Moment,
        /// Why it is no whole zip, if somebody looked.
        fault: Option<String>,
    },
    /// Nobody writes to it, and it is a whole zip: it waits for its turn.
    Stable {
        /// How often it failed before.
        attempts: u32,
    },
    /// It is in work.
    Taken {
        attempts: u32,
        /// Whether it is another file by now.
        changed: bool,
        /// Whether it is gone by now.
        gone: bool,
    },
    /// It was processed.
    Done,
    /// It could not be processed.
    Failed {
        error: String,
        attempts: u32,
        /// When it is tried again; only when it changes if none.
        again: Option<Moment>,
    },
}

/// How work on a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Well.
    Done,
    /// It was written to meanwhile, so that nothing is known of it.
    Changed,
    /// Not well.
    Failed {
        error: String,
        /// Whether it may work when it is tried again as it is.
        transient: bool,
    },
}

/// What is to be remembered after work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing: it is looked at again.
    Again,
    /// It was processed with this stamp.
    Done(Stamp),
    /// It failed with this stamp.
    Failed {
        stamp: Stamp,
        error: String,
        /// Whether it is tried again as it is.
        again: bool,
        /// Whether it may work after a restart.
        transient: bool,
    },
}

impl Tracker {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            files: BTreeMap::new(),
        }
    }

    /// Takes note of all files that are there. What is `known` of a file that is new here stays so;
    /// returns those of which it is known that they failed, with the reason.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        seen: &BTreeMap<String, Stamp>,
        known: impl Fn(&str, &Stamp) -> Option<Phase>,
    ) -> Vec<(String, String)> {
        let mut failed = Vec::new();
        for (path, tracked) in &mut self.files {
            if let (Phase::Taken { gone, .. }, None) = (&mut tracked.phase, seen.get(path)) {
                *gone = true;
            }
        }
        self.files
            .retain(|path, tracked| seen.contains_key(path) || tracked.phase.is_taken());
        for (path, stamp) in seen {
            let fresh = Phase::Seen {
                since: now,
                fault: None,
            };
            let Some(tracked) = self.files.get_mut(path) else {
                let tracked = Tracked {
                    stamp: stamp.clone(),
                    phase: known(path, stamp).unwrap_or(fresh),
                };
                if let Phase::Failed { error, .. } = &tracked.phase {
                    failed.push((path.clone(), error.clone()));
                }
                self.files.insert(path.clone(), tracked);
                continue;
            };
            let same = tracked.stamp == *stamp;
            tracked.stamp = stamp.clone();
            match &mut tracked.phase {
                Phase::Taken { changed, gone, .. } => {
                    *changed |= !same || *gone;
                    *gone = false;
                }
                _ if same => {}
                phase => *phase = fresh,
            }
        }
        failed
    }

    /// Files that nobody has written to for long enough to see whether they are whole.
    pub(crate) fn settled(&self, now: Moment) -> Vec<String> {
        let settled = self
            .files
            .iter()
            .filter(|(_, tracked)| match tracked.phase {
                Phase::Seen { since, .. } => now >= since + self.rules.settle,
                _ => false,
            });
        settled.map(|(path, _)| path.clone()).collect()
    }

    /// A file was looked into: it is a whole zip, or is not. Returns the stamp of one that now counts
    /// as failed.
    pub(crate) fn probed(
        &mut self,
        now: Moment,
        path: &str,
        result: Result<(), String>,
    ) -> Option<Stamp> {
        let tracked = self.files.get_mut(path)?;
        let Phase::Seen { since, fault } = &mut tracked.phase else {
            return None;
        };
        match result {
            Ok(()) => tracked.phase = Phase::Stable { attempts: 0 },
            Err(error) if now < *since + self.rules.patience => *fault = Some(error),
            Err(error) => {
                tracked.phase = Phase::Failed {
                    error,
                    attempts: 1,
                    again: None,
                };
                return Some(tracked.stamp.clone());
            }
        }
        None
    }

    /// Takes as many files as there may be in work, in the order of their paths.
    pub(crate) fn take(&mut self, now: Moment) -> Vec<(String, Stamp)> {
        let free = self.rules.parallel.saturating_sub(self.in_work());
        let mut taken = Vec::new();
        for (path, tracked) in &mut self.files {
            let attempts = match &tracked.phase {
                Phase::Stable { attempts } => *attempts,
                Phase::Failed {
                    attempts,
                    again: Some(at),
                    ..
                } if now >= *at => *attempts,
                _ => continue,
            };
            if taken.len() == free {
                break;
            }
            tracked.phase = Phase::Taken {
                attempts,
                changed: false,
                gone: false,
            };
            taken.push((path.clone(), tracked.stamp.clone()));
        }
        taken
    }

    /// Work on a file has ended.
    pub(crate) fn finished(&mut self, now: Moment, path: &str, verdict: Verdict) -> Settled {
        let Some(tracked) = self.files.get_mut(path) else {
            return Settled::Again;
        };
        let Phase::Taken {
            attempts,
            changed,
            gone,
        } = tracked.phase
        else {
            return Settled::Again;
        };
        if changed || verdict == Verdict::Changed {
            tracked.phase = Phase::Seen {
                since: now,
                fault: None,
            };
            return Settled::Again;
        }
        let stamp = tracked.stamp.clone();
        let settled = match verdict {
            Verdict::Failed { error, transient } => {
                let attempts = attempts.saturating_add(1);
                let more = transient && attempts <= self.rules.retries;
                let pause = 1 << (attempts - 1).min(16);
                let again = more.then(|| now + self.rules.pause * pause);
                tracked.phase = Phase::Failed {
                    error: error.clone(),
                    attempts,
                    again,
                };
                Settled::Failed {
                    stamp,
                    error,
                    again: more && !gone,
                    transient,
                }
            }
            _ => {
                tracked.phase = Phase::Done;
                Settled::Done(stamp)
            }
        };
        if gone {
            self.files.remove(path);
        }
        settled
    }

    /// Number of files in work.
    pub(crate) fn in_work(&self) -> usize {
        let files = self.files.values();
        files.filter(|tracked| tracked.phase.is_taken()).count()
    }

    /// Whether nothing is to be done until a file changes.
    pub(crate) fn is_idle(&self) -> bool {
        self.files.values().all(|tracked| match tracked.phase {
            Phase::Done => true,
            Phase::Failed { again, .. } => again.is_none(),
            _ => false,
        })
    }

    /// Files that failed last, with the reason.
    pub(crate) fn failed(&self) -> BTreeMap<String, String> {
        let failed = self
            .files
            .iter()
            .filter_map(|(path, tracked)| match &tracked.phase {
                Phase::Failed { error, .. } => Some((path.clone(), error.clone())),
                _ => None,
            });
        failed.collect()
    }

    /// When there is something to do next, if no file changes and no work ends.
    pub(crate) fn due(&self, now: Moment) -> Option<Moment> {
        let due = self
            .files
            .values()
            .filter_map(|tracked| match &tracked.phase {
                Phase::Seen { fault: None, since } => Some(*since + self.rules.settle),
                // What is no whole zip now may be one without a change that shows.
                Phase::Seen { since, .. } => {
                    Some((now + self.rules.settle).min(*since + self.rules.patience))
                }
                // The end of other work makes room for it.
                Phase::Failed { again, .. } if self.in_work() < self.rules.parallel => *again,
                _ => None,
            });
        due.min()
    }
}

impl Phase {
    fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }
}

#[cfg(test)]
mod tests;
