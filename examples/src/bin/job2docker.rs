//! Talend built jobs to container images, without a container engine.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use examples::{
    Common, EXIT_CODES, Failure, Place, Result, Shell, completions,
    job2docker::{self, Base, Request},
    print, registry, run,
};
use ocicore::{Class, Cx, Platform, SizeLimits};
use talend::{ConvertOptions, UnsafeLaunchers};

/// Turns the zip of a Talend built job into a container image in which java is process 1.
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
    /// Convert a job, and write it as an image, as an archive, or both
    #[command(after_help = "Examples:
  job2docker build hello_0.1.zip --to docker://registry.example/team/hello:0.1
  job2docker build hello_0.1.zip --to oci:hello --base scratch
  job2docker build hello_0.1.zip --tgz hello_0.1.tgz --layout job2docker
  job2docker build hello_0.1.zip --to docker://registry.example/hello:0.1 --dry-run --json

SOURCE_DATE_EPOCH sets all times; without it they are one second after the epoch.")]
    Build(Box<Build>),
    /// Show the job in a zip, and what would become of its launchers
    Inspect {
        /// The built job
        zip: PathBuf,
    },
    /// Print completions for a shell
    Completions { shell: Shell },
}

#[derive(clap::Args, Debug)]
struct Build {
    /// The built job
    zip: PathBuf,
    /// Where the image goes: docker://REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE
    #[arg(long, value_name = "TARGET", required_unless_present_any = ["tgz", "dry_run"])]
    to: Vec<Place>,
    /// What the image is built on: a reference, `scratch`, or a place as for --to
    /// [default: a JRE that fits the job's Studio]
    #[arg(long, value_name = "REF")]
    base: Option<Base>,
    /// Platform of the base
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// Write the converted job as a tar.gz
    #[arg(long, value_name = "FILE")]
    tgz: Option<PathBuf>,
    /// Names of files: as in the zip, or as the original job2docker renames them
    #[arg(long, default_value = "plain")]
    layout: Layout,
    /// Keep a launcher that cannot be rewritten, so that java does not get signals
    #[arg(long)]
    allow_unsafe: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    Plain,
    Job2docker,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let common = arguments.common;
    run(common, async |cx| match arguments.command {
        Command::Build(build) => build_job(&cx, common, *build).await,
        Command::Inspect { zip } => inspect(&cx, common, zip).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
}

async fn build_job(cx: &Cx, common: Common, build: Build) -> Result<()> {
    let layout = match build.layout {
        Layout::Plain => talend::Layout::Plain,
        Layout::Job2docker => talend::Layout::Job2docker,
    };
    let mut options = ConvertOptions::default().with_layout(layout);
    if build.allow_unsafe {
        options = options.with_unsafe_launchers(UnsafeLaunchers::Allow);
    }
    let Build {
        zip,
        to,
        base,
        platform,
        tgz,
        ..
    } = build;
    let request = Request {
        zip,
        to,
        base,
        platform,
        tgz,
        options,
    };
    let outcome = if build.dry_run {
        job2docker::plan(cx, &request).await?
    } else {
        job2docker::build(cx, &registry(), &request).await?
    };
    print(common, &outcome, job2docker::render)
}

async fn inspect(cx: &Cx, common: Common, zip: PathBuf) -> Result<()> {
    let found = cx
        .blocking(move |cx| {
            let tree = repack::zip::open(&cx, &zip, &SizeLimits::default())?;
            let name = job2docker::file_name(&zip);
            Ok::<_, Failure>(talend::inspect(
                &cx,
                &tree,
                &name,
                &ConvertOptions::default(),
            )?)
        })
        .await?;
    print(common, &found, job2docker::render_inspection)?;
    match found.report.unsafe_launchers().next() {
        None => Ok(()),
        Some(launcher) => {
            let error = format!("{} cannot be rewritten", launcher.path);
            Err(Failure::new(Class::Unsupported, error)
                .with_hint("see the reason above; `build --allow-unsafe` keeps it as it is"))
        }
    }
}
