//! The scripts `/talend/bin/<job>`, each of which starts one job.

use std::collections::BTreeSet;

use repack::EntryPath;

use crate::{job::Job, rewrite::Interpreter};

/// What a script does before it starts the launcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start<'a> {
    /// The context to ask for.
    pub(crate) context: Option<&'a str>,
    /// Variables of the context that may come from outside, if any may.
    pub(crate) from_outside: Option<FromOutside<'a>>,
}

/// Where values of context variables may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FromOutside<'a> {
    /// `CONTEXT_` for `$CONTEXT_message` and the file that `$CONTEXT_message_FILE` names.
    pub(crate) prefix: &'a str,
    /// Directory with one file per variable, absolute.
    pub(crate) directory: String,
    /// Names of the variables.
    pub(crate) variables: BTreeSet<&'a str>,
}

/// The directory with one file per context variable, for mounted secrets and config maps.
pub(crate) fn context_directory(parent: &EntryPath) -> String {
    format!("/{parent}/config/context")
}

/// A script that starts the launcher at `launcher`, an absolute path.
///
/// Talend takes the last value of a variable, so that the arguments of the container win, then
/// variables of the environment, then files that these name, then files in the directory.
pub(crate) fn script(
    job: &Job,
    interpreter: &Interpreter,
    launcher: &str,
    start: &Start<'_>,
) -> String {
    let mut script = format!("#!/bin/sh\n# Starts {} {}.\n", job.name, job.version);
    if let Some(outside) = &start.from_outside {
        for variable in &outside.variables {
            if !is_shell_name(variable) {
                continue;
            }
            let name = format!("{}{variable}", outside.prefix);
            let file = quoted(&format!("{}/{variable}", outside.directory));
            let from_file = |test: &str, file: &str| {
                format!(
                    "if {test}; then\n  value=$(cat {file}) || exit 1\n  \
                     set -- --context_param \"{variable}=$value\" \"$@\"\nfi\n"
                )
            };
            script.push_str(&format!(
                "if [ -n \"${{{name}+x}}\" ]; then\n  \
                 set -- --context_param \"{variable}=${name}\" \"$@\"\nfi\n"
            ));
            let test = format!("[ -n \"${{{name}_FILE+x}}\" ]");
            script.push_str(&from_file(&test, &format!("\"${name}_FILE\"")));
            script.push_str(&from_file(&format!("[ -f {file} ]"), &file));
        }
    }
    // Most launchers do so themselves; those that do not were started from there.
    if let Some((directory, _)) = launcher.rsplit_once('/') {
        script.push_str(&format!("cd {} || exit 1\n", quoted(directory)));
    }
    script.push_str("exec");
    for word in interpreter
        .argv()
        .iter()
        .map(String::as_str)
        .chain([launcher])
    {
        script.push(' ');
        script.push_str(&quoted(word));
    }
    if let Some(context) = start.context {
        script.push_str(&format!(" {}", quoted(&format!("--context={context}"))));
    }
    script.push_str(" \"$@\"\n");
    script
}

/// Names of variables that cannot be names in a shell, so that no value can come from outside.
pub(crate) fn unreachable<'v>(variables: &BTreeSet<&'v str>) -> Vec<&'v str> {
    let unreachable = variables.iter().filter(|name| !is_shell_name(name));
    unreachable.copied().collect()
}

pub(crate) fn is_shell_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        for (word, expected) in [
            ("/talend/a_0.1", "/talend/a_0.1"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $x", r"'it'\''s $x'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
