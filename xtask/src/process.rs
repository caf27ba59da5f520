//! Starting programs and telling what went wrong with them.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context as _, Failure, Result};

/// Looks a program up on `PATH` and, since a user's `PATH` may lack them, in the system folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

/// Runs a program to its end and returns what it wrote to standard output, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let done = command
        .stdin(Stdio::null())
        .output()
        .context(|| format!("starting `{shown}`"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = if done.stderr.is_empty() {
        &done.stdout
    } else {
        &done.stderr
    };
    let said = last_lines(&String::from_utf8_lossy(said), 3);
    Err(Failure::new(format!(
        "`{shown}` ended with {}: {said}",
        done.status
    )))
}

/// Runs a program to its end with its output in a log file; an error cites the log's end.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = show(command);
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    let file = file.context(|| format!("opening `{}`", log.display()))?;
    let twin = file
        .try_clone()
        .context(|| format!("opening `{}`", log.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(twin);
    let status = command.status().context(|| format!("starting `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    let said = last_lines(&fs::read_to_string(log).unwrap_or_default(), 3);
    Err(Failure::new(format!(
        "`{shown}` ended with {status}: {said} (all in {})",
        log.display()
    )))
}

/// Runs a program to its end on the task's own terminal; its exit status becomes the task's.
pub(crate) fn passed_on(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().context(|| format!("starting `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let message = format!("`{shown}` ended with {status}");
    Err(code.map_or_else(
        || Failure::new(&*message),
        |code| Failure::with_status(code, &*message),
    ))
}

/// A command line as one would type it, without its environment.
pub(crate) fn show(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or_else(|| OsStr::new("?"));
    let mut line = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// The last lines of a text that are not blank, joined into one.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

fn is_executable(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    {
        file.is_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_one_line() {
        let cases = [
            ("", ""),
            ("one\n", "one"),
            ("a\n\n b \nc\nd\n", "b | c | d"),
        ];
        for (text, expected) in cases {
            assert_eq!(last_lines(text, 3), expected);
        }
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"]));
        let message = error.expect_err("exit status 3 is a failure").to_string();
        assert!(message.starts_with("`sh -c "), "{message}");
        assert!(
            message.ends_with("exit status: 3: no such thing"),
            "{message}"
        );
    }
}
