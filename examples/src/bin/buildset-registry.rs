//! A registry for the images of a buildset, a drop-in for zuul-registry.

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Shell,
    buildset_registry::{Prune, Serve, Source},
    completions, run_logging,
};

/// What is logged with `--debug`.
const DEBUG: &str = "info,registryd=debug,ociregistry=debug,examples=debug";

/// Serves container images from a directory, and cleans it.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    source: Source,
    /// Log each request and more, as DEBUG=1 does; RUST_LOG goes before it
    #[arg(long, short, global = true)]
    debug: bool,
    /// What to do [default: serve]
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve until SIGTERM; RUST_LOG=info logs each request
    #[command(after_help = "\
Everybody may pull unless told otherwise, and users push.

Examples:
  buildset-registry serve --storage DIR --listen 127.0.0.1:5000 --anonymous-write
  buildset-registry -c /conf/registry.yaml serve
  buildset-registry serve --storage DIR --htpasswd users --self-signed node1 --upstream docker.io")]
    Serve(Box<Serve>),
    /// Remove what no tag leads to, and what has expired; safe while a server runs
    #[command(after_help = "\
What was pushed or used within the last hour always stays.

Examples:
  buildset-registry -c /conf/registry.yaml prune --dry-run
  buildset-registry --storage DIR prune --expiration 604800 --tags 'change_*' --keep 10")]
    Prune(Prune),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let Arguments {
        common,
        source,
        debug,
        command,
    } = Arguments::parse();
    let debug = debug || env::var_os("DEBUG").is_some_and(|value| value == "1");
    let log = if debug { DEBUG } else { "warn" };
    run_logging(common, log, async |cx| match command {
        None => Serve::default().run(&cx, common, source).await,
        Some(Command::Serve(command)) => command.run(&cx, common, source).await,
        Some(Command::Prune(command)) => command.run(&cx, common, source).await,
        Some(Command::Completions { shell }) => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}
