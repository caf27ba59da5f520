//! The watch itself: looks, takes, remembers. What is decided is decided by the tracker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError, mpsc::RecvTimeoutError},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use ocicore::{Cx, Digest, SizeLimits, in_one_line};
use repack::zip;

use super::{
    Candidate, Event, Fault, Outcome, Record, Stamp, Summary, Until, Wake, Watch,
    notice::Noticing,
    scan::scan,
    state::State,
    tracker::{Phase, Settled, Tracker},
    work::{Finished, work},
};
use crate::Result;

/// Least time between two looks, however many changes there are.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Time between two looks where the kernel tells of changes.
const SAFETY: Duration = Duration::from_secs(60);

/// What threads share: the state, and what they made until the watch has told of it.
#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State>,
    values: Mutex<BTreeMap<String, T>>,
}

struct Running<'a, T, P, O> {
    watch: &'a mut Watch,
    cx: &'a Cx,
    process: &'a P,
    observe: O,
    shared: &'a Shared<T>,
    tracker: Tracker,
    start: Instant,
    summary: Summary,
    /// What was already said to be unreadable.
    unreadable: BTreeSet<String>,
    stopping: bool,
}

pub(super) fn run<T, P, O>(mut watch: Watch, cx: &Cx, process: &P, observe: O) -> Result<Summary>
where
    T: Send,
    P: Fn(&Cx, &Candidate) -> Result<T, Fault> + Sync,
    O: FnMut(Event<T>),
{
    let shared = Shared {
        state: Mutex::new(std::mem::take(&mut watch.state.state)),
        values: Mutex::default(),
    };
    let noticing = Noticing::start(&watch.spec.folder, watch.spec.notice, &watch.wake);
    let pause = match noticing.by_kernel() {
        true => watch.spec.poll.max(SAFETY),
        false => watch.spec.poll,
    };
    thread::scope(|scope| {
        let mut running = Running {
            tracker: Tracker::new(watch.spec.rules()),
            watch: &mut watch,
            cx,
            process,
            observe,
            shared: &shared,
            start: Instant::now(),
            summary: Summary::default(),
            unreadable: BTreeSet::new(),
            stopping: false,
        };
        (running.observe)(Event::Watching {
            folder: running.watch.spec.folder.display().to_string(),
            by_kernel: noticing.by_kernel(),
            why_not: noticing.why_not.clone(),
        });
        // Where it fails, the threads are still waited for at the end of the scope.
        running.run(scope, pause)?;
        running.summary.failed = running.tracker.failed();
        Ok(running.summary)
    })
}

