use std::{num::NonZero, path::PathBuf, thread, time::Duration};

use super::{Notice, tracker::Rules};

/// What is watched, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchSpec {
    /// The folder; all directories in it are watched, too.
    pub folder: PathBuf,
    /// Where is remembered what was done; `.job2docker-watch.json` in the folder.
    pub state: PathBuf,
    /// How changes are noticed.
    pub notice: Notice,
    /// Time between two looks when polling; 2 s. Where the kernel tells of changes it is a minute at
    /// least, in case that it does not.
    pub poll: Duration,
    /// How long size and times of a zip must stay as they are before it is taken; 1 s.
    pub settle: Duration,
    /// How long a file that is no whole zip may stay as it is before it counts as failed; 30 s.
    pub patience: Duration,
    /// How often a failure that may pass is tried again; 3.
    pub retries: u32,
    /// Pause before it is tried again, doubled each time; 10 s.
    pub pause: Duration,
    /// Most zips in work; as many as the machine runs threads.
    pub parallel: NonZero<usize>,
    /// When the watch ends.
    pub until: Until,
}

/// When a watch ends. Closed: by itself or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When it is stopped.
    #[default]
    Stopped,
    /// When all that is in the folder is done or has failed.
    Idle,
}

impl WatchSpec {
    /// To watch a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            state: folder.join(".job2docker-watch.json"),
            folder,
            notice: Notice::default(),
            poll: Duration::from_secs(2),
            settle: Duration::from_secs(1),
            patience: Duration::from_secs(30),
            retries: 3,
            pause: Duration::from_secs(10),
            parallel: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            until: Until::default(),
        }
    }

    /// With another place of what is remembered.
    pub fn with_state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = path.into();
        self
    }

    /// With another way of noticing changes.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notice = notice;
        self
    }

    /// With another time between two looks.
    pub fn with_poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// With another time that a zip must stay as it is.
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// With another time that a part of a zip may stay as it is.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// With another number of tries after a failure that may pass, and another pause before the
    /// first.
    pub fn with_retries(mut self, retries: u32, pause: Duration) -> Self {
        (self.retries, self.pause) = (retries, pause);
        self
    }

    /// With another number of zips in work.
    pub fn with_parallel(mut self, parallel: NonZero<usize>) -> Self {
        self.parallel = parallel;
        self
    }

    /// With another end.
    pub fn with_until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            settle: self.settle,
            patience: self.patience,
            retries: self.retries,
            pause: self.pause,
            parallel: self.parallel.get(),
        }
    }
}
