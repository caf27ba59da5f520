use ocicore::Reference;

use crate::vars::Value;

/// The `img_parts` of a tag: what fields like `{img_parts[tag]}` may name. The keys are those of the
/// original, the grammar is Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) registry: Option<String>,
    pub(crate) registry_host: Option<String>,
    pub(crate) registry_port: Option<String>,
    /// All of the path but its last component.
    pub(crate) repo: Option<String>,
    pub(crate) image: String,
    /// None if the text has none.
    pub(crate) tag: Option<String>,
}

impl Parts {
    /// Takes a text apart that parses as `reference` and has no digest.
    pub(crate) fn of(text: &str, reference: &Reference) -> Self {
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (text, None),
        };
        // All of the text is the path, but for what Docker adds by itself, or a registry comes first.
        let path = reference.repository().path().as_str();
        let whole = path == name || path.strip_prefix("library/") == Some(name);
        let registry = name
            .split_once('/')
            .map(|(first, _)| first)
            .filter(|_| !whole);
        let local = registry.map_or(name, |registry| &name[registry.len() + 1..]);
        let (repo, image) = match local.rsplit_once('/') {
            Some((repo, image)) => (Some(repo.to_owned()), image),
            None => (None, local),
        };
        // The colons of an IPv6 address are within its brackets.
        let port = registry
            .and_then(|registry| registry.rsplit_once(':'))
            .filter(|(_, port)| !port.contains(']'));
        Self {
            registry: registry.map(str::to_owned),
            registry_host: port.map(|(host, _)| host).or(registry).map(str::to_owned),
            registry_port: port.map(|(_, port)| port.to_owned()),
            repo,
            image: image.to_owned(),
            tag,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let parts = [
            ("registry", Value::from(self.registry.as_ref())),
            ("registry_host", Value::from(self.registry_host.as_ref())),
            ("registry_port", Value::from(self.registry_port.as_ref())),
            ("repo", Value::from(self.repo.as_ref())),
            ("image", Value::from(&*self.image)),
            ("tag", Value::from(self.tag.as_ref())),
        ];
        Value::Map(parts.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_parts_follow_dockers_grammar() {
        let cases = [
            ("b/a:1", ["", "", "", "b", "a", "1"]),
            ("a", ["", "", "", "", "a", ""]),
            ("a:1", ["", "", "", "", "a", "1"]),
            ("c:2/b/a:1", ["c:2", "c", "2", "b", "a", "1"]),
            (
                "quay.io/foo/bar:1",
                ["quay.io", "quay.io", "", "foo", "bar", "1"],
            ),
            (
                "localhost:5000/a/b/c:1",
                ["localhost:5000", "localhost", "5000", "a/b", "c", "1"],
            ),
            ("localhost/a", ["localhost", "localhost", "", "", "a", ""]),
            (
                "[::1]:5000/b/a:1",
                ["[::1]:5000", "[::1]", "5000", "b", "a", "1"],
            ),
            ("[::1]/b/a", ["[::1]", "[::1]", "", "b", "a", ""]),
            ("docker.io/a", ["docker.io", "docker.io", "", "", "a", ""]),
            ("library/a", ["", "", "", "library", "a", ""]),
            ("a.b/a.b/c", ["a.b", "a.b", "", "a.b", "c", ""]),
            ("x/y/z:1", ["", "", "", "x/y", "z", "1"]),
        ];
        for (text, expected) in cases {
            let parts = Parts::of(text, &text.parse().unwrap());
            let seen = [
                &parts.registry,
                &parts.registry_host,
                &parts.registry_port,
                &parts.repo,
                &Some(parts.image.clone()),
                &parts.tag,
            ];
            assert_eq!(
                seen.map(|part| part.as_deref().unwrap_or_default()),
                expected,
                "{text}"
            );
        }
    }
}
