//! Chains of image builds from IMAGES.json, by a container engine.

use std::{num::NonZero, process::ExitCode, sync::Arc};

use chain::{EngineBuilder, RunOptions};
use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Result, Shell, completions, connect, engine_keychain,
    imgchain::{self, Request},
    print, run,
};
use ocicore::{Cx, Progress, TaskId};

/// Builds the images that an IMAGES.json lists, parents before children, several at once.
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
    /// Show what would be built, in which order, and why
    #[command(after_help = "Examples:
  imgchain plan
  imgchain plan --json --images-files docker/IMAGES.json docker/extra.json
  imgchain plan --images corpusops/app:1 --skip packer__mysql-5.7.json

Parents are those that Dockerfiles (FROM, COPY --from, RUN --mount=from) and packer templates
name; otherwise images are built in the order of the files. Exit code 3 tells that files are
missing, 6 that files are wrong; with --json, all problems are also on standard output.")]
    Plan(Request),
    /// Build the images by the container engine that DOCKER_HOST or the docker CLI's context names
    #[command(after_help = "Examples:
  imgchain build
  imgchain build -j 8 --skip corpusops/app:1
  imgchain build --builder-args='--no-cache' --images dockerfile__corpusops/base:1 --verbose
  imgchain build --dry-run

An image that fails blocks those that need it, and nothing else; the exit code is then 1.
Nothing is built if a file of an image is missing or wrong, or if there is no engine.")]
    Build(Build),
    /// Print completions for a shell
    Completions { shell: Shell },
}

#[derive(clap::Args, Debug)]
struct Build {
    #[command(flatten)]
    request: Request,
    /// How many images are built at once
    #[arg(long, short, default_value = "4", value_name = "N")]
    jobs: NonZero<usize>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Show what the builds print
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let common = arguments.common;
    run(common, async |cx| match arguments.command {
        Command::Plan(request) => plan(&cx, common, &request).await,
        Command::Build(build) if build.dry_run => plan(&cx, common, &build.request).await,
        Command::Build(request) => build(cx, common, &request).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}

async fn plan(cx: &Cx, common: Common, request: &Request) -> Result<()> {
    let (_, plan) = request.plan(cx, common).await?;
    print(common, &plan, imgchain::render_plan)
}

async fn build(mut cx: Cx, common: Common, build: &Build) -> Result<()> {
    let (project, plan) = build.request.plan(&cx, common).await?;
    EngineBuilder::accepts(&plan)?;
    let mut options = RunOptions::default().jobs(build.jobs);
    if build.verbose {
        options = options.events(imgchain::log());
        // Bars and lines would overwrite each other.
        cx = cx.with_progress(Arc::new(NoBars));
    }
    let hosts = plan.external_hosts();
    let keychain = engine_keychain(&cx, hosts.iter().map(String::as_str)).await?;
    let engine = connect(&cx, "imgchain").await?;
    let builder = EngineBuilder::new(engine, project.root()).with_keychain(keychain);
    let report = chain::run(&cx, &plan, &builder, &options).await?;
    print(common, &report, imgchain::render_report)?;
    imgchain::check(&report)
}

#[derive(Debug)]
struct NoBars;

impl Progress for NoBars {
    fn start(&self, _: TaskId, _: &str, _: Option<u64>) {}
    fn advance(&self, _: TaskId, _: u64) {}
    fn finish(&self, _: TaskId) {}
}
