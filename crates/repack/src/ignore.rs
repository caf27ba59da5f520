use crate::{EntryPath, Pattern, Result};

/// Which files of a directory are left out, in the format of `.dockerignore`.
///
/// A line is a pattern that matches a path or a directory above it; `!` takes back what a line before
/// left out, and the last line that matches counts. `#` begins a comment.
///
/// ```
/// use repack::Ignore;
///
/// let ignore = Ignore::parse("target\n**/*.log\n!keep.log\n")?;
/// assert!(ignore.ignores(&"target/debug/x".parse()?));
/// assert!(ignore.ignores(&"a/b.log".parse()?));
/// assert!(!ignore.ignores(&"keep.log".parse()?));
/// # Ok::<(), repack::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    takes_back: bool,
}

impl Ignore {
    /// Parses the content of a `.dockerignore`.
    ///
    /// # Errors
    /// [`Error::Pattern`](crate::Error::Pattern) for the first line that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            rules.push(Rule {
                pattern: pattern.parse()?,
                takes_back,
            });
        }
        Ok(Self { rules })
    }

    /// Whether this path is left out.
    pub fn ignores(&self, path: &EntryPath) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A rule that would change nothing need not be asked.
            if rule.takes_back == ignored && rule.matches(path) {
                ignored = !rule.takes_back;
            }
        }
        ignored
    }

    /// Whether nothing below an ignored directory can be taken back.
    pub(crate) fn is_final(&self) -> bool {
        !self.rules.iter().any(|rule| rule.takes_back)
    }
}

impl Rule {
    fn matches(&self, path: &EntryPath) -> bool {
        self.pattern.matches(path) || path.ancestors().any(|above| self.pattern.matches(&above))
    }
}

/// Slashes at the ends and components that mean nothing go; braces are no alternatives here.
fn clean(pattern: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in pattern.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    let joined = components.join("/");
    joined.replace('{', "\\{").replace('}', "\\}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_docker() {
        for (text, path, expected) in [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("./a", "a", true),
            ("*/a", "b/a/c", true),
            ("*/a", "a", false),
            ("**/a", "a", true),
            ("**/a", "b/c/a/d", true),
            ("a/**", "a/b/c", true),
            ("a?c", "abc", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("# a\na", "a", true),
            ("#a", "#a", false),
            ("*\n!a", "a", false),
            ("*\n!a", "a/b", false),
            ("*\n!a\na/b", "a/b", true),
            ("!a\na", "a", true),
            ("  a  \r\n", "a", true),
            ("\n\n", "a", false),
            (".", "a", false),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            ("x/../a", "a", true),
            ("[ab]", "b", true),
        ] {
            let ignore = Ignore::parse(text).unwrap();
            assert_eq!(
                ignore.ignores(&path.parse().unwrap()),
                expected,
                "{text:?} {path}"
            );
        }
        assert!(Ignore::parse("[a").is_err());
    }
}
