use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use crate::Class;

/// How often and how long to try again what fails with [`Class::Transient`].
///
/// A pause is a random part (full jitter) of an exponentially growing one, but at least what the
/// server asks for (`Retry-After`). Progress starts the count of attempts anew; the budget stays.
///
/// ```
/// use std::time::Duration;
/// use ocicore::{Attempts, Class, Retry};
///
/// let mut attempts = Attempts::new(&Retry::default().with_attempts(2));
/// let asked = Some(Duration::from_secs(7));
/// assert_eq!(attempts.pause(Class::Transient, asked), asked);
/// assert_eq!(attempts.pause(Class::Transient, None), None);
/// ```
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

/// The attempts of one operation by a [`Retry`]. Whoever makes them waits; this only counts.
#[derive(Clone, Debug)]
pub struct Attempts {
    retry: Retry,
    failed: u32,
    paused: Duration,
}

impl Attempts {
    /// None was made yet.
    pub fn new(retry: &Retry) -> Self {
        Self {
            retry: retry.clone(),
            failed: 0,
            paused: Duration::ZERO,
        }
    }

    /// Something was achieved since the last failure.
    pub fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next attempt, after one that failed so and was `asked` to wait;
    /// none if there is to be no other.
    pub fn pause(&mut self, class: Class, asked: Option<Duration>) -> Option<Duration> {
        self.pause_at(class, asked, random())
    }

    /// As [`Attempts::pause`] with `random` from 0 to 1.
    fn pause_at(&mut self, class: Class, asked: Option<Duration>, random: f64) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if class != Class::Transient || self.failed >= self.retry.attempts {
            return None;
        }
        let doubled = 2f64.powi(i32::try_from(self.failed - 1).unwrap_or(i32::MAX).min(30));
        let ceiling = self.retry.base.mul_f64(doubled).min(self.retry.longest);
        let pause = ceiling.mul_f64(random).max(asked.unwrap_or_default());
        if self.paused.saturating_add(pause) > self.retry.budget {
            return None;
        }
        self.paused += pause;
        Some(pause)
    }
}

/// A number from 0 to 1, of what the standard library seeds its maps with: many who failed at the
/// same time come back at different times.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRANSIENT: Class = Class::Transient;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut attempts = Attempts::new(&Retry::default().with_attempts(8));
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                let pause = attempts.pause_at(TRANSIENT, None, 1.0);
                pause.map(|pause| pause.as_millis())
            })
            .collect();
        let expected = [250, 500, 1000, 2000, 4000, 8000, 10_000].map(Some);
        assert_eq!(pauses[..7], expected);
        assert_eq!(pauses[7], None);
        attempts.progressed();
        let pause = attempts.pause_at(TRANSIENT, None, 0.0);
        assert_eq!(pause, Some(Duration::ZERO));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for class in [
            Class::NotFound,
            Class::Denied,
            Class::Invalid,
            Class::Cancelled,
        ] {
            assert_eq!(Attempts::new(&Retry::default()).pause(class, None), None);
        }
        assert!(
            Attempts::new(&Retry::default())
                .pause(TRANSIENT, None)
                .is_some()
        );
        assert_eq!(Attempts::new(&Retry::never()).pause(TRANSIENT, None), None);
    }

    #[test]
    fn the_server_says_how_long() {
        let mut attempts = Attempts::new(&Retry::default());
        let mut pause = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            attempts.pause_at(TRANSIENT, asked, 0.5)
        };
        assert_eq!(pause(100), Some(Duration::from_secs(100)));
        assert_eq!(pause(21), None, "the budget is spent");
        assert_eq!(pause(u64::MAX), None);
    }

    #[test]
    fn pauses_differ() {
        let pauses: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(pauses.iter().all(|random| (0.0..=1.0).contains(random)));
        let below = pauses.iter().filter(|random| **random < 0.5).count();
        assert!(
            (1..100).contains(&below),
            "{below} of 100 are below the middle"
        );
    }

    proptest! {
        #[test]
        fn the_budget_holds(randoms in prop::collection::vec(0.0..1.0f64, 1..200)) {
            let mut attempts = Attempts::new(&Retry::default().with_attempts(1000));
            let pauses = randoms
                .iter()
                .map_while(|random| attempts.pause_at(TRANSIENT, None, *random));
            prop_assert!(pauses.sum::<Duration>() <= Duration::from_secs(120));
        }
    }
}
