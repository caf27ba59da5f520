//! What a server says about trying again. Pure.

use std::time::{Duration, SystemTime};

pub(crate) use ocicore::Attempts;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_server_says_how_long() {
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
        fn no_field_panics(field: String) {
            let _ = retry_after(&field, SystemTime::now());
        }
    }
}
