//! What is remembered over restarts.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use ocicore::{Digest, archive::AtomicFile};
use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::{Error, Result};

/// Version of the file's format.
const VERSION: u32 = 1;
/// Most files that are remembered; those that were done first are forgotten first.
const MAX_RECORDS: usize = 10_000;

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// How it looked when it was taken.
    pub stamp: Stamp,
    /// Its content; none if it could not be read.
    pub digest: Option<Digest>,
    /// Seconds since the epoch when its work ended.
    pub at: u64,
    /// How its work ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How work on a file ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Well.
    Done,
    /// Not well.
    Failed {
        /// Why.
        error: String,
        /// Whether it may work when it is tried again.
        transient: bool,
    },
}

/// All records, by the paths of the files in the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    files: BTreeMap<String, Record>,
}

impl State {
    /// Parses the content of a state file.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Version = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if version.version != VERSION {
            return Err(format!(
                "its version is {}, expected {VERSION}",
                version.version
            ));
        }
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// The record of a file that looks as it did then.
    pub(crate) fn record(&self, path: &str, stamp: &Stamp) -> Option<&Record> {
        self.files.get(path).filter(|record| record.stamp == *stamp)
    }

    /// Whether a file of that name and content was done, at whatever path. The name counts, as it may
    /// say what the job is.
    pub(crate) fn is_done(&self, path: &str, digest: &Digest) -> bool {
        let name = file_name(path);
        self.files.iter().any(|(other, record)| {
            record.digest.as_ref() == Some(digest)
                && record.outcome == Outcome::Done
                && file_name(other) == name
        })
    }

    pub(crate) fn insert(&mut self, path: &str, record: Record) {
        self.version = VERSION;
        self.files.insert(path.to_owned(), record);
        while self.files.len() > MAX_RECORDS {
            let oldest = self.files.iter().min_by_key(|(_, record)| record.at);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else {
                break;
            };
            self.files.remove(&oldest);
        }
    }

    pub(crate) fn into_records(self) -> BTreeMap<String, Record> {
        self.files
    }
}

impl Record {
    pub(crate) fn new(
        stamp: Stamp,
        digest: Option<Digest>,
        now: SystemTime,
        outcome: Outcome,
    ) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            stamp,
            digest,
            at: since.unwrap_or_default().as_secs(),
            outcome,
        }
    }
}

/// A state in a file, which no other watch uses as long as this lives.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    pub(crate) state: State,
    _lock: Option<File>,
}

impl StateFile {
    /// Opens the file, or begins with an empty state if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
            fs::create_dir_all(parent).map_err(|source| failed("create", parent, source))?;
        }
        let lock = lock(path)?;
        Ok(Self {
            state: read(path)?,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Replaces the content: after a kill it is the old one or the new one.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let mut text =
            serde_json::to_vec(state).map_err(|error| failed("write", &self.path, error.into()))?;
        text.push(b'\n');
        let mut file = AtomicFile::create(&self.path)?;
        file.write_all(&text)
            .map_err(|error| failed("write", &self.path, error))?;
        Ok(file.commit()?)
    }
}

pub(crate) fn read(path: &Path) -> Result<State> {
    match fs::read(path) {
        Ok(text) => State::parse(&text).map_err(|fault| Error::State {
            path: path.to_owned(),
            fault,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Locks a file beside the state, which itself is replaced at each change.
fn lock(path: &Path) -> Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = File::options().create(true).append(true).open(&name);
    let file = file.map_err(|source| failed("open", &name, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Busy {
            path: path.to_owned(),
        }),
        // Some shares have no locks: then nobody can tell.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(size: u64, content: &[u8], at: u64) -> Record {
        Record {
            stamp: Stamp::sized(size),
            digest: Some(Digest::of(content)),
            at,
            outcome: Outcome::Done,
        }
    }

    #[test]
    fn a_state_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/state.json");
        let mut file = StateFile::open(&path).unwrap();
        file.state.insert("a/b_0.1.zip", done(1, b"x", 5));
        let outcome = Outcome::Failed {
            error: "no Talend job".to_owned(),
            transient: false,
        };
        let failed = Record {
            outcome,
            digest: None,
            ..done(2, b"y", 6)
        };
        file.state.insert("c.zip", failed);
        file.save(&file.state).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap());
        let error = StateFile::open(&path).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        let state = file.state.clone();
        drop(file);
        assert_eq!(StateFile::open(&path).unwrap().state, state);
    }

    #[test]
    fn content_and_name_tell_what_was_done() {
        let mut state = State::default();
        state.insert("a/job_0.1.zip", done(1, b"x", 1));
        let check = |path: &str, content: &[u8], expected: bool| {
            assert_eq!(
                state.is_done(path, &Digest::of(content)),
                expected,
                "{path}"
            );
        };
        check("a/job_0.1.zip", b"x", true);
        check("moved/job_0.1.zip", b"x", true);
        check("a/job_0.2.zip", b"x", false);
        check("a/job_0.1.zip", b"y", false);
        assert!(state.record("a/job_0.1.zip", &Stamp::sized(1)).is_some());
        assert!(state.record("a/job_0.1.zip", &Stamp::sized(2)).is_none());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut state = State::default();
        for at in 0..=MAX_RECORDS as u64 {
            state.insert(&format!("{at}.zip"), done(1, b"x", at));
        }
        assert_eq!(state.files.len(), MAX_RECORDS);
        assert!(state.record("0.zip", &Stamp::sized(1)).is_none());
    }

    #[test]
    fn a_file_that_is_no_state_is_an_error() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"files":{}}"#,
            r#"{"version":1,"files":3}"#,
        ] {
            assert!(State::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
