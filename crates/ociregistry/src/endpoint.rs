//! Addresses of the API, and those that a registry sends back. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use ocicore::{Digest, Name, RepositoryPath};
use url::{Host, Url};

/// Longest `Location` or `Link` that is read, in bytes.
const LONGEST_URL: usize = 16 << 10;

/// Where the API of one registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Ends with `/v2/`, but for mirrors that want it otherwise.
    base: Url,
    /// The host that a mirror stands for.
    namespace: Option<String>,
}

impl Endpoint {
    /// The API of `host`, which may have a port. Docker Hub's is at another name than its images.
    pub(crate) fn new(scheme: Scheme, host: &str) -> Option<Self> {
        let host = match host {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let base = Url::parse(&format!("{}://{host}/v2/", scheme.as_str())).ok()?;
        Some(Self {
            base,
            namespace: None,
        })
    }

    /// The API below any address, as mirrors have it.
    pub(crate) fn at(mut base: Url) -> Self {
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        base.set_query(None);
        base.set_fragment(None);
        Self {
            base,
            namespace: None,
        }
    }

    /// Names the host that is meant with `?ns=`.
    pub(crate) fn with_namespace(mut self, host: &str) -> Self {
        self.namespace = Some(host.to_owned());
        self
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn manifest(&self, path: &RepositoryPath, name: &Name) -> Url {
        self.join(&format!("{path}/manifests/{name}"))
    }

    pub(crate) fn blob(&self, path: &RepositoryPath, digest: &Digest) -> Url {
        self.join(&format!("{path}/blobs/{digest}"))
    }

    /// Starts an upload.
    pub(crate) fn upload(&self, path: &RepositoryPath) -> Url {
        self.join(&format!("{path}/blobs/uploads/"))
    }

    /// Starts an upload, or mounts the blob if it is in `from`: where it may be there already, that
    /// is the repository itself (distribution-spec §Mounting a blob from another repository).
    pub(crate) fn mount(
        &self,
        path: &RepositoryPath,
        digest: &Digest,
        from: &RepositoryPath,
    ) -> Url {
        let mut url = self.upload(path);
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from.as_str());
        url
    }

    pub(crate) fn tags(&self, path: &RepositoryPath) -> Url {
        self.join(&format!("{path}/tags/list?n=1000"))
    }

    pub(crate) fn referrers(&self, path: &RepositoryPath, digest: &Digest) -> Url {
        self.join(&format!("{path}/referrers/{digest}"))
    }

    pub(crate) fn catalog(&self) -> Url {
        self.join("_catalog?n=1000")
    }

    /// `rest` begins with a repository's name or an underscore, so that it is a relative path and
    /// nothing of it can be read as a scheme: a digest's colon comes after a slash.
    fn join(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        url.set_path(&format!("{}{path}", self.base.path()));
        url.set_query(query);
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }
}

/// How to speak with a registry. Closed: there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether a host with or without port is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    Url::parse(&format!("http://{host}/")).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    })
}

/// Host and port of an address, as it is named in errors and configuration.
pub(crate) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}

