//! The `java` command of a plain launcher, for images without a shell.

use std::collections::BTreeMap;

use crate::{
    launcher::{self, Command, Link, Part, PartKind, Position, Quoting, Script, Word},
    rewrite::{Launch, Verdict, find_launch},
};

/// What a launcher comes down to when nothing in it depends on the moment it runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ExecForm {
    /// Java and its arguments up to where the launcher passes on its own: `"$@"` is last.
    pub argv: Vec<String>,
    /// Variables that the launcher sets for java.
    pub env: BTreeMap<String, String>,
}

/// Why a launcher needs a shell.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{position}: {reason}")]
#[non_exhaustive]
pub struct NeedsShell {
    /// Where, in the launcher as it is rewritten.
    #[serde(flatten)]
    pub position: Position,
    /// What only a shell can do.
    pub reason: String,
}

/// Derives the `java` command of a launcher with `\n` line ends that lies in `directory`, an
/// absolute path in the image, which must be the working directory of that command.
///
/// ```
/// let launcher = b"cd `dirname $0`\nROOT_PATH=`pwd`\nexec java -cp .:$ROOT_PATH/a.jar a.B \"$@\"\n";
/// let form = talend::exec_form(launcher, "/talend/a_0.1/a")?;
/// assert_eq!(form.argv, ["java", "-cp", ".:/talend/a_0.1/a/a.jar", "a.B"]);
/// # Ok::<(), talend::NeedsShell>(())
/// ```
///
/// # Errors
/// [`NeedsShell`] if the launcher does anything else than going to its directory, setting variables
/// and starting java, or if a variable comes from outside.
pub fn exec_form(launcher: &[u8], directory: &str) -> Result<ExecForm, NeedsShell> {
    let needs_shell = |offset, reason: String| NeedsShell {
        position: Position::of(launcher, offset),
        reason,
    };
    let script = launcher::parse(launcher)
        .map_err(|error| needs_shell(error.offset, format!("not understood: {}", error.message)))?;
    let launch = match find_launch(launcher, &script) {
        Verdict::Safe(launch) => launch,
        Verdict::None => return Err(needs_shell(0, "it starts no java".to_owned())),
        Verdict::Unsafe { offset, reason } => return Err(needs_shell(offset, reason)),
    };
    let mut evaluation = Evaluation {
        text: launcher,
        directory,
        in_directory: false,
        variables: BTreeMap::new(),
        exported: Vec::new(),
    };
    evaluation.run(&script, launch)
}

/// A shell that knows just what plain launchers do.
#[derive(Debug)]
struct Evaluation<'a> {
    text: &'a [u8],
    directory: &'a str,
    /// Whether `cd` has gone to the directory.
    in_directory: bool,
    variables: BTreeMap<String, String>,
    exported: Vec<String>,
}

