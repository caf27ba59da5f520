//! What a token allows (distribution, "Token Scope Documentation"). Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ocicore::RepositoryPath;

/// A set of scopes: for each resource (`repository:a/b`) its actions. In a fixed order, so that it
/// is a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Reading a repository.
    pub(crate) fn pull(path: &RepositoryPath) -> Self {
        Self::of(format!("repository:{path}"), &["pull"])
    }

    /// Reading and writing a repository.
    pub(crate) fn push(path: &RepositoryPath) -> Self {
        Self::of(format!("repository:{path}"), &["pull", "push"])
    }

    /// Deleting in a repository.
    pub(crate) fn delete(path: &RepositoryPath) -> Self {
        Self::of(format!("repository:{path}"), &["delete", "pull", "push"])
    }

    /// Listing repositories.
    pub(crate) fn catalog() -> Self {
        Self::of("registry:catalog".to_owned(), &["*"])
    }

    /// Reads a list of `TYPE:NAME:ACTION[,ACTION]`, separated by spaces. The name may hold colons.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for scope in text.split_ascii_whitespace() {
            let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
            let entry = scopes.0.entry(resource.to_owned()).or_default();
            let actions = actions.split(',').filter(|action| !action.is_empty());
            entry.extend(actions.map(str::to_owned));
        }
        scopes
    }

    /// Both.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            let entry = self.0.entry(resource.clone()).or_default();
            entry.extend(actions.iter().cloned());
        }
        self
    }

    /// Each scope as a token service wants it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }

    fn of(resource: String, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        Self(BTreeMap::from([(resource, actions)]))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scopes_are_sets() {
        let path = "a/b".parse().unwrap();
        let check = |scopes: Scopes, text: &str| assert_eq!(scopes.to_string(), text);
        check(Scopes::pull(&path), "repository:a/b:pull");
        check(Scopes::catalog(), "registry:catalog:*");
        check(
            Scopes::push(&path).and(&Scopes::pull(&"c".parse().unwrap())),
            "repository:a/b:pull,push repository:c:pull",
        );
        check(
            Scopes::parse("repository:a/b:push repository:a/b:pull,push,"),
            "repository:a/b:pull,push",
        );
        check(
            Scopes::parse("repository:h:5000/a:pull"),
            "repository:h:5000/a:pull",
        );
        check(Scopes::parse(" "), "");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text: String) {
            let scopes = Scopes::parse(&text);
            prop_assert_eq!(Scopes::parse(&scopes.to_string()), scopes);
        }
    }
}
