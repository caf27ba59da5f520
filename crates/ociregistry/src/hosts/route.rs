//! Which servers have a repository. Pure.

use ocicore::{Name, Repository, RepositoryPath};
use url::Url;

use crate::{
    Error, Result,
    endpoint::{self, Endpoint},
};

/// A server from which what another one has can be read, see [`Hosts::with_mirror`](crate::Hosts::with_mirror).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Ends with `/v2/`, or with whatever its owner chose instead.
    base: Url,
    /// What stands in front of the path, or in place of the rule's prefix.
    path: String,
    namespace: bool,
    reads: Reads,
}

/// Closed: what a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    All,
    ByDigest,
    ByTag,
}

impl Mirror {
    /// A mirror by its address, for example `https://mirror.example:5000`; a path comes before
    /// `/v2/`. Its requests carry `?ns=HOST`, so that one mirror can serve several hosts.
    ///
    /// # Errors
    /// If it is no `http` or `https` address, or one with a user or a password.
    pub fn at(address: &str) -> Result<Self> {
        let mut url = super::server(address).map_err(|expected| {
            ocicore::Error::parse("address of a mirror", &super::shown(address), expected)
        })?;
        url.set_path(&format!("{}/v2/", url.path().trim_end_matches('/')));
        Ok(Self::from_base(url).with_namespace())
    }

    pub(super) fn from_base(base: Url) -> Self {
        Self {
            base,
            path: String::new(),
            namespace: false,
            reads: Reads::All,
        }
    }

    /// A place below a server's repositories.
    pub(super) fn below(base: Url, path: &str) -> Option<Self> {
        let good = path.is_empty() || path.parse::<RepositoryPath>().is_ok();
        good.then(|| Self {
            path: path.to_owned(),
            ..Self::from_base(base)
        })
    }

    pub(super) fn with_namespace(mut self) -> Self {
        self.namespace = true;
        self
    }

    pub(super) fn with_reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Where it has a repository that the rule of `prefix` fits.
    pub(super) fn site(&self, name: &Repository, prefix: &str) -> Result<Site> {
        // What follows the host in the prefix is replaced, too; a wildcard is a host alone.
        let cut = prefix.split_once('/').map_or("", |(_, path)| path);
        let rest = name.path().as_str().strip_prefix(cut).unwrap_or_default();
        let path = match (&*self.path, rest.trim_start_matches('/')) {
            ("", rest) => rest.to_owned(),
            (path, "") => path.to_owned(),
            (path, rest) => format!("{path}/{rest}"),
        };
        let mut endpoint = Endpoint::at(self.base.clone());
        if self.namespace {
            endpoint = endpoint.with_namespace(name.host());
        }
        Ok(Site {
            host: super::login_host(&endpoint::authority(&self.base)),
            path: path.parse().map_err(Error::Store)?,
            endpoint,
            reads: self.reads,
        })
    }
}

/// Where a repository is: at home, or at a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    /// The host to log in to.
    pub(crate) host: String,
    pub(crate) path: RepositoryPath,
    reads: Reads,
}

impl Site {
    pub(super) fn home(endpoint: Endpoint, name: &Repository) -> Self {
        Self {
            endpoint,
            host: name.host().to_owned(),
            path: name.path().clone(),
            reads: Reads::All,
        }
    }

    /// Whether it is to be asked for this.
    pub(crate) fn serves(&self, name: &Name) -> bool {
        match self.reads {
            Reads::All => true,
            Reads::ByDigest => name.digest().is_some(),
            Reads::ByTag => name.tag().is_some(),
        }
    }
}

/// What holds for the repositories that begin with a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// `HOST[/PATH]`, `*.DOMAIN`, or `*`.
    pub(super) prefix: String,
    /// Where they are instead of where their name says.
    pub(super) location: Option<Mirror>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) blocked: bool,
}

impl Rule {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            location: None,
            mirrors: Vec::new(),
            blocked: false,
        }
    }

    pub(super) fn with_mirror(mut self, mirror: Mirror) -> Self {
        self.mirrors.push(mirror);
        self
    }

    /// How well it fits; none if not at all.
    pub(super) fn fit(&self, name: &Repository) -> Option<usize> {
        let prefix = self.prefix.trim_end_matches('/');
        let fits = match prefix.strip_prefix('*') {
            Some("") => return Some(0),
            Some(domain) => domain.starts_with('.') && name.host().ends_with(domain),
            None => {
                let name = name.to_string();
                let rest = name.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        fits.then_some(prefix.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_may_be_below_a_path() {
        let name = "quay.io/a/b".parse().unwrap();
        let check = |address: &str, expected: &str| {
            let site = Mirror::at(address).unwrap().site(&name, "quay.io").unwrap();
            let url = site.endpoint.manifest(&site.path, &"v1".parse().unwrap());
            assert_eq!(url.as_str(), expected);
            assert!(!site.host.is_empty());
        };
        check(
            "http://m:5000",
            "http://m:5000/v2/a/b/manifests/v1?ns=quay.io",
        );
        check(
            "https://m/proxy/",
            "https://m/proxy/v2/a/b/manifests/v1?ns=quay.io",
        );
        for bad in ["", "m", "ftp://m", "https://"] {
            assert!(Mirror::at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_end_at_a_slash() {
        let fit = |prefix: &str, name: &str| {
            Rule::new(prefix.to_owned())
                .fit(&name.parse().unwrap())
                .is_some()
        };
        assert!(fit("r.io", "r.io/a") && fit("r.io/a", "r.io/a/b") && fit("*.io", "r.io/a"));
        assert!(fit("*", "r.io/a") && fit("r.io/a", "r.io/a"));
        assert!(!fit("r.io/a", "r.io/ab") && !fit("r.i", "r.io/a") && !fit("*.r.io", "r.io/a"));
    }
}
