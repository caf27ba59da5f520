//! A registry for the images of a buildset, a drop-in for zuul-registry.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Shell,
    buildset_registry::{Prune, Serve, Source},
    completions, run,
};

/// Serves container images from a directory, and cleans it.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    source: Source,
    #[command(subcommand)]
    command: Command,
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

Example:
  buildset-registry -c /conf/registry.yaml prune --dry-run")]
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
        command,
    } = Arguments::parse();
    run(common, async |cx| match command {
        Command::Serve(command) => command.run(&cx, common, source).await,
        Command::Prune(command) => command.run(&cx, common, source).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}
