//! Addresses: how they are read, shown, and compared. Pure.

use url::Url;

use super::{Error, Result};

/// Reads an address that a user gave. It has no user information, which would end up in logs.
pub(super) fn parse(text: &str) -> Result<Url> {
    let error = |value: String, expected| Error::Name {
        what: "address",
        value,
        expected,
    };
    let url: Url = text.parse().map_err(|_| {
        error(
            redacted(text),
            "expected `http://HOST/…` or `https://HOST/…`",
        )
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        let expected = "expected `http://HOST/…` or `https://HOST/…`";
        return Err(error(redacted(&place(&url)), expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let expected = "expected no user name in it: credentials come from elsewhere";
        return Err(error(place(&url), expected));
    }
    Ok(url)
}

/// An address as a base for [`Url::join`]: with a slash at its end, without query.
pub(super) fn base(text: &str) -> Result<Url> {
    let mut url = parse(text)?;
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// The address of a file below a base.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// The address of a file beside a file: the same with an ending.
pub(super) fn beside(url: &Url, extension: &str) -> Url {
    let mut beside = url.clone();
    beside.set_path(&format!("{}.{extension}", url.path()));
    beside.set_query(None);
    beside
}

/// An address as it may be shown: without user information, query and fragment.
pub(super) fn place(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for addresses that cannot have such a part.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

/// The last part of the path, decoded where that is harmless.
pub(super) fn file_name(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut parts| parts.next_back());
    last.unwrap_or_default().replace("%20", " ")
}

pub(super) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// What cannot be parsed, up to where it might have a password.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let url = "https://me:hunter2@h.io:8443/a/b.zip?token=hunter2#x".parse();
        assert_eq!(place(&url.unwrap()), "https://h.io:8443/a/b.zip");
        let mut shown = String::new();
        for text in [
            "https://me:hunter2@h.io/a",
            "ftp://h.io/a",
            "me:hunter2@h.io/a",
            "http://me:hunter2@[/a",
            "nexus",
        ] {
            shown += &format!("{}\n", parse(text).unwrap_err());
        }
        assert!(!shown.contains("hunter2"), "{shown}");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn files_lie_below_bases_and_beside_files() {
        let base = base("http://h.io/repository/releases?x").unwrap();
        assert_eq!(base.as_str(), "http://h.io/repository/releases/");
        let file = below(&base, "org/example/a-1+b.zip");
        assert_eq!(
            beside(&file, "sha1").as_str(),
            "http://h.io/repository/releases/org/example/a-1+b.zip.sha1"
        );
        assert_eq!(
            below(&base, "a b/../c?d").as_str(),
            "http://h.io/repository/releases/a%20b/c%3Fd"
        );
        assert_eq!(file_name(&file), "a-1+b.zip");
    }
}
