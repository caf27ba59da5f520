use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ocicore::RepositoryPath;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Access;
use crate::{Error, Result};

/// The one header that our tokens have, `{"alg":"HS256","typ":"JWT"}`. Others are not looked at,
/// so that nobody else chooses the algorithm.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Signs tokens. All servers that share it take one another's. Prints as `***`.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A configured secret.
    ///
    /// # Errors
    /// If it is empty.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self> {
        let secret = secret.into();
        if secret.is_empty() {
            return Err(Error::Setting {
                what: "secret",
                value: "***".to_owned(),
                fault: "expected some characters".to_owned(),
            });
        }
        Ok(Self(secret))
    }

    /// One that only this process knows.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn random() -> Result<Self> {
        let mut secret = vec![0; 32];
        getrandom::fill(&mut secret).map_err(|error| Error::Setting {
            what: "secret",
            value: "***".to_owned(),
            fault: error.to_string(),
        })?;
        Ok(Self(secret))
    }

    /// A JSON Web Token (RFC 7519), so that clients find its expiry.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String> {
        let claims = serde_json::to_vec(claims).map_err(|error| Error::Setting {
            what: "token",
            value: "***".to_owned(),
            fault: error.to_string(),
        })?;
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed)?.finalize().into_bytes());
        Ok(format!("{signed}.{signature}"))
    }

    /// What a token says, if it is ours and neither expired nor of the future.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(signed).ok()?.verify_slice(&signature).ok()?;
        if header != HEADER {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (claims.iat <= seconds(now) + 60 && seconds(now) < claims.exp).then_some(claims)
    }

    fn mac(&self, signed: &str) -> Result<Hmac<Sha256>> {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).map_err(|error| Error::Setting {
                what: "secret",
                value: "***".to_owned(),
                fault: error.to_string(),
            })?;
        mac.update(signed.as_bytes());
        Ok(mac)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a token says, with the names of the distribution project's token specification.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
    pub(super) access: Vec<Scope>,
}

impl Claims {
    pub(super) fn new(
        subject: &str,
        now: SystemTime,
        lifetime: Duration,
        access: Vec<Scope>,
    ) -> Self {
        Self {
            iss: "registryd".to_owned(),
            sub: subject.to_owned(),
            iat: seconds(now),
            exp: seconds(now) + lifetime.as_secs(),
            access,
        }
    }

    /// Empty for everybody.
    pub(super) fn subject(&self) -> &str {
        &self.sub
    }
}

/// `TYPE:NAME:ACTIONS` of the token protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

impl Scope {
    /// Reads one scope; none if it is not of that form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        })
    }

    /// The repository that it is about.
    pub(super) fn repository(&self) -> Option<RepositoryPath> {
        (self.kind == "repository")
            .then(|| self.name.parse().ok())
            .flatten()
    }

    pub(super) fn has(&self, access: Access) -> bool {
        self.actions.iter().any(|action| match access {
            Access::Read => action == "pull" || action == "*",
            Access::Write => action == "push" || action == "*",
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(now: SystemTime) -> Claims {
        let scope = Scope::parse("repository:a/b:pull,push").unwrap();
        Claims::new("ann", now, Duration::from_secs(60), vec![scope])
    }

    #[test]
    fn only_our_own_unexpired_tokens_are_taken() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let secret = Secret::new("s").unwrap();
        let token = secret.sign(&claims(now)).unwrap();
        let found = secret
            .verify(&token, now + Duration::from_secs(59))
            .unwrap();
        assert_eq!(found.subject(), "ann");
        assert_eq!(found.access, claims(now).access);

        let expired = now + Duration::from_secs(60);
        assert!(secret.verify(&token, expired).is_none());
        assert!(
            secret
                .verify(&token, now - Duration::from_secs(61))
                .is_none()
        );
        let other = Secret::new("t").unwrap();
        assert!(other.verify(&token, now).is_none());
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        parts[0].clone_from(&none);
        assert!(secret.verify(&parts.join("."), now).is_none());
        assert!(
            secret
                .verify(&format!("{none}.{}.", parts[1]), now)
                .is_none()
        );
        for cut in 0..token.len() {
            assert!(secret.verify(&token[..cut], now).is_none());
        }
    }

    #[test]
    fn scopes_are_read() {
        let scope = Scope::parse("repository:localhost:5000/a:pull").unwrap();
        assert_eq!(scope.name, "localhost:5000/a");
        assert_eq!(scope.repository(), None);
        assert_eq!(Scope::parse("repository"), None);
    }
}
