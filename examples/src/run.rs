use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, CommandFactory, ValueEnum};
use ocicore::{Class, Cx};
use serde::Serialize;

use crate::{Bars, Failure, Result, exit_code, failure::Color};

/// Options that all binaries have.
#[derive(Args, Clone, Copy, Debug)]
pub struct Common {
    /// Print one JSON document on standard output, and errors as JSON on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Runs a command on a tokio runtime, with progress on a terminal, and returns its exit code.
/// The first Ctrl-C cancels, so that everything is cleaned up; the second one ends at once.
///
/// `RUST_LOG` chooses what is logged to standard error; by default warnings.
pub fn run(common: Common, command: impl AsyncFnOnce(Cx) -> Result<()>) -> ExitCode {
    run_logging(common, "warn", command)
}

/// The same with another default than warnings, in the words of `RUST_LOG`.
pub fn run_logging(
    common: Common,
    default: &str,
    command: impl AsyncFnOnce(Cx) -> Result<()>,
) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(common, &error.into()),
    };
    let mut cx = Cx::default();
    if !common.quiet && !common.json && io::stderr().is_terminal() {
        cx = cx.with_progress(Arc::new(Bars::stderr()));
    }
    let result = runtime.block_on(async {
        let interrupted = cx.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(exit_code(Class::Cancelled).into());
            }
        });
        command(cx.clone()).await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(common, &failure),
    }
}

/// Prints a result: as JSON if asked for, else as `text` says.
///
/// # Errors
/// If standard output cannot be written; a reader that has gone away is none.
pub fn print<T: Serialize>(
    common: Common,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<()> {
    let shown = if common.json {
        serde_json::to_string_pretty(value).map_err(|error| Failure::new(Class::Other, error))?
    } else {
        text(value)
    };
    let mut out = io::stdout().lock();
    let written = out
        .write_all(shown.trim_end().as_bytes())
        .and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Writes the completions of a command for a shell.
pub fn completions<C: CommandFactory>(shell: Shell) {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    clap_complete::generate(shell, &mut command, name, &mut io::stdout());
}

/// Shells for which there are completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Fish.
    Fish,
    /// Z shell.
    Zsh,
}

fn report(common: Common, failure: &Failure) -> ExitCode {
    if let Some(code) = failure.code() {
        return ExitCode::from(code);
    }
    let text = if common.json {
        failure.to_json().to_string() + "\n"
    } else {
        let terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        failure.render(if terminal { Color::Yes } else { Color::No })
    };
    // Where standard error is gone, there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit_code(failure.class()))
}
