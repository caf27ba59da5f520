//! Packages as scratch images: publish, install, switch versions.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Result, Shell, completions,
    layerpkg::{self as show, Install, Publish},
    print, registry, run,
};
use layerpkg::{PackageName, Prefix, Version, activate, install, publish};
use ocicore::Cx;

/// Publishes directories as scratch images, installs them from any registry, and switches between
/// their versions.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Where packages are installed [default: ~/.local/share/layerpkg]
    #[arg(long, global = true, env = "LAYERPKG_PREFIX", value_name = "DIR")]
    prefix: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Publish a directory as a package, and print its digest
    #[command(after_help = "Example:
  layerpkg publish engine registry.example/team/engine:1.2.0

What DIRECTORY/.dockerignore says is left out. SOURCE_DATE_EPOCH sets all times; without it they are
one second after the epoch.")]
    Publish(Publish),
    /// Install a package
    #[command(after_help = "Examples:
  layerpkg install registry.example/team/engine:1.2.0
  layerpkg install registry.example/team/engine@sha256:HEX --use

Any image will do, for example one that `docker build` made from scratch. Programs in its PATH and
its entry point become tools in PREFIX/bin. These exit with what the program of the active version
does; with 127 if that has no such program, with 126 if it cannot be run.")]
    Install(Install),
    /// Switch to an installed version
    Use { name: PackageName, version: Version },
    /// List what is installed; `*` marks active versions
    List {
        /// Only this package
        name: Option<PackageName>,
    },
    /// Print completions for a shell
    Completions { shell: Shell },
}

fn main() -> ExitCode {
    let Arguments {
        common,
        prefix,
        command,
    } = Arguments::parse();
    run(common, async |cx| match command {
        Command::Publish(arguments) => publish_directory(&cx, common, arguments).await,
        Command::Install(arguments) => {
            install_package(&cx, common, &show::prefix(prefix)?, arguments).await
        }
        Command::Use { name, version } => {
            let done = activate(&cx, &show::prefix(prefix)?, &name, &version).await?;
            print(common, &done, |done| format!("{name} {}", done.version))
        }
        Command::List { name } => {
            let prefix = show::prefix(prefix)?;
            let packages = match name {
                Some(name) => vec![prefix.find(&name)?],
                None => prefix.packages()?,
            };
            print(common, &packages, |packages| show::packages(packages))
        }
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}

async fn publish_directory(cx: &Cx, common: Common, arguments: Publish) -> Result<()> {
    let plan = publish::plan(cx, &arguments.spec()?).await?;
    if arguments.dry_run {
        return print(common, &plan, show::publish_plan);
    }
    let done = publish::run(cx, &registry()?, plan).await?;
    print(common, &done, show::published)
}

async fn install_package(
    cx: &Cx,
    common: Common,
    prefix: &Prefix,
    arguments: Install,
) -> Result<()> {
    let plan = install::plan(cx, prefix, &registry()?, &arguments.spec()).await?;
    if arguments.dry_run {
        return print(common, &plan, show::install_plan);
    }
    let done = install::run(cx, prefix, plan).await?;
    print(common, &done, |done| show::installed(done, prefix))
}
