//! When to try again.

use std::time::{Duration, SystemTime};

use ocicore::{Class, Cx};

use super::{Error, Result, client};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(10);
/// A server that asks to wait for longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    most: u32,
    pause: Duration,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(most: u32, pause: Duration) -> Self {
        Self {
            most,
            pause,
            failed: 0,
        }
    }

    /// Something was achieved since the last failure.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt, or returns the error if there is to be none.
    pub(super) async fn wait(&mut self, cx: &Cx, error: Error) -> Result<()> {
        match self.next(&error, random()) {
            None => Err(error),
            Some(pause) => {
                tracing::debug!(%error, ?pause, "trying again");
                client::unless_cancelled(cx, tokio::time::sleep(pause)).await
            }
        }
    }

    /// The next pause, a random part of one that doubles; `random` is from 0 to 1.
    fn next(&mut self, error: &Error, random: f64) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if error.class() != Class::Transient || self.failed >= self.most {
            return None;
        }
        let doubled = 2f64.powi(i32::try_from(self.failed - 1).unwrap_or(i32::MAX).min(30));
        let pause = self.pause.mul_f64(doubled).min(LONGEST).mul_f64(random);
        let asked = error.retry_after().unwrap_or_default();
        (asked <= PATIENCE).then(|| pause.max(asked))
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(field: &str, now: SystemTime) -> Option<Duration> {
    let field = field.trim();
    match field.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.min(24 * 3600))),
        // A date that has passed asks for no pause.
        Err(_) => {
            let date = httpdate::parse_http_date(field).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// A random number from 0 to 1; without a source of randomness the middle.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(retry_after: Option<u64>) -> Error {
        Error::Server {
            place: "http://h.io/a".to_owned(),
            status: 503,
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_grow_and_servers_are_heard() {
        let mut attempts = Attempts::new(9, Duration::from_millis(250));
        let pauses: Vec<_> = (0..9)
            .map(|_| {
                attempts
                    .next(&server(None), 1.0)
                    .map(|pause| pause.as_millis())
            })
            .collect();
        let expected = [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000].map(Some);
        assert_eq!(pauses[..8], expected);
        assert_eq!(pauses[8], None);
        attempts.progressed();
        assert_eq!(
            attempts.next(&server(Some(7)), 1.0),
            Some(Duration::from_secs(7))
        );
        assert_eq!(attempts.next(&server(Some(121)), 1.0), None);
        let gone = Error::NotFound {
            place: String::new(),
        };
        assert_eq!(Attempts::new(9, LONGEST).next(&gone, 1.0), None);
    }

    #[test]
    fn dates_are_read() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (field, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("soon", None),
        ] {
            assert_eq!(retry_after(field, now), seconds.map(Duration::from_secs));
        }
    }
}
