//! Programs that are run as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context as _, Failure, Result};
use crate::process;

use super::report::Report;

/// A program, the variable that names it, and a run that shows that it works.
struct Tool {
    key: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// What the run must print; several programs of one name differ in it.
    prints: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        key: "BSDTAR",
        program: "bsdtar",
        args: &["--version"],
        prints: "bsdtar",
    },
    Tool {
        key: "GNU_TAR",
        program: "tar",
        args: &["--version"],
        prints: "GNU tar",
    },
    Tool {
        key: "GO",
        program: "go",
        args: &["version"],
        prints: "go version",
    },
    Tool {
        key: "GZIP",
        program: "gzip",
        args: &["--version"],
        prints: "gzip",
    },
    Tool {
        key: "HYPERFINE",
        program: "hyperfine",
        args: &["--version"],
        prints: "hyperfine",
    },
    Tool {
        key: "JAVA",
        program: "java",
        args: &["-version"],
        prints: "version \"",
    },
    Tool {
        key: "JAVAC",
        program: "javac",
        args: &["-version"],
        prints: "javac",
    },
    Tool {
        key: "LIBDEFLATE_GZIP",
        program: "libdeflate-gzip",
        args: &["-V"],
        prints: "gzip compression program",
    },
    Tool {
        key: "MMDEBSTRAP",
        program: "mmdebstrap",
        args: &["--version"],
        prints: "mmdebstrap",
    },
    Tool {
        key: "MVN",
        program: "mvn",
        args: &["-Dstyle.color=never", "--version"],
        prints: "Apache Maven",
    },
    Tool {
        key: "NGINX",
        program: "nginx",
        args: &["-V"],
        prints: "nginx version",
    },
    Tool {
        key: "PIGZ",
        program: "pigz",
        args: &["--version"],
        prints: "pigz",
    },
    Tool {
        key: "PYTHON3",
        program: "python3",
        args: &[
            "-c",
            "import tarfile, zipfile, zlib, sys; print('Python', sys.version.split()[0])",
        ],
        prints: "Python 3",
    },
    Tool {
        key: "SKOPEO",
        program: "skopeo",
        args: &["--version"],
        prints: "skopeo version",
    },
    Tool {
        key: "STRACE",
        program: "strace",
        args: &["--version"],
        prints: "strace -- version",
    },
    Tool {
        key: "UMOCI",
        program: "umoci",
        args: &["--version"],
        prints: "umoci version",
    },
    Tool {
        key: "UNZIP",
        program: "unzip",
        args: &["-v"],
        prints: "UnZip",
    },
    Tool {
        key: "WRK",
        program: "wrk",
        args: &["-v"],
        prints: "wrk",
    },
    Tool {
        key: "ZIP",
        program: "zip",
        args: &["-v"],
        prints: "Info-ZIP",
    },
    Tool {
        key: "ZSTD",
        program: "zstd",
        args: &["--version"],
        prints: "Zstandard",
    },
];

/// Runs each tool once and notes those that work.
pub(super) fn find(report: &mut Report) {
    for tool in TOOLS {
        match tool.try_out() {
            Ok((path, version)) => {
                report.have(tool.program, format!("{} ({version})", path.display()));
                report.set(tool.key, path.display());
            }
            Err(failure) => report.lack(tool.program, failure),
        }
    }
}

/// A program's path, or a failure that names it.
pub(super) fn path(program: &str) -> Result<PathBuf> {
    process::find(program)
        .ok_or_else(|| Failure::new(format!("no program is called `{program}` on this machine")))
}

impl Tool {
    fn try_out(&self) -> Result<(PathBuf, String)> {
        let path = path(self.program)?;
        let said = said(&path, self.args)?;
        // Not the exit status: `wrk -v` ends with 1.
        match said.lines().find(|line| line.contains(self.prints)) {
            Some(line) => Ok((path, shorten(line))),
            None => Err(Failure::new(format!(
                "`{}` does not print `{}`: {}",
                path.display(),
                self.prints,
                process::last_lines(&said, 2)
            ))),
        }
    }
}

/// All that a program prints, to standard output or standard error.
fn said(path: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(path);
    let done = command.args(args).stdin(Stdio::null()).output();
    let done = done.context(|| format!("starting `{}`", path.display()))?;
    Ok(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// A version line without the copyright notice that some programs put behind it.
fn shorten(line: &str) -> String {
    let line = line.split(" Copyright").next().unwrap_or(line);
    line.chars().take(60).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_another_is_refused() {
        let tool = Tool {
            key: "X",
            program: "sh",
            args: &["-c", "echo bsdtar 3"],
            prints: "GNU",
        };
        let failure = tool.try_out().expect_err("`sh` is no GNU tar").to_string();
        assert!(
            failure.ends_with("does not print `GNU`: bsdtar 3"),
            "{failure}"
        );
    }

    #[test]
    fn version_lines_are_short() {
        assert_eq!(
            shorten("wrk 4.1.0 [epoll] Copyright (C) 2012"),
            "wrk 4.1.0 [epoll]"
        );
    }
}
