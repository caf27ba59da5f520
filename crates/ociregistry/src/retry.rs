//! When to try again. Pure, but for the random part of a pause.

use std::time::{Duration, SystemTime};

use ocicore::Class;

use crate::Error;

/// How often and how long to try again what fails with [`Class::Transient`].
///
/// A pause is a random part (full jitter) of an exponentially growing one, but at least what the
/// server asks for with `Retry-After`. Progress of a download starts the count of attempts anew;
/// the budget stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    base: Duration,
    longest: Duration,
    budget: Duration,
}

impl Default for Retry {
    /// 5 attempts; pauses up to 0.25 s, 0.5 s, 1 s, 2 s, at most 10 s each; 2 minutes in all.
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(250),
            longest: Duration::from_secs(10),
            budget: Duration::from_secs(120),
        }
    }
}

impl Retry {
    /// Tries once.
    pub fn never() -> Self {
        Self::default().with_attempts(1)
    }

    /// With so many attempts, the first one included.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// With another first pause and longest pause.
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.base = first;
        self.longest = longest;
        self
    }

    /// With another sum of all pauses of one operation. A server that asks to wait for longer than
    /// what is left of it is not waited for.
    pub fn with_budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    retry: Retry,
    failed: u32,
    paused: Duration,
}

impl Attempts {
    pub(crate) fn new(retry: &Retry) -> Self {
        Self {
            retry: retry.clone(),
            failed: 0,
            paused: Duration::ZERO,
        }
    }

    /// Something was achieved since the last failure.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next attempt; none if there is to be none.
    pub(crate) fn pause(&mut self, error: &Error) -> Option<Duration> {
        self.pause_at(error, random())
    }

    /// As [`Attempts::pause`] with `random` from 0 to 1.
    fn pause_at(&mut self, error: &Error, random: f64) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if error.class() != Class::Transient || self.failed >= self.retry.attempts {
            return None;
        }
        let doubled = 2f64.powi(i32::try_from(self.failed - 1).unwrap_or(i32::MAX).min(30));
        let ceiling = self.retry.base.mul_f64(doubled).min(self.retry.longest);
        let asked = error.answer().and_then(crate::Answer::retry_after);
        let pause = ceiling
            .mul_f64(random.clamp(0.0, 1.0))
            .max(asked.unwrap_or_default());
        if self.paused + pause > self.retry.budget {
            return None;
        }
        self.paused += pause;
        Some(pause)
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110 §10.2.3). At most a day.
pub(crate) fn retry_after(field: &str, now: SystemTime) -> Option<Duration> {
    let field = field.trim();
    let wait = match field.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that has passed asks for no pause.
        Err(_) => httpdate::parse_http_date(field)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(Duration::from_secs(24 * 3600)))
}

/// A random number from 0 to 1; without a source of randomness the middle.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Answer;

    fn answer(status: u16, retry_after: Option<u64>) -> Error {
        Error::Answer(Box::new(Answer {
            place: "r.io/a".to_owned(),
            method: "GET".to_owned(),
            status,
            faults: Vec::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut attempts = Attempts::new(&Retry::default().with_attempts(8));
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                attempts
                    .pause_at(&answer(503, None), 1.0)
                    .map(|p| p.as_millis())
            })
            .collect();
        let expected = [250, 500, 1000, 2000, 4000, 8000, 10_000].map(Some);
        assert_eq!(pauses[..7], expected);
        assert_eq!(pauses[7], None);
        attempts.progressed();
        assert_eq!(
            attempts.pause_at(&answer(503, None), 0.0),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, again) in [
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (501, false),
            (400, false),
            (401, false),
            (404, false),
            (416, false),
        ] {
            let mut attempts = Attempts::new(&Retry::default());
            assert_eq!(
                attempts.pause(&answer(status, None)).is_some(),
                again,
                "{status}"
            );
        }
        assert_eq!(
            Attempts::new(&Retry::never()).pause(&answer(503, None)),
            None
        );
    }

    #[test]
    fn the_server_says_how_long() {
        let mut attempts = Attempts::new(&Retry::default());
        let pause =
            |attempts: &mut Attempts, seconds| attempts.pause_at(&answer(429, Some(seconds)), 0.5);
        assert_eq!(pause(&mut attempts, 100), Some(Duration::from_secs(100)));
        assert_eq!(pause(&mut attempts, 21), None, "the budget is spent");
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (field, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                retry_after(field, now),
                seconds.map(Duration::from_secs),
                "{field}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_budget_holds(randoms in prop::collection::vec(0.0..1.0f64, 1..200)) {
            let mut attempts = Attempts::new(&Retry::default().with_attempts(1000));
            let pauses = randoms.iter().map_while(|random| attempts.pause_at(&answer(500, None), *random));
            prop_assert!(pauses.sum::<Duration>() <= Duration::from_secs(120));
        }

        #[test]
        fn no_field_panics(field: String) {
            let _ = retry_after(&field, SystemTime::now());
        }
    }
}