impl Evaluation<'_> {
    fn run(&mut self, script: &Script, launch: Launch) -> Result<ExecForm, NeedsShell> {
        for command in &script.commands[..launch.command] {
            self.command(command)?;
        }
        let command = &script.commands[launch.command];
        if command.before == Link::Or || !command.nesting.is_empty() {
            return Err(self.refuse(command.span.start, "java is started on a condition"));
        }
        if command.redirected {
            return Err(self.refuse(command.span.start, "the launch is redirected"));
        }
        let direct = if launch.exec { 1 } else { 0 };
        if launch.java != direct {
            return Err(self.refuse(command.span.start, "java is started through a program"));
        }
        for word in &command.assignments {
            self.assign(word)?;
            if let Some((name, _)) = word.assignment() {
                self.exported.push(name.to_owned());
            }
        }
        let mut argv = Vec::new();
        let mut words = command.words[launch.java..].iter().peekable();
        while let Some(word) = words.next() {
            if matches!(word.variable(), Some(("@" | "*", _))) {
                if words.peek().is_some() {
                    let reason = "arguments follow those of the container";
                    return Err(self.refuse(word.span.start, reason));
                }
                let env = self.exported.iter().filter_map(|name| {
                    let value = self.variables.get(name)?;
                    Some((name.clone(), value.clone()))
                });
                return Ok(ExecForm {
                    env: env.collect(),
                    argv,
                });
            }
            self.fields(word, &mut argv)?;
        }
        let reason = "arguments of the container are not passed on";
        Err(self.refuse(command.span.start, reason))
    }

    /// A command before the launch.
    fn command(&mut self, command: &Command) -> Result<(), NeedsShell> {
        let start = command.span.start;
        let shown = String::from_utf8_lossy(&self.text[command.span.clone()]).into_owned();
        let unknown = format!("only a shell can run `{shown}`");
        if !command.nesting.is_empty()
            || command.negated
            || command.redirected
            || matches!(command.after, Link::Pipe | Link::Background)
        {
            return Err(self.refuse(start, unknown));
        }
        let name = command.words.first().and_then(Word::bare);
        if command.before == Link::Or {
            // `cd … || exit 1`: there is nothing that could fail.
            return match name {
                Some(b"exit") => Ok(()),
                _ => Err(self.refuse(start, unknown)),
            };
        }
        match (name, &command.words[..]) {
            (None, []) => {
                for word in &command.assignments {
                    self.assign(word)?;
                }
            }
            (Some(b"cd"), [_, to]) if self.is_directory_of_script(to) => self.in_directory = true,
            (Some(b"export"), words) if command.assignments.is_empty() => {
                for word in &words[1..] {
                    match word.assignment() {
                        Some((name, _)) => {
                            let name = name.to_owned();
                            self.assign(word)?;
                            self.exported.push(name);
                        }
                        None => match word.bare().map(String::from_utf8_lossy) {
                            Some(name) if self.variables.contains_key(&*name) => {
                                self.exported.push(name.into_owned());
                            }
                            _ => return Err(self.refuse(start, unknown)),
                        },
                    }
                }
            }
            (Some(b"set"), [_, option]) if option.bare() == Some(b"-e") => {}
            _ => return Err(self.refuse(start, unknown)),
        }
        Ok(())
    }

    fn assign(&mut self, word: &Word) -> Result<(), NeedsShell> {
        let Some((name, value)) = word.assignment() else {
            return Err(self.refuse(word.span.start, "not an assignment"));
        };
        let mut text = String::new();
        for part in &word.parts {
            let mut part_text = self.expand(part)?;
            // The first part begins with the name.
            if part.span.start < value {
                part_text = part_text.split_off(value - word.span.start);
            }
            text.push_str(&part_text);
        }
        self.variables.insert(name.to_owned(), text);
        Ok(())
    }

    /// Expands a word into fields (POSIX XCU 2.6).
    fn fields(&self, word: &Word, out: &mut Vec<String>) -> Result<(), NeedsShell> {
        let mut field = String::new();
        let mut pattern = None;
        for part in &word.parts {
            let text = self.expand(part)?;
            if part.quoting == Quoting::None {
                let special = |c: char| "*?[{~".contains(c);
                if text.contains(special) {
                    pattern.get_or_insert(part.span.start);
                }
                if !matches!(part.kind, PartKind::Literal(_)) && text.contains([' ', '\t', '\n']) {
                    let reason = "a variable with blanks is not quoted";
                    return Err(self.refuse(part.span.start, reason));
                }
            }
            field.push_str(&text);
        }
        // The wildcards of a class path, `lib/*:`, are java's: no file has a colon in its name.
        if let Some(offset) = pattern
            && (!field.contains(':') || field.contains(['{', '~', '[', '?']))
        {
            return Err(self.refuse(offset, "the shell expands a pattern"));
        }
        let unset = word.parts.iter().all(|part| {
            part.quoting == Quoting::None && !matches!(part.kind, PartKind::Literal(_))
        });
        if !(field.is_empty() && unset) {
            out.push(field);
        }
        Ok(())
    }

    fn expand(&self, part: &Part) -> Result<String, NeedsShell> {
        let start = part.span.start;
        let shown = || String::from_utf8_lossy(&self.text[part.span.clone()]);
        match &part.kind {
            PartKind::Literal(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(text.to_owned()),
                Err(_) => Err(self.refuse(start, "it is not UTF-8")),
            },
            PartKind::Variable(name) => match self.variables.get(name) {
                Some(value) => Ok(value.clone()),
                None => Err(self.refuse(start, format!("`{}` comes from outside", shown()))),
            },
            PartKind::Command(inner) => match self.text[inner.clone()].trim_ascii() {
                b"pwd" if self.in_directory => Ok(self.directory.to_owned()),
                inner if is_dirname(inner) => Ok(self.directory.to_owned()),
                inner if is_absolute_dirname(inner) => Ok(self.directory.to_owned()),
                _ => Err(self.refuse(start, format!("only a shell can run `{}`", shown()))),
            },
            _ => Err(self.refuse(start, format!("only a shell can expand `{}`", shown()))),
        }
    }

    fn is_directory_of_script(&self, word: &Word) -> bool {
        match word.parts.as_slice() {
            [
                Part {
                    kind: PartKind::Command(inner),
                    ..
                },
            ] => is_dirname(self.text[inner.clone()].trim_ascii()),
            [
                Part {
                    kind: PartKind::Parameter,
                    span,
                    ..
                },
            ] => &self.text[span.clone()] == b"${0%/*}",
            [
                Part {
                    kind: PartKind::Variable(name),
                    ..
                },
            ] => self
                .variables
                .get(name)
                .is_some_and(|value| value == self.directory),
            _ => false,
        }
    }

    fn refuse(&self, offset: usize, reason: impl Into<String>) -> NeedsShell {
        NeedsShell {
            position: Position::of(self.text, offset),
            reason: reason.into(),
        }
    }
}

