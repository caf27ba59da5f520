//! A watched folder: each zip that appears in it is processed once.
//!
//! A zip is taken when it is whole and nobody has written to it for a while; what it becomes is the
//! caller's. What was done is remembered in a file by content, so that a restart does nothing twice;
//! a zip that fails is remembered with its error, and tried again when it changes. After a kill the
//! zips that were in work are processed again.
//!
//! ```
//! use std::time::Duration;
//! use ocicore::Cx;
//! use talend::watch::{Event, Fault, Until, Watch, WatchSpec};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! std::fs::write(folder.join("hello_0.1.zip"), "this is no zip")?;
//! let spec = WatchSpec::new(folder)
//!     .with_settle(Duration::from_millis(5))
//!     .with_patience(Duration::from_millis(10))
//!     .with_until(Until::Idle);
//! let summary = Watch::open(spec)?.run(
//!     &Cx::default(),
//!     |_, zip| Ok::<_, Fault>(std::fs::metadata(&zip.path).map_or(0, |file| file.len())),
//!     |event| if let Event::Done { path, value, .. } = event { println!("{path}: {value} bytes") },
//! )?;
//! assert!(summary.failed["hello_0.1.zip"].contains("zip"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod notice;
mod run;
mod scan;
mod spec;
mod stamp;
mod state;
mod tracker;
mod work;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
};

use ocicore::{Cx, Digest};

use crate::{Error, Result};

pub use event::{Event, Fault, Summary};
pub use notice::Notice;
pub use spec::{Until, WatchSpec};
pub use stamp::Stamp;
use state::StateFile;
pub use state::{Outcome, Record};
use work::Finished;

/// A folder that is about to be watched.
#[derive(Debug)]
pub struct Watch {
    spec: WatchSpec,
    state: StateFile,
    wake: Sender<Wake>,
    woken: Receiver<Wake>,
}

/// Ends a watch from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Wake>);

/// A zip in work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// Its path in the folder, with `/`.
    pub name: String,
    /// Its content.
    pub digest: Digest,
}

/// What ends the pause between two looks.
#[derive(Debug)]
pub(crate) enum Wake {
    /// Something may have changed in the folder.
    Changed,
    /// Work has ended.
    Finished(Box<Finished>),
    /// The watch is to end.
    Stop,
}

impl Watch {
    /// Reads what is remembered, and locks it.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is not there or the state cannot be read or written,
    /// [`Error::State`] if it is none, [`Error::Busy`] if another watch uses it.
    pub fn open(spec: WatchSpec) -> Result<Self> {
        std::fs::read_dir(&spec.folder).map_err(|source| Error::File {
            action: "read",
            path: spec.folder.clone(),
            source,
        })?;
        let state = StateFile::open(&spec.state)?;
        let (wake, woken) = mpsc::channel();
        Ok(Self {
            spec,
            state,
            wake,
            woken,
        })
    }

    /// What ends this watch.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.wake.clone())
    }

    /// Watches until it is stopped, or as the spec says: gives each zip to `process`, on as many
    /// threads as the spec allows, and tells `observe` what happens. When it is stopped, work that has
    /// begun is finished first.
    ///
    /// Cancelling `cx` ends what is in work, too, and at the next look the watch; what was cancelled is
    /// processed again by the next one. A panic of `process` is a failure of that zip.
    ///
    /// # Errors
    /// If what was done cannot be written down. Nothing that is in the folder is an error.
    pub fn run<T: Send>(
        self,
        cx: &Cx,
        process: impl Fn(&Cx, &Candidate) -> Result<T, Fault> + Sync,
        observe: impl FnMut(Event<T>),
    ) -> Result<Summary> {
        run::run(self, cx, &process, observe)
    }
}

impl Stopper {
    /// No more zips are taken; those in work are finished. Does nothing if the watch has ended.
    pub fn stop(&self) {
        // Nobody listens when it has ended.
        let _ = self.0.send(Wake::Stop);
    }
}

/// What is remembered in a state file, by the paths of zips in their folder; empty if there is none.
///
/// # Errors
/// [`Error::File`], [`Error::State`].
pub fn records(state: &Path) -> Result<BTreeMap<String, Record>> {
    Ok(state::read(state)?.into_records())
}
