use std::fmt;

use url::Url;

use super::{Result, address};

/// A repository in which coordinates are looked up.
#[derive(Clone, PartialEq, Eq)]
pub struct Repository {
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Paths are made of coordinates.
    Layout(Url),
    /// The search of Nexus 3 knows.
    Search(SearchServer),
}

/// A Nexus 3 with its search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchServer {
    /// The address of the server.
    pub(super) base: Url,
    /// The repository to search in; all if none.
    pub(super) repository: Option<String>,
}

impl Repository {
    /// Any repository in Maven's layout, by its address:
    /// `https://nexus.example.com/repository/releases` of Nexus 3,
    /// `https://nexus.example.com/nexus/content/repositories/releases` of Nexus 2, those of
    /// Artifactory, of a web server.
    ///
    /// # Errors
    /// [`Error::Name`](super::Error::Name) if it is no address.
    pub fn maven(url: &str) -> Result<Self> {
        Ok(Self {
            kind: Kind::Layout(address::base(url)?),
        })
    }

    /// A repository of a Nexus 2, by the address of the server, `http://nexus.example.com:8081/nexus`,
    /// and the repository's name.
    ///
    /// # Errors
    /// [`Error::Name`](super::Error::Name) if it is no address.
    pub fn nexus2(server: &str, repository: &str) -> Result<Self> {
        let base = address::base(server)?;
        // What the original uses; it takes files, too, unlike `content/repositories`.
        let path = format!("service/local/repositories/{repository}/content/");
        Ok(Self {
            kind: Kind::Layout(address::below(&base, &path)),
        })
    }

    /// The search of a Nexus 3, by the address of the server, `https://nexus.example.com`: in one
    /// repository, or in all that one may see.
    ///
    /// # Errors
    /// [`Error::Name`](super::Error::Name) if it is no address.
    pub fn nexus3_search(server: &str, repository: Option<&str>) -> Result<Self> {
        Ok(Self {
            kind: Kind::Search(SearchServer {
                base: address::base(server)?,
                repository: repository.map(str::to_owned),
            }),
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Layout(base) => f.write_str(&address::place(base)),
            Kind::Search(SearchServer { base, repository }) => {
                f.write_str(&address::place(base))?;
                match repository {
                    Some(name) => write!(f, " (search in {name})"),
                    None => f.write_str(" (search)"),
                }
            }
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({self})")
    }
}