/// Scheme, host and port of both are the same: only then do credentials follow.
pub(crate) fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// An address for errors: without user info, query and fragment, which hold signatures and tokens.
pub(crate) fn redacted(url: &Url) -> String {
    let mut shown = format!("{}://{}{}", url.scheme(), authority(url), url.path());
    if let Some((cut, _)) = shown.char_indices().nth(300) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

/// What is no address, for errors: likewise without what may be user info or a query.
fn shown(text: &str) -> String {
    let (address, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let (before, address) = match address.rsplit_once('@') {
        // A password may have a `?` in it.
        _ if rest.contains('@') => ("", ""),
        Some((_, host)) => ("…@", host),
        None => ("", address),
    };
    let shown: String = address.chars().take(200).collect();
    let after = match address.len() == shown.len() && rest.is_empty() {
        true => "",
        false => "…",
    };
    format!("{before}{}{after}", shown.escape_debug())
}

/// Follows a `Location` or `Link` that came from `base`: relative or absolute (RFC 9110 §10.2.2).
///
/// Proxies that end TLS make registries name `http` addresses of the same host and port; these stay
/// with `https`. Other `http` addresses are returned as they are, for `Wire::refuse_plain`.
pub(crate) fn join(base: &Url, location: &str) -> Result<Url, String> {
    if location.is_empty() || location.len() > LONGEST_URL {
        let length = location.len();
        return Err(format!(
            "its location has {length} bytes, expected 1 to {LONGEST_URL}"
        ));
    }
    let mut url = base
        .join(location)
        .map_err(|error| format!("its location `{}` is no address: {error}", shown(location)))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let scheme = url.scheme();
        return Err(format!(
            "its location has the scheme `{scheme}`, expected `http` or `https`"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its location has user info".to_owned());
    }
    url.set_fragment(None);
    if base.scheme() == "https"
        && url.scheme() == "http"
        && url.host() == base.host()
        && (url.port() == base.port() || url.port() == base.port_or_known_default())
    {
        url.set_scheme("https")
            .map_err(|()| "its location has no host".to_owned())?;
    }
    Ok(url)
}

/// Adds the digest that ends an upload; what the registry put into its `Location` stays.
pub(crate) fn with_digest(mut location: Url, digest: &Digest) -> Url {
    location
        .query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    location
}

/// The next page of a list: the target of the first `Link` with `rel="next"` (RFC 8288).
pub(crate) fn next_link<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<String> {
    for field in fields {
        let mut rest = field;
        while let Some(start) = rest.find('<') {
            let end = start + 1 + rest[start + 1..].find('>')?;
            let target = &rest[start + 1..end];
            // Parameters reach to the comma before the next target; a quoted comma is no problem,
            // for only `rel` matters.
            let after = &rest[end + 1..];
            let stop = after.find('<').unwrap_or(after.len());
            let is_next = after[..stop].split([';', ',']).any(|parameter| {
                parameter.split_once('=').is_some_and(|(key, value)| {
                    key.trim().eq_ignore_ascii_case("rel")
                        && value
                            .trim()
                            .trim_matches('"')
                            .split_ascii_whitespace()
                            .any(|relation| relation.eq_ignore_ascii_case("next"))
                })
            });
            if is_next {
                return Some(target.to_owned());
            }
            rest = &after[stop..];
        }
    }
    None
}

/// A repository for errors.
pub(crate) fn place(host: &str, path: Option<&RepositoryPath>) -> String {
    match path {
        Some(path) => format!("{host}/{path}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_the_api() {
        let digest = Digest::of(b"");
        let path: RepositoryPath = "a/b".parse().unwrap();
        let check = |url: Url, expected: &str| assert_eq!(url.as_str(), expected);
        let hub = Endpoint::new(Scheme::Https, "docker.io").unwrap();
        check(
            hub.tags(&path),
            "https://registry-1.docker.io/v2/a/b/tags/list?n=1000",
        );
        let local = Endpoint::new(Scheme::Http, "[::1]:5000").unwrap();
        check(
            local.manifest(&path, &"v1".parse().unwrap()),
            "http://[::1]:5000/v2/a/b/manifests/v1",
        );
        check(
            local.blob(&path, &digest),
            &format!("http://[::1]:5000/v2/a/b/blobs/{digest}"),
        );
        let encoded = digest.to_string().replace(':', "%3A");
        check(
            local.mount(&path, &digest, &"c".parse().unwrap()),
            &format!("http://[::1]:5000/v2/a/b/blobs/uploads/?mount={encoded}&from=c"),
        );
        let mirror = Endpoint::at(url("https://m.io/proxy/v2?x#y"));
        check(mirror.catalog(), "https://m.io/proxy/v2/_catalog?n=1000");
        assert!(Endpoint::new(Scheme::Http, "300.300.300.300").is_none());
    }

    #[test]
    fn this_machine() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:2",
            "a.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.io",
            "128.0.0.1",
            "[::2]",
            "docker.io",
            "notlocalhost",
            "127.0.0.1.io",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = "https://r.io/v2/a/blobs/uploads/";
        for (location, expected) in [
            ("/v2/a/x?_state=1", Ok("https://r.io/v2/a/x?_state=1")),
            ("x?y=%2B+z", Ok("https://r.io/v2/a/blobs/uploads/x?y=%2B+z")),
            ("https://other.io:7/x#f", Ok("https://other.io:7/x")),
            ("//other.io/x", Ok("https://other.io/x")),
            ("http://r.io/x", Ok("https://r.io/x")),
            ("http://r.io:80/x", Ok("https://r.io/x")),
            ("http://r.io:443/x", Ok("https://r.io/x")),
            ("http://r.io:5000/x", Ok("http://r.io:5000/x")),
            ("", Err("its location has 0 bytes, expected 1 to 16384")),
            (
                "http://",
                Err("its location `http://` is no address: empty host"),
            ),
            (
                "file:///etc/passwd",
                Err("its location has the scheme `file`, expected `http` or `https`"),
            ),
            ("https://u:p@r.io/", Err("its location has user info")),
            (
                "https://\u{1b}[1m/",
                Err(
                    "its location `https://\\u{1b}[1m/` is no address: invalid international domain name",
                ),
            ),
        ] {
            let joined = join(&url(base), location);
            assert_eq!(
                joined.as_ref().map(Url::as_str).map_err(String::as_str),
                expected
            );
        }
        let location = with_digest(url("https://r.io/x?a=%2B&b"), &Digest::of(b""));
        assert!(
            location
                .query()
                .unwrap()
                .starts_with("a=%2B&b&digest=sha256%3Ae3b0")
        );
    }

    #[test]
    fn what_is_no_address_is_shown_without_secrets() {
        for (location, expected) in [
            ("http://[", "http://["),
            ("http://[x/y?sig=secret", "http://[x/y…"),
            ("http://[x/y#secret", "http://[x/y…"),
            ("http://me:secret@[", "…@["),
            ("http://me:se@cret@[/x?secret", "…@[/x…"),
            ("http://me:se?cret@[", "…"),
            ("http://me:se/cret@[?secret@x", "…"),
            ("http:me:secret@[", "…@["),
            (&"é".repeat(201), &("é".repeat(200) + "…")),
        ] {
            assert_eq!(shown(location), expected);
        }
        let error = join(&url("https://r.io/"), "http://u:p@[/x?sig=1").unwrap_err();
        assert_eq!(
            error,
            "its location `…@[/x…` is no address: invalid IPv6 address"
        );
    }

    #[test]
    fn origins_are_compared() {
        let same = |a, b| is_same_origin(&url(a), &url(b));
        assert!(same("https://a/x", "https://a:443/y?z"));
        assert!(!same("https://a/", "http://a/"));
        assert!(!same("https://a/", "https://a:444/"));
        assert!(!same("https://a/", "https://b.a/"));
        assert_eq!(redacted(&url("https://u:p@a:5/x?sig=1#f")), "https://a:5/x");
    }

    #[test]
    fn the_next_page_is_found() {
        for (fields, expected) in [
            (vec![], None),
            (vec!["</v2/a?last=x>; rel=\"next\""], Some("/v2/a?last=x")),
            (
                vec!["<a>; rel=prev, <b>; title=\"x, y\"; rel=\"last next\""],
                Some("b"),
            ),
            (vec!["<a>; rel=prev", "<b>;REL=Next"], Some("b")),
            (vec!["<a>; rel=nextish"], None),
            (vec!["<a; rel=next"], None),
            (vec!["a; rel=next"], None),
        ] {
            assert_eq!(
                next_link(fields.iter().copied()).as_deref(),
                expected,
                "{fields:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_registry_sends_panics(text: String) {
            let _ = next_link([text.as_str()]);
            if let Ok(url) = join(&url("https://r.io/v2/"), &text) {
                prop_assert!(url.scheme() == "https" || url.host_str() != Some("r.io") || url.port().is_some());
                let _ = redacted(&with_digest(url, &Digest::of(b"")));
            }
        }
    }
}
