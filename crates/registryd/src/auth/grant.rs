use std::{fmt, str::FromStr};

use ocicore::RepositoryPath;

use crate::Error;

/// What somebody may do with a repository. Closed: the protocol knows no finer distinction that
/// clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Pull and list.
    Read,
    /// Push and delete, too.
    Write,
}

/// Some access to all repositories that fit a pattern.
///
/// ```
/// use registryd::{Access, Grant};
///
/// let grant = Grant::new(Access::Write, "ci/*".parse()?);
/// assert!(grant.allows(&"ci/app".parse()?, Access::Read));
/// assert!(!grant.allows(&"ci/app/cache".parse()?, Access::Read));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    access: Access,
    pattern: Pattern,
}

impl Grant {
    /// That access to these repositories.
    pub fn new(access: Access, pattern: Pattern) -> Self {
        Self { access, pattern }
    }

    /// That access to all repositories.
    pub fn everything(access: Access) -> Self {
        Self::new(access, Pattern::everything())
    }

    /// Whether it is enough.
    pub fn allows(&self, repository: &RepositoryPath, access: Access) -> bool {
        self.access >= access && self.pattern.fits(repository)
    }

    pub(super) fn is_everything(&self, access: Access) -> bool {
        self.access >= access && self.pattern.0 == ["**"]
    }
}

/// Names of repositories: in it, `*` stands for any text within a component, and a component `**`
/// for any number of components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// `**`.
    pub fn everything() -> Self {
        Self(vec!["**".to_owned()])
    }

    /// Whether a repository is meant.
    pub fn fits(&self, repository: &RepositoryPath) -> bool {
        let components: Vec<&str> = repository.as_str().split('/').collect();
        fits_components(&self.0, &components)
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self, Error> {
        let component = |component: &str| {
            !component.is_empty()
                && component.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte)
                })
        };
        if input.len() <= 255 && input.split('/').all(component) {
            Ok(Self(input.split('/').map(str::to_owned).collect()))
        } else {
            Err(Error::Setting {
                what: "repository pattern",
                value: input.to_owned(),
                fault: "expected components of a repository name, `*` and `**`".to_owned(),
            })
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

fn fits_components(pattern: &[String], components: &[&str]) -> bool {
    match (pattern, components) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == "**" => {
            // `**` alone means something at least, as no repository has no component.
            (0..=components.len()).any(|n| fits_components(rest, &components[n..]))
        }
        ([first, pattern @ ..], [component, components @ ..]) => {
            fits_text(first.as_bytes(), component.as_bytes())
                && fits_components(pattern, components)
        }
        _ => false,
    }
}

/// Greedy, going back to the last `*` only: linear in the product of the lengths.
pub(crate) fn fits_text(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_by_component() {
        for (pattern, name, fits) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", true),
            ("a/**", "b/a", false),
            ("a/*/c", "a/b/c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "a/b/d", false),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("quay.io/*", "quay.io/x", true),
        ] {
            let (pattern, name): (Pattern, _) = (pattern.parse().unwrap(), name.parse().unwrap());
            assert_eq!(pattern.fits(&name), fits, "{pattern} {name}");
        }
        for bad in ["", "a//b", "A", "a/../b?", "/a"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
