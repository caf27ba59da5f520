//! Speculative container images: a registry for unmerged changes, uploads before the merge,
//! promotion after it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Shell, completions,
    imggate::{Promote, RunBuildset, Upload, UseBuildset},
    run,
};

/// Tests container images of a change before it merges, and promotes the very same images after.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a registry for the images of one buildset, until SIGTERM
    #[command(after_help = "\
The file that --output names is written once the registry answers, with mode 0600. It is the
return value `buildset_registry` of Zuul's role of the same name.

Example:
  imggate run-buildset --host node1.example &")]
    RunBuildset(RunBuildset),
    /// Make a container client look into a buildset registry first
    #[command(after_help = "\
Changes registries.conf, certs.d and auth.json; all else that is in them stays. Images of docker.io
are looked for under their path, all others under host and path.

Example:
  imggate use-buildset --for podman --dry-run")]
    UseBuildset(UseBuildset),
    /// Upload images from a buildset registry under temporary tags
    #[command(after_help = "\
Example:
  imggate upload quay.io/team/app:latest --change 1234 --patchset 2 --build a1b2c3
uploads to quay.io/team/app:change_1234_2_a1b2c3_latest, and records the digest.")]
    Upload(Upload),
    /// Give uploaded images their final tags
    #[command(after_help = "\
Nothing is promoted if a temporary tag is not the digest that was uploaded. It takes one GET and one
PUT for each image; temporary tags are removed where the registry can remove a single tag.")]
    Promote(Promote),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let Arguments { common, command } = Arguments::parse();
    run(common, async |cx| match command {
        Command::RunBuildset(command) => command.run(&cx, common).await,
        Command::UseBuildset(command) => command.run(common),
        Command::Upload(command) => command.run(&cx, common).await,
        Command::Promote(command) => command.run(&cx, common).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}
