use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    str::FromStr,
};

use ocicore::{Class, Cx};

use crate::{Failure, Result};

/// A command of the user's, run by `/bin/sh -c`. What it is about is in environment variables, so
/// that no name is ever read as shell.
#[derive(Clone, Debug)]
pub struct Hook(String);

impl FromStr for Hook {
    type Err = std::convert::Infallible;

    fn from_str(command: &str) -> Result<Self, Self::Err> {
        Ok(Self(command.to_owned()))
    }
}

impl Hook {
    /// Runs it to its end. What it prints goes to standard error, for standard output is ours; Ctrl-C
    /// does not reach it, so that what has begun is finished.
    ///
    /// # Errors
    /// If it does not end with 0.
    pub fn run(&self, variables: &[(&str, String)]) -> Result<()> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &self.0])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .process_group(0);
        let status = command
            .status()
            .map_err(|error| Failure::from(error).context("the hook could not be started"))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(
                Class::Other,
                format!("the hook failed: {status}"),
            )),
        }
    }

    /// [`run`](Self::run), on a thread of its own.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_apart(&self, cx: &Cx, variables: Vec<(&'static str, String)>) -> Result<()> {
        let hook = self.clone();
        cx.blocking(move |_| hook.run(&variables)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_gets_values_and_not_shell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said").display().to_string();
        let hook: Hook = "printf %s \"$JOB2DOCKER_JOB\" > \"$FILE\"".parse().unwrap();
        let name = "a; exit 3; $(exit 4)".to_owned();
        hook.run(&[("JOB2DOCKER_JOB", name.clone()), ("FILE", file.clone())])
            .unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), name);

        let hook: Hook = "exit 3".parse().unwrap();
        let error = hook.run(&[]).unwrap_err();
        assert_eq!(error.to_string(), "the hook failed: exit status: 3");
    }
}
