//! When to try again.

use std::time::{Duration, SystemTime};

use ocicore::{Attempts, Cx};

use super::{Error, Result, client};

/// Waits before the next attempt, or returns the error if there is to be none.
pub(super) async fn wait(cx: &Cx, attempts: &mut Attempts, error: Error) -> Result<()> {
    match attempts.pause(error.class(), error.retry_after()) {
        None => Err(error),
        Some(pause) => {
            tracing::debug!(%error, ?pause, "trying again");
            client::unless_cancelled(cx, tokio::time::sleep(pause)).await
        }
    }
}

/// Reads `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(field: &str, now: SystemTime) -> Option<Duration> {
    let field = field.trim();
    match field.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A date that has passed asks for no pause.
        Err(_) => {
            let date = httpdate::parse_http_date(field).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
