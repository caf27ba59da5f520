//! Servers that do not answer, and how long they are left alone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ocicore::Class;
use url::Url;

use super::Site;
use crate::{Error, Result};

/// Remembers who did not answer. It knows no more servers than there are mirrors configured, and registries that have
/// some.
#[derive(Debug)]
pub(crate) struct Rest {
    time: Duration,
    until: Mutex<BTreeMap<Url, Instant>>,
}

impl Rest {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            until: Mutex::default(),
        }
    }

    /// Whether this server is to be passed over.
    pub(crate) fn has(&self, site: &Site) -> bool {
        self.has_at(site.endpoint.base(), Instant::now())
    }

    /// What came of asking this server.
    pub(crate) fn note<T>(&self, site: &Site, result: &Result<T>) {
        self.note_at(site.endpoint.base(), result.as_ref().err(), Instant::now());
    }

    fn has_at(&self, mirror: &Url, now: Instant) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(mirror).is_some_and(|until| *until > now)
    }

    fn note_at(&self, mirror: &Url, error: Option<&Error>, now: Instant) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) if is_silent(error) => {
                if let Some(end) = now.checked_add(self.time) {
                    until.insert(mirror.clone(), end);
                }
            }
            // Whoever says no is there.
            _ => {
                until.remove(mirror);
            }
        }
    }
}

/// Whether a server that fails like this will most likely fail again at once.
pub(crate) fn is_silent(error: &Error) -> bool {
    matches!(error, Error::Transport { .. } | Error::Tls { .. })
        || error.class() == Class::Transient
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Error {
        Error::Answer(Box::new(crate::Answer {
            place: String::new(),
            method: "GET".to_owned(),
            status,
            faults: Vec::new(),
            retry_after: None,
        }))
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while() {
        let (rest, now) = (Rest::new(Duration::from_secs(60)), Instant::now());
        let (a, b) = (
            "http://a/v2/".parse().unwrap(),
            "http://b/v2/".parse().unwrap(),
        );
        let after = |seconds| now + Duration::from_secs(seconds);
        rest.note_at(&a, Some(&answer(503)), now);
        assert!(rest.has_at(&a, after(59)) && !rest.has_at(&b, now));
        assert!(!rest.has_at(&a, after(60)), "it is asked again");
        rest.note_at(&a, Some(&answer(404)), after(60));
        assert!(!rest.has_at(&a, after(60)), "it is there, but has nothing");
        rest.note_at(&a, Some(&answer(500)), after(61));
        rest.note_at(&a, None, after(61));
        assert!(!rest.has_at(&a, after(61)), "it is well again");
        let never = Rest::new(Duration::ZERO);
        never.note_at(&a, Some(&answer(500)), now);
        assert!(!never.has_at(&a, now));
    }
}
