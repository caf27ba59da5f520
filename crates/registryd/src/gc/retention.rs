use std::{
    cmp::Reverse,
    time::{Duration, SystemTime},
};

use ocicore::{RepositoryPath, Tag};

use crate::auth::{Pattern, fits_text};

/// Which tags of which repositories are kept. A tag is removed when a rule is about it and none of
/// the rule's reasons to keep it holds; the first rule that is about it decides.
///
/// ```
/// use std::time::Duration;
/// use registryd::gc::Rule;
///
/// // Of the tags of changes, those of the last week and in any case the ten newest.
/// let rule = Rule::new("**".parse()?, "change_*")
///     .keep_younger(Duration::from_secs(7 * 86_400))
///     .keep_newest(10);
/// # Ok::<(), registryd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    repositories: Pattern,
    tags: String,
    younger: Option<Duration>,
    newest: usize,
}

impl Rule {
    /// A rule about the tags that fit `tags`, in which `*` stands for any text. Without a reason
    /// to keep them, all are removed.
    pub fn new(repositories: Pattern, tags: impl Into<String>) -> Self {
        Self {
            repositories,
            tags: tags.into(),
            younger: None,
            newest: 0,
        }
    }

    /// Keeps what was pushed within that time.
    pub fn keep_younger(mut self, age: Duration) -> Self {
        self.younger = Some(age);
        self
    }

    /// Keeps that many of the last pushed, in each repository.
    pub fn keep_newest(mut self, count: usize) -> Self {
        self.newest = count;
        self
    }

    fn is_about(&self, repository: &RepositoryPath, tag: &Tag) -> bool {
        self.repositories.fits(repository)
            && fits_text(self.tags.as_bytes(), tag.as_str().as_bytes())
    }
}

/// The tags of a repository that no rule keeps, in the order that they came.
pub(super) fn expired<'a>(
    rules: &[Rule],
    repository: &RepositoryPath,
    tags: impl IntoIterator<Item = (&'a Tag, SystemTime)>,
    now: SystemTime,
) -> Vec<&'a Tag> {
    let mut about: Vec<Vec<(&Tag, SystemTime, usize)>> = vec![Vec::new(); rules.len()];
    for (position, (tag, pushed)) in tags.into_iter().enumerate() {
        if let Some(n) = rules.iter().position(|rule| rule.is_about(repository, tag)) {
            about[n].push((tag, pushed, position));
        }
    }
    let mut expired = Vec::new();
    for (rule, mut tags) in rules.iter().zip(about) {
        tags.sort_by_key(|(tag, pushed, _)| (Reverse(*pushed), *tag));
        for (tag, pushed, position) in tags.into_iter().skip(rule.newest) {
            let young = rule
                .younger
                .is_some_and(|limit| now.duration_since(pushed).is_ok_and(|age| age <= limit));
            if !young {
                expired.push((position, tag));
            }
        }
    }
    expired.sort_unstable_by_key(|(position, _)| *position);
    expired.into_iter().map(|(_, tag)| tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_expire_by_pattern_age_and_count() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let tags: Vec<(Tag, SystemTime)> = [
            ("v1", 500),
            ("change_1", 400),
            ("change_2", 300),
            ("change_3", 50),
            ("x", 10),
        ]
        .into_iter()
        .map(|(tag, age)| (tag.parse().unwrap(), now - Duration::from_secs(age)))
        .collect();
        let rule = |tags: &str| Rule::new("a/*".parse().unwrap(), tags);
        let second = Duration::from_secs;
        for (rules, repository, gone) in [
            (vec![], "a/b", vec![]),
            (vec![rule("*")], "b", vec![]),
            (
                vec![rule("*")],
                "a/b",
                vec!["v1", "change_1", "change_2", "change_3", "x"],
            ),
            (
                vec![rule("change_*")],
                "a/b",
                vec!["change_1", "change_2", "change_3"],
            ),
            (
                vec![rule("change_*").keep_younger(second(300))],
                "a/b",
                vec!["change_1"],
            ),
            (
                vec![rule("change_*").keep_newest(1)],
                "a/b",
                vec!["change_1", "change_2"],
            ),
            (
                vec![rule("change_*").keep_newest(1).keep_younger(second(300))],
                "a/b",
                vec!["change_1"],
            ),
            (
                vec![rule("v*").keep_newest(1), rule("*").keep_newest(1)],
                "a/b",
                vec!["change_1", "change_2", "change_3"],
            ),
        ] {
            let tags = tags.iter().map(|(tag, pushed)| (tag, *pushed));
            let found = expired(&rules, &repository.parse().unwrap(), tags, now);
            let found: Vec<&str> = found.into_iter().map(Tag::as_str).collect();
            assert_eq!(found, gone, "{rules:?}");
        }
    }
}