impl<T, P, O> Running<'_, T, P, O>
where
    T: Send,
    P: Fn(&Cx, &Candidate) -> Result<T, Fault> + Sync,
    O: FnMut(Event<T>),
{
    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, pause: Duration) -> Result<()>
    where
        Self: 'scope,
    {
        let mut last_look = None;
        let mut next_look = Duration::ZERO;
        loop {
            let now = self.start.elapsed();
            if self.cx.check().is_err() {
                self.stop();
            }
            if !self.stopping {
                if now >= next_look {
                    self.look(now)?;
                    last_look = Some(now);
                    next_look = now + pause;
                }
                self.take(scope);
                if self.watch.spec.until == Until::Idle && self.tracker.is_idle() {
                    return Ok(());
                }
            }
            if self.stopping && self.tracker.in_work() == 0 {
                return Ok(());
            }
            let now = self.start.elapsed();
            let soonest = last_look.map_or(Duration::ZERO, |last: Duration| last + LEAST_PAUSE);
            if let Some(due) = self.tracker.due(now) {
                next_look = next_look.min(due.max(soonest));
            }
            let mut woken = match self.stopping {
                // Only the end of work is waited for.
                true => self
                    .watch
                    .woken
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                false => self.watch.woken.recv_timeout(next_look.saturating_sub(now)),
            };
            while let Ok(wake) = woken {
                match wake {
                    Wake::Changed => next_look = next_look.min(soonest),
                    Wake::Finished(finished) => self.finished(*finished)?,
                    Wake::Stop => self.stop(),
                }
                let more = self.watch.woken.try_recv();
                woken = more.map_err(|_| RecvTimeoutError::Timeout);
            }
        }
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            let in_work = self.tracker.in_work();
            (self.observe)(Event::Stopping { in_work });
        }
    }

    /// Looks at the folder, and into what has settled.
    fn look(&mut self, now: Duration) -> Result<()> {
        let folder = &self.watch.spec.folder;
        let seen = match scan(folder) {
            Ok(seen) => seen,
            // A share that is not there for a while: its files are not gone.
            Err(error) => {
                self.unreadable([(String::new(), error.to_string())]);
                return Ok(());
            }
        };
        self.unreadable(seen.faults);
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let failed = self
            .tracker
            .look(now, &seen.files, |path, stamp| known(&state, path, stamp));
        drop(state);
        for (path, error) in failed {
            (self.observe)(Event::StillFailed { path, error });
        }
        for path in self.tracker.settled(now) {
            let file = self.watch.spec.folder.join(&path);
            let whole = zip::open(self.cx, &file, &SizeLimits::default());
            let result = whole.map(drop).map_err(|error| in_one_line(&error));
            let error = result.as_ref().err().cloned();
            if let (Some(stamp), Some(error)) = (self.tracker.probed(now, &path, result), error) {
                self.failed(&path, stamp, None, error, Again::No)?;
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, faults: impl IntoIterator<Item = (String, String)>) {
        let mut still = BTreeSet::new();
        for (path, error) in faults {
            if !self.unreadable.contains(&path) {
                let path = path.clone();
                (self.observe)(Event::Unreadable { path, error });
            }
            still.insert(path);
        }
        self.unreadable = still;
    }

    fn take<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        Self: 'scope,
    {
        for (path, stamp) in self.tracker.take(self.start.elapsed()) {
            (self.observe)(Event::Taken { path: path.clone() });
            let (cx, process, shared) = (self.cx.clone(), self.process, self.shared);
            let (folder, wake) = (self.watch.spec.folder.clone(), self.watch.wake.clone());
            scope.spawn(move || {
                let zip = (path.as_str(), &stamp);
                let (finished, value) = work(&cx, &folder, zip, &shared.state, process);
                if let Some(value) = value {
                    let values = shared.values.lock();
                    let mut values = values.unwrap_or_else(PoisonError::into_inner);
                    values.insert(path.clone(), value);
                }
                // The other end lives as long as this scope.
                let _ = wake.send(Wake::Finished(Box::new(finished)));
            });
        }
    }

    fn finished(&mut self, finished: Finished) -> Result<()> {
        let Finished {
            path,
            digest,
            verdict,
            known,
        } = finished;
        let values = self.shared.values.lock();
        let value = values.unwrap_or_else(PoisonError::into_inner).remove(&path);
        let settled = self.tracker.finished(self.start.elapsed(), &path, verdict);
        match (settled, digest) {
            (Settled::Done(stamp), Some(digest)) => {
                self.remember(&path, stamp, Some(digest), Outcome::Done)?;
                if known {
                    (self.observe)(Event::Known { path, digest });
                } else if let Some(value) = value {
                    self.summary.done += 1;
                    (self.observe)(Event::Done {
                        path,
                        digest,
                        value,
                    });
                }
            }
            (
                Settled::Failed {
                    stamp,
                    error,
                    again,
                    transient,
                },
                digest,
            ) => {
                let again = match (transient, again) {
                    (false, _) => Again::No,
                    (true, false) => Again::AfterRestart,
                    (true, true) => Again::Yes,
                };
                self.failed(&path, stamp, digest, error, again)?;
            }
            (Settled::Again | Settled::Done(_), _) => (self.observe)(Event::Changed { path }),
        }
        Ok(())
    }

    fn failed(
        &mut self,
        path: &str,
        stamp: Stamp,
        digest: Option<Digest>,
        error: String,
        again: Again,
    ) -> Result<()> {
        let outcome = Outcome::Failed {
            error: error.clone(),
            transient: again != Again::No,
        };
        self.remember(path, stamp, digest, outcome)?;
        (self.observe)(Event::Failed {
            path: path.to_owned(),
            error,
            again: again == Again::Yes,
        });
        Ok(())
    }

    fn remember(
        &mut self,
        path: &str,
        stamp: Stamp,
        digest: Option<Digest>,
        outcome: Outcome,
    ) -> Result<()> {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.insert(path, Record::new(stamp, digest, self.cx.now(), outcome));
        self.watch.state.save(&state)
    }
}

/// When a zip that failed is tried again as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    AfterRestart,
    Yes,
}

/// Where a file stands that looks as it did when its work ended.
fn known(state: &State, path: &str, stamp: &Stamp) -> Option<Phase> {
    match &state.record(path, stamp)?.outcome {
        Outcome::Done => Some(Phase::Done),
        Outcome::Failed {
            transient: true, ..
        } => None,
        Outcome::Failed { error, .. } => Some(Phase::Failed {
            error: error.clone(),
            attempts: 1,
            again: None,
        }),
    }
}