fn is_dirname(inner: &[u8]) -> bool {
    matches!(
        inner,
        b"dirname $0" | b"dirname \"$0\"" | b"dirname -- \"$0\""
    )
}

fn is_absolute_dirname(inner: &[u8]) -> bool {
    matches!(
        inner,
        b"cd \"$(dirname \"$0\")\" && pwd" | b"cd `dirname $0` && pwd" | b"cd $(dirname $0) && pwd"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(launcher: &str) -> String {
        match exec_form(launcher.as_bytes(), "/t/a") {
            Ok(form) if form.env.is_empty() => form.argv.join("|"),
            Ok(form) => format!("{:?} {}", form.env, form.argv.join("|")),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn plain_launchers_need_no_shell() {
        for (launcher, expected) in [
            (
                "#!/bin/sh\ncd `dirname $0`\nROOT_PATH=`pwd`\njava -Xms256M -cp \
                 .:$ROOT_PATH:$ROOT_PATH/../lib/x.jar: a.B  --context=Default \"$@\" ",
                "java|-Xms256M|-cp|.:/t/a:/t/a/../lib/x.jar:|a.B|--context=Default",
            ),
            (
                "cd \"$(dirname \"$0\")\" || exit 1\nR=$(pwd)\nexec java \\\n -cp \"$R/a b\":'c' \
                 a.B --context_param k=\"v w\" \"$@\"",
                "java|-cp|/t/a/a b:c|a.B|--context_param|k=v w",
            ),
            (
                "cd ${0%/*} && java -cp x:../lib/*: a.B $*",
                "java|-cp|x:../lib/*:|a.B",
            ),
            (
                "export LC_ALL=C\nD=\nA=1 /usr/bin/java $D \"$D\" a.B \"$@\"",
                r#"{"A": "1", "LC_ALL": "C"} /usr/bin/java||a.B"#,
            ),
            (
                "java $JAVA_OPTS a.B \"$@\"",
                "1:6: `$JAVA_OPTS` comes from outside",
            ),
            (
                "\"$JAVA_HOME/bin/java\" a.B \"$@\"",
                "1:2: `$JAVA_HOME` comes from outside",
            ),
            (
                "java -cp lib/*.jar a.B \"$@\"",
                "1:10: the shell expands a pattern",
            ),
            (
                "O='-Da -Db'\njava $O a.B \"$@\"",
                "2:6: a variable with blanks is not quoted",
            ),
            (
                "mkdir x\njava a.B \"$@\"",
                "1:1: only a shell can run `mkdir x`",
            ),
            (
                "java a.B \"$@\" --last",
                "1:10: arguments follow those of the container",
            ),
            (
                "java a.B",
                "1:1: arguments of the container are not passed on",
            ),
            ("java a.B \"$@\" >log", "1:1: the launch is redirected"),
            (
                "nice java a.B \"$@\"",
                "1:1: java is started through a program",
            ),
            (
                "test -e x || java a.B \"$@\"",
                "1:1: only a shell can run `test -e x`",
            ),
            (
                "java -Dd=`date` a.B \"$@\"",
                "1:10: only a shell can run ``date``",
            ),
            (
                "R=`pwd`\njava -cp $R a.B \"$@\"",
                "1:3: only a shell can run ``pwd``",
            ),
            (
                "java a.B \"$@\" &",
                "1:1: java is started in the background by `&`",
            ),
            ("echo", "1:1: it starts no java"),
        ] {
            assert_eq!(shown(launcher), expected, "{launcher}");
        }
    }
}
