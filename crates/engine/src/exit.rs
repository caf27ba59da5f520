use crate::{Error, Result, log::Tail};

/// How a command in a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    program: String,
    code: i64,
    out_of_memory: bool,
    tail: Tail,
}

impl Exit {
    pub(crate) fn new(program: String, code: i64, tail: Tail) -> Self {
        Self {
            program,
            code,
            out_of_memory: false,
            tail,
        }
    }

    pub(crate) fn killed_by_memory(mut self, killed: bool) -> Self {
        self.out_of_memory = killed;
        self
    }

    /// Its exit code; 128 and the number of the signal that killed it.
    pub fn code(&self) -> i64 {
        self.code
    }

    /// Last lines of what it printed.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Makes an error of all that is no success.
    ///
    /// # Errors
    /// [`Error::CommandNotFound`], [`Error::NotExecutable`], [`Error::OutOfMemory`],
    /// [`Error::Exit`].
    pub fn success(self) -> Result<()> {
        let Self {
            program: command,
            code,
            out_of_memory,
            tail,
        } = self;
        Err(match code {
            0 => return Ok(()),
            127 => Error::CommandNotFound { command, tail },
            // What `exec` gives for a missing program differs from engine to engine.
            126 if tail.lines().iter().any(|line| says_not_found(line)) => {
                Error::CommandNotFound { command, tail }
            }
            126 => Error::NotExecutable { command, tail },
            _ if out_of_memory => Error::OutOfMemory { command, tail },
            _ => Error::Exit {
                command,
                code,
                tail,
            },
        })
    }
}

/// Whether a runtime says that there is no such program; as the docker CLI finds out, too.
pub(crate) fn says_not_found(message: &str) -> bool {
    ["executable file not found", "no such file or directory"]
        .iter()
        .any(|part| message.to_ascii_lowercase().contains(part))
}

#[cfg(test)]
mod tests {
    use ocicore::Class;

    use super::*;
    use crate::log::Event;

    fn check(code: i64, said: &str, memory: bool, class: Class, text: &str) {
        let mut tail = Tail::default();
        tail.push(&Event::Stdout(said.to_owned()));
        let exit = Exit::new("job".to_owned(), code, tail).killed_by_memory(memory);
        let error = exit.success().unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.tail(), [said]);
    }

    #[test]
    fn exit_codes_become_errors() {
        assert!(
            Exit::new("job".to_owned(), 0, Tail::default())
                .success()
                .is_ok()
        );
        check(1, "x", false, Class::Other, "`job` ended with exit code 1");
        check(
            137,
            "x",
            false,
            Class::Other,
            "`job` ended with exit code 137",
        );
        check(
            137,
            "x",
            true,
            Class::Exhausted,
            "`job` was killed, out of memory",
        );
        check(
            127,
            "x",
            false,
            Class::NotFound,
            "command `job` not found in the container",
        );
        check(
            126,
            "exec: \"job\": executable file not found in $PATH",
            false,
            Class::NotFound,
            "command `job` not found in the container",
        );
        check(
            126,
            "permission denied",
            false,
            Class::Invalid,
            "command `job` cannot be executed in the container",
        );
    }
}
