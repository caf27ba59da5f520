//! Applications to images: base, compiler and runner.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use engine::TransferOptions;
use examples::{
    Common, EXIT_CODES, Result, Shell, completions, connect, engine_keychain, log, print, run,
};
use grocker::{BuildOptions, Built, Config, Plan, Release};
use ocicore::{Cx, Reference};

/// Makes a container image of an application's name and version.
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
    /// Compile an application with all its dependencies, and install it into a clean image
    #[command(after_help = "Examples:
  grocker build 'httpie==3.2.4' --base python:3.12-slim --entrypoint http
  grocker build './dist/my_app-1.0-py3-none-any.whl[web]' --image-prefix registry.example/team
  grocker build 'httpie==3.2.4' --base python:3.12-slim --dry-run --json

Without --config, .grocker.yml of the working directory is read if it is there.
PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST and PIP_TIMEOUT reach the compiler.")]
    Build(Box<Build>),
    /// Print completions for a shell
    Completions { shell: Shell },
}

#[derive(clap::Args, Debug)]
struct Build {
    /// NAME[EXTRA,…]==VERSION, or the path of a wheel with `/` in it
    release: Release,
    /// The image below all stages [default: that of the runtime]
    #[arg(long, value_name = "REF")]
    base: Option<Reference>,
    /// Configuration; of several, later ones win
    #[arg(long, short, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Runtime of the configuration, for example bookworm/3.12
    #[arg(long, short)]
    runtime: Option<String>,
    /// Command of the application that containers run
    #[arg(long, short, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Port of the runner
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// Volume of the runner
    #[arg(long, value_name = "PATH")]
    volume: Vec<String>,
    /// Variable of the runner
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Prefix of all image names, for example registry.example/team
    #[arg(long, value_name = "PREFIX")]
    image_prefix: Option<String>,
    /// Network of the compiler and of package managers, for example host
    #[arg(long)]
    network: Option<String>,
    /// Certificate authorities that pip trusts
    #[arg(long, value_name = "FILE", env = "PIP_CERT")]
    certificates: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let common = arguments.common;
    run(common, async |cx| match arguments.command {
        Command::Build(build) => build_image(&cx, common, *build).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}

async fn build_image(cx: &Cx, common: Common, build: Build) -> Result<()> {
    let config = configuration(&build)?;
    let reference = match &build.base {
        Some(base) => base.clone(),
        None => config.chosen_runtime()?.image.parse()?,
    };
    let (engine, log) = (connect(cx, "grocker").await?, log(common));
    let keychain = engine_keychain(cx, [reference.repository().host()]).await?;
    let pull = TransferOptions::default().keychain(keychain);
    let base = grocker::resolve_base(cx, &*engine, &reference, &pull, &log).await?;
    let platform = engine.version(cx).await?.platform;
    let plan = grocker::plan(&config, &build.release, &base, &platform)?;
    if build.dry_run {
        return print(common, &plan, render_plan);
    }
    let mut options = BuildOptions::default();
    for name in [
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "PIP_TIMEOUT",
    ] {
        if let Ok(value) = std::env::var(name) {
            options = options.pip(name, value);
        }
    }
    if let Some(network) = build.network {
        options = options.network(network);
    }
    if let Some(file) = build.certificates {
        options = options.certificates(std::path::absolute(file)?);
    }
    let built = grocker::build(cx, &engine, &plan, &build.release, &options, &log).await?;
    print(
        common,
        &built,
        |Built {
             image,
             id,
             reused,
             wheels,
             ..
         }| {
            let reused = if reused.is_empty() {
                "nothing".to_owned()
            } else {
                reused.join(", ")
            };
            format!(
                "image   {image}\nid      {id}\nreused  {reused}\nwheels  {}",
                wheels.len()
            )
        },
    )
}

/// The files, and above them what the command line says.
fn configuration(build: &Build) -> Result<Config> {
    let default = PathBuf::from(".grocker.yml");
    let files = match &build.config[..] {
        [] if default.is_file() => &[default][..],
        files => files,
    };
    let mut config = Config::read(files)?;
    config.runtime = build.runtime.clone().or(config.runtime);
    config.entrypoint_name = build.entrypoint.clone().or(config.entrypoint_name);
    config.docker_image_prefix = build.image_prefix.clone().or(config.docker_image_prefix);
    config.ports.extend(build.port.iter().cloned());
    config.volumes.extend(build.volume.iter().cloned());
    for variable in &build.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        config.envs.insert(name.to_owned(), value.to_owned());
    }
    Ok(config)
}

fn render_plan(plan: &Plan) -> String {
    let stages = [&plan.base, &plan.compiler, &plan.runner];
    let stages =
        stages.map(|stage| format!("# {}: {}\n{}", stage.role, stage.name, stage.dockerfile));
    format!("# on {}\n{}", plan.from.reference, stages.join("\n"))
}
