//! Tokens, as token services give them. Pure.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::Secret;

/// How long a token lives if its service does not say (distribution, "Token Authentication").
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// No service is believed for longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A token that may be used until shortly before it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    fresh_until: Instant,
}

impl Token {
    /// Reads the answer of a token service; `now` is when it was asked, so that clocks that differ
    /// do no harm.
    pub(crate) fn parse(body: &[u8], now: Instant) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            token: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
            #[serde(default)]
            expires_in: Option<f64>,
        }
        // The error of the parser may quote the body, which holds secrets.
        let body: Body =
            serde_json::from_slice(body).map_err(|_| "its answer is not a token".to_owned())?;
        let token = [body.token, body.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| "its answer has no token".to_owned())?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its token has characters that no header may hold".to_owned());
        }
        let life = match body.expires_in {
            Some(seconds) if seconds >= 1.0 => {
                Duration::try_from_secs_f64(seconds).map_or(LONGEST_LIFE, |l| l.min(LONGEST_LIFE))
            }
            _ => DEFAULT_LIFE,
        };
        // Early enough for a request that is on its way, and still useful if it lives briefly.
        let margin = (life / 5).min(Duration::from_secs(15));
        Ok(Self {
            secret: Secret::new(token),
            fresh_until: now + (life - margin),
        })
    }

    /// Whether it can be used at `now`.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_used_until_shortly_before_they_expire() {
        let now = Instant::now();
        for (body, secret, seconds) in [
            (r#"{"token":"a"}"#, "a", 48),
            (
                r#"{"token":"","access_token":"b","expires_in":300}"#,
                "b",
                285,
            ),
            (
                r#"{"token":"a","access_token":"b","expires_in":10}"#,
                "a",
                8,
            ),
            (r#"{"token":"a","expires_in":0}"#, "a", 48),
            (r#"{"token":"a","expires_in":-5}"#, "a", 48),
            (r#"{"token":"a","expires_in":1e300}"#, "a", 24 * 3600 - 15),
        ] {
            let token = Token::parse(body.as_bytes(), now).unwrap();
            assert_eq!(token.secret.expose(), secret);
            let at = |seconds| now + Duration::from_secs(seconds);
            assert!(token.is_fresh(at(seconds - 1)), "{body}");
            assert!(!token.is_fresh(at(seconds)), "{body}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for body in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":1}"#,
            "<html>",
        ] {
            assert!(
                Token::parse(body.as_bytes(), Instant::now()).is_err(),
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_life_panics(life: f64) {
            let body = format!(r#"{{"token":"a","expires_in":{life:e}}}"#);
            let _ = Token::parse(body.as_bytes(), Instant::now());
        }
    }
}
