use std::{collections::BTreeMap, path::Path};

use ocicore::{Reference, Repository};

use super::file::{self, Toml};
use crate::Result;

/// What names without a host mean (containers-registries.conf(5), `unqualified-search-registries`
/// and `[aliases]`). References of this workspace are complete, so that a program decides itself
/// whether it takes short names: the same name means something else on another machine.
///
/// ```
/// use ociregistry::ShortNames;
///
/// let names = ShortNames::parse("registries.conf", r#"
///     unqualified-search-registries = ["registry.example", "docker.io"]
///     [aliases]
///     "fedora" = "registry.fedoraproject.org/fedora"
/// "#)?;
/// let shown = |name| names.candidates(name).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
/// assert_eq!(shown("fedora:40")?, ["registry.fedoraproject.org/fedora:40"]);
/// assert_eq!(shown("tool")?, ["registry.example/tool:latest", "docker.io/library/tool:latest"]);
/// assert_eq!(shown("quay.io/a/tool:1")?, ["quay.io/a/tool:1"]);
/// # Ok::<(), ociregistry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShortNames {
    aliases: BTreeMap<String, Repository>,
    registries: Vec<String>,
}

impl ShortNames {
    /// Reads a `registries.conf`, or one of the files in `registries.conf.d`.
    ///
    /// # Errors
    /// [`Error::Hosts`](crate::Error::Hosts) if the file cannot be read or understood.
    pub fn from_registries_conf(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&path.display().to_string(), &file::read(path)?)
    }

    /// The same from the text of a file that is called `path` in errors.
    ///
    /// # Errors
    /// [`Error::Hosts`](crate::Error::Hosts) if it cannot be understood.
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let toml = Toml::parse(path, text)?;
        let mut names = Self::default();
        let list = toml.value(
            toml.root(),
            "unqualified-search-registries",
            "a list",
            |item| item.as_array(),
        )?;
        for entry in list.into_iter().flatten() {
            let item = toml.root().get("unqualified-search-registries");
            let host = entry.as_str().unwrap_or_default();
            // A host is what makes a complete name of a short one.
            if is_short(&format!("{host}/x")) || format!("{host}/x").parse::<Reference>().is_err() {
                let kind = entry.type_name();
                let fault = match entry.as_str() {
                    Some(host) => {
                        let shown = super::shown(host);
                        format!("`{shown}` is no registry, expected HOST[:PORT]")
                    }
                    None => format!("a registry to search is of type {kind}, expected a text"),
                };
                return Err(toml.fault(item, fault));
            }
            names.registries.push(host.to_owned());
        }
        let aliases = toml.value(toml.root(), "aliases", "a table", |item| {
            item.as_table_like()
        })?;
        for (short, item) in aliases.into_iter().flat_map(|table| table.iter()) {
            let long = item.as_str().unwrap_or_default();
            // An empty alias takes back what another file says.
            if item.as_str() == Some("") {
                continue;
            }
            let repository = long.parse::<Repository>().ok().filter(|_| !is_short(long));
            let repository = repository.ok_or_else(|| {
                let fault = format!("the alias `{short}` needs a name with a host, without a tag");
                toml.fault(Some(item), fault)
            })?;
            names.aliases.insert(short.to_owned(), repository);
        }
        Ok(names)
    }

    /// Both; where they have an alias for the same name, that of `other` counts. Registries to
    /// search are those of `other` if it has any.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.aliases.extend(other.aliases);
        if !other.registries.is_empty() {
            self.registries = other.registries;
        }
        self
    }

    /// What a name may mean, in the order in which to try: itself if it has a host, else what its
    /// alias names, else one in each registry to search; nothing if there is none.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) with the fault of a name that cannot be read.
    pub fn candidates(&self, name: &str) -> Result<Vec<Reference>> {
        if !is_short(name) {
            return Ok(vec![name.parse()?]);
        }
        let end = name.find([':', '@']).unwrap_or(name.len());
        let (short, rest) = name.split_at(end);
        if let Some(repository) = self.aliases.get(short) {
            return Ok(vec![format!("{repository}{rest}").parse()?]);
        }
        let all = self
            .registries
            .iter()
            .map(|host| format!("{host}/{name}").parse());
        Ok(all.collect::<ocicore::Result<_>>()?)
    }
}

/// Whether a name has no host: its first part has neither dot nor port, and is not `localhost`
/// (distribution/reference, `splitDockerDomain`).
fn is_short(name: &str) -> bool {
    match name.split_once('/') {
        Some((first, _)) => !first.contains(['.', ':']) && first != "localhost",
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_podman_does() {
        let base = ShortNames::parse(
            "FILE",
            "unqualified-search-registries = ['a.io', 'localhost:5000']\n[aliases]\n'x' = 'quay.io/x/y'\n'old' = ''\n'p/q' = 'b.io/q'",
        )
        .unwrap();
        let check = |names: &ShortNames, name: &str, expected: &[&str]| {
            let found = names.candidates(name).unwrap();
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{name}");
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        check(&base, "x", &["quay.io/x/y:latest"]);
        check(&base, "x:1", &["quay.io/x/y:1"]);
        check(
            &base,
            &format!("x@{digest}"),
            &[&format!("quay.io/x/y@{digest}")],
        );
        check(&base, "p/q:1", &["b.io/q:1"]);
        check(
            &base,
            "x/y",
            &["a.io/x/y:latest", "localhost:5000/x/y:latest"],
        );
        check(&base, "localhost/x", &["localhost/x:latest"]);
        check(&ShortNames::default(), "x", &[]);
        let more = ShortNames::parse(
            "FILE",
            "unqualified-search-registries = ['c.io']\n[aliases]\n'x' = 'd.io/x'",
        )
        .unwrap();
        let both = base.and(more);
        check(&both, "x", &["d.io/x:latest"]);
        check(&both, "z", &["c.io/z:latest"]);
        assert!(both.candidates("UPPER").is_err());
    }

    #[test]
    fn faults_name_file_and_line() {
        let mut report = String::new();
        for text in [
            "unqualified-search-registries = 1",
            "unqualified-search-registries = [1]",
            "unqualified-search-registries = ['a b']",
            "unqualified-search-registries = ['docker']",
            "unqualified-search-registries = ['me:hunter2@r.io']",
            "aliases = 1",
            "[aliases]\n'x' = 'y'",
            "[aliases]\n'x' = 'a.io/y:1'",
            "[aliases]\n'x' = 5",
        ] {
            report += &format!(
                "{}\n",
                ShortNames::parse("registries.conf", text).unwrap_err()
            );
        }
        insta::assert_snapshot!(report);
    }
}
