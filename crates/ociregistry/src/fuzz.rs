//! Entry points for the fuzz targets: each takes what a registry may send, and must return.

use ocicore::Digest;
use url::Url;

use crate::{answer, auth, endpoint, range, retry};

/// `WWW-Authenticate`.
pub fn challenge(text: &str) {
    auth::fuzz_challenge(text);
}

/// `Location`, relative to an address of TLS, which it never leaves for plain HTTP at the same port.
///
/// # Panics
/// If that does not hold.
pub fn location(text: &str) {
    let Ok(base) = Url::parse("https://r.io/v2/a/blobs/uploads/") else {
        return;
    };
    if let Ok(url) = endpoint::join(&base, text) {
        assert!(matches!(url.scheme(), "http" | "https"));
        assert!(url.host() != base.host() || url.port().is_some() || url.scheme() == "https");
        let _ = endpoint::redacted(&endpoint::with_digest(url, &Digest::of(b"")));
    }
}

/// `Range`, `Content-Range` and `Retry-After`.
///
/// # Panics
/// If a part that was not asked for is accepted.
pub fn ranges(text: &str) {
    let _ = range::uploaded(text);
    let _ = retry::retry_after(text, std::time::SystemTime::UNIX_EPOCH);
    if let Ok(part) = range::answered(Some(text), &(10..20), 30) {
        assert!(part.start == 10 && part.end > 10 && part.end <= 20);
    }
}

/// `Link`.
pub fn link(text: &str) {
    let _ = endpoint::next_link([text]);
}

/// The body of an error.
///
/// # Panics
/// If it could move a terminal's cursor.
pub fn error_body(bytes: &[u8]) {
    for fault in answer::faults(bytes) {
        assert!(!fault.to_string().contains(char::is_control));
    }
}
