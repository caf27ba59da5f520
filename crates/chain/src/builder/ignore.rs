use repack::{EntryPath, Pattern, Result};

/// What a `.dockerignore` keeps out of a build context (moby/patternmatcher).
///
/// The last pattern that matches a path, or a directory above it, decides; one with `!` lets in.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    /// What is below what the pattern matches.
    below: Pattern,
    lets_in: bool,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    ///
    /// # Errors
    /// If a pattern is none.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::trim);
        let mut rules = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (pattern, lets_in) = match line.strip_prefix('!') {
                Some(pattern) => (pattern.trim(), true),
                None => (line, false),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                continue;
            }
            rules.push(Rule {
                below: format!("{pattern}/**").parse()?,
                pattern: pattern.parse()?,
                lets_in,
            });
        }
        Ok(Self { rules })
    }

    /// Whether a path is kept out.
    pub(super) fn excludes(&self, path: &EntryPath) -> bool {
        let matches = |rule: &&Rule| rule.pattern.matches(path) || rule.below.matches(path);
        self.rules
            .iter()
            .rfind(matches)
            .is_some_and(|rule| !rule.lets_in)
    }

    /// Whether something below a directory that is kept out may be let in.
    pub(super) fn may_let_in(&self) -> bool {
        self.rules.iter().any(|rule| rule.lets_in)
    }
}

/// A pattern without `.`, `..` and superfluous slashes; braces mean themselves, as in Go.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/").replace('{', "[{]").replace('}', "[}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, excluded: &[&str], included: &[&str]) {
        let ignore = Ignore::parse(text).unwrap();
        for (paths, expected) in [(excluded, true), (included, false)] {
            for path in paths {
                assert_eq!(
                    ignore.excludes(&path.parse().unwrap()),
                    expected,
                    "{path} by {text:?}"
                );
            }
        }
    }

    #[test]
    fn patterns_work_as_in_docker() {
        check("", &[], &["a", "a/b"]);
        check("# a\n\n  b  \n", &["b", "b/c"], &["a", "a/b", "bb"]);
        check("/a/\n./c/../d", &["a", "a/x", "d"], &["b/a", "c"]);
        check("*.md\n!README.md", &["x.md"], &["README.md", "a/x.md"]);
        check("**/*.o", &["x.o", "a/b/x.o"], &["x.oo"]);
        check(
            "*\n!src\nsrc/x",
            &["a", "a/b", "src/x", "src/x/y"],
            &["src", "src/a"],
        );
        check(
            "a/*/c\n?.t",
            &["a/b/c", "a/b/c/d", "x.t"],
            &["a/c", "a/b/b/c", "xy.t"],
        );
        check(
            "**/node_modules\n[a-c].x",
            &["node_modules", "x/node_modules/y", "b.x"],
            &["d.x"],
        );
        check("{a,b}", &["{a,b}"], &["a", "b"]);
        check("\u{feff}a", &["a"], &[]);
        check("!\n!/\n..\n/", &[], &["a"]);
    }
}
