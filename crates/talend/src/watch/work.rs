//! Work on one zip, on a thread of its own.

use std::{
    any::Any,
    fs::File,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
};

use ocicore::{Algorithm, Cx, Digest, Hasher, in_one_line};

use super::{Candidate, Fault, Stamp, state::State, tracker::Verdict};
use crate::{Error, Result};

/// Bytes that are hashed at once.
const CHUNK: usize = 64 << 10;

/// How work on a zip ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) path: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) verdict: Verdict,
    /// It was done before.
    pub(crate) known: bool,
}

/// Works on a zip that looked like `stamp` when it was taken, unless it was done before. Puts what the
/// work gives into `value`.
pub(crate) fn work<T>(
    cx: &Cx,
    folder: &Path,
    (name, stamp): (&str, &Stamp),
    state: &Mutex<State>,
    process: &(impl Fn(&Cx, &Candidate) -> Result<T, Fault> + Sync),
) -> (Finished, Option<T>) {
    let path = folder.join(name);
    let mut finished = Finished {
        path: name.to_owned(),
        digest: None,
        verdict: Verdict::Changed,
        known: false,
    };
    let is_same = || Stamp::read(&path).is_ok_and(|now| now == *stamp);
    if !is_same() {
        return (finished, None);
    }
    let digest = match hash(cx, &path) {
        Ok(digest) => digest,
        Err(error) => {
            if is_same() {
                let fault = Fault::transient(in_one_line(&error));
                finished.verdict = failed(fault);
            }
            return (finished, None);
        }
    };
    finished.digest = Some(digest);
    let known = state.lock().unwrap_or_else(PoisonError::into_inner);
    finished.known = known.is_done(name, &digest);
    drop(known);
    if finished.known {
        finished.verdict = Verdict::Done;
        return (finished, None);
    }
    let candidate = Candidate {
        path: path.clone(),
        name: name.to_owned(),
        digest,
    };
    // Nothing of the closure is used after a panic but what it guards itself.
    let result = catch_unwind(AssertUnwindSafe(|| process(cx, &candidate)));
    let result = result.unwrap_or_else(|panic| Err(Fault::permanent(said(&*panic))));
    if !is_same() {
        return (finished, None);
    }
    match result {
        Ok(value) => {
            finished.verdict = Verdict::Done;
            (finished, Some(value))
        }
        Err(fault) => {
            finished.verdict = failed(fault);
            (finished, None)
        }
    }
}

fn failed(fault: Fault) -> Verdict {
    Verdict::Failed {
        error: fault.error,
        transient: fault.transient,
    }
}

fn hash(cx: &Cx, path: &Path) -> Result<Digest> {
    let failed = |source: io::Error| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; CHUNK];
    loop {
        cx.check()?;
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "the work on it panicked: {}",
        text.unwrap_or("it does not say why")
    )
}
