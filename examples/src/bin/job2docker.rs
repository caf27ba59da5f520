//! Talend built jobs to container images, without a container engine.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use examples::{
    Common, EXIT_CODES, Failure, Result, Shell, completions,
    job2docker::{self, Build, Contexts, Deploy, Original, Package, Publish, Run, Watched},
    print, run,
};
use ocicore::{Class, Cx, SizeLimits};
use talend::ConvertOptions;

/// Turns the zip of a Talend built job into a container image in which java is process 1.
#[derive(Parser, Debug)]
#[command(version, after_help = after_help())]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    format!(
        "As the original: job2docker ZIP [TARGET_DIR [WORK_DIR]] writes TARGET_DIR/<Job>.tgz\n\n\
         {EXIT_CODES}"
    )
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Convert a job, and write it as an image, as an archive, or both
    #[command(after_help = "Examples:
  job2docker build hello_0.1.zip --to docker://registry.example/team/hello:0.1
  job2docker build hello_0.1.zip --to oci:hello --base scratch
  job2docker build hello_0.1.zip --tgz hello_0.1.tgz --layout job2docker
  job2docker build hello_0.1.zip --to docker://registry.example/team/{job}:{version} \\
    --context Production --context-from-env CONTEXT_
  job2docker build hello_0.1.zip --to docker://registry.example/hello:0.1 --dry-run --json

SOURCE_DATE_EPOCH sets all times; without it they are one second after the epoch.")]
    Build(Box<Build>),
    /// List the contexts of a job and their variables
    #[command(after_help = "Examples:
  job2docker contexts hello_0.1.zip
  job2docker contexts hello_0.1.zip --context Production --override production.properties

Values that their names call secret show as ***. What is in a context file is in the image; to keep
a secret out of it, build with --context-from-env and give the value when the job is run.")]
    Contexts(Contexts),
    /// Watch a folder: each zip that appears in it becomes an image, an archive, or both
    #[command(after_help = "Examples:
  job2docker watch /srv/jobs --to docker://registry.example/team/{job}:{version}
  job2docker watch /srv/jobs --tgz '/srv/out/{job}.tgz' --layout job2docker \\
    --exec 'scp \"$JOB2DOCKER_TGZ\" files.example:jobs/'
  job2docker watch /srv/jobs --to 'docker-daemon:{job}:{version}' --once --json
  job2docker watch /srv/jobs --list

A zip is taken when it is whole and nobody writes to it. What failed is listed with its error, and
tried again when it changes. After SIGINT and SIGTERM what has begun is finished; the exit code then
is 0. With --once it is 6 as long as a zip in the folder has failed, in this run or an earlier one.
With --json each event is a line.")]
    Watch(Box<Watched>),
    /// Push an image, or load it into the engine, and start the job there or say how
    #[command(after_help = "Examples:
  job2docker deploy oci:hello:0.1 --to docker://registry.example/team/hello:0.1 --volumes /srv/hello
  job2docker deploy oci:orders:1 --to docker-daemon:orders:1 --job export --run
  job2docker deploy oci:hello:0.1 --to docker://1.dkr.ecr.eu-west-1.amazonaws.com/hello:0.1 \\
    --exec 'aws ecr create-repository --repository-name \"$JOB2DOCKER_REPOSITORY\" || true'

With --run the exit code is that of the job.")]
    Deploy(Box<Deploy>),
    /// `job2docker ZIP [TARGET_DIR [WORK_DIR]]`
    #[command(hide = true)]
    Original(Original),
    /// Merge the jobs of a manifest into one application: an image, an archive, or both
    #[command(after_help = "Examples:
  job2docker package jobs.toml --to docker://registry.example/team/orders:1.2
  job2docker package jobs.txt -a orders -v 1.2 --tgz orders.tgz \\
    --repository https://nexus.example.com/repository/releases
  job2docker package orders com/example 1.2-SNAPSHOT jobs.txt nexus.example.com

The last one is the original's form: it publishes orders-1.2-SNAPSHOT.tgz to the repository
`snapshots` of that Nexus. Nothing is written before all jobs are there and merged.

A manifest has a job on each line: https://HOST/.../load-0.1.0.zip, com.example:load:0.1.0, or a
file. In TOML it says more:
  [application]
  name = \"orders\"               # version, group, default (what the image starts)
  [[job]]
  coordinates = \"com.example:load:0.1.0\"   # or url, or file
  context = \"Production\"        # and entrypoint, the name in /talend/bin")]
    Package(Box<Package>),
    /// Publish an archive to a Maven repository, or an image to a registry
    #[command(after_help = "Examples:
  job2docker publish orders.tgz --coordinates com.example:orders:1.2 \\
    --repository https://nexus.example.com/repository/releases
  job2docker publish oci:orders --to docker://registry.example/team/orders:1.2")]
    Publish(Box<Publish>),
    /// Show the job in a zip, and what would become of its launchers
    #[command(after_help = "Examples:
  job2docker inspect hello_0.1.zip
  job2docker inspect hello_0.1.zip --json

A launcher is rewritten (exec is put before java), already exec, unsafe (why, and where), or not a
launcher; each change is shown as a diff. The exit code is 7 if one is unsafe.")]
    Inspect {
        /// The built job
        zip: PathBuf,
    },
    /// Run an image of a job in the engine: its log, its signals, its exit code
    #[command(after_help = "Examples:
  job2docker run hello:0.1 --context_param seconds=5 -- --context=Production
  job2docker run orders:1.2 --job load

The exit code is that of the job.")]
    Run(Run),
    /// Print completions for a shell
    Completions { shell: Shell },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(job2docker::arguments(std::env::args_os()));
    let common = arguments.common;
    run(common, async |cx| match arguments.command {
        Command::Build(build) => job2docker::build_job(&cx, common, *build).await,
        Command::Contexts(command) => job2docker::show_contexts(&cx, common, command).await,
        Command::Package(command) => job2docker::package_jobs(&cx, common, *command).await,
        Command::Publish(command) => job2docker::publish(&cx, common, *command).await,
        Command::Original(command) => job2docker::convert_as_original(&cx, common, command).await,
        Command::Watch(command) => job2docker::watch_folder(&cx, common, *command).await,
        Command::Deploy(command) => job2docker::deploy_image(&cx, common, *command).await,
        Command::Inspect { zip } => inspect(&cx, common, zip).await,
        Command::Run(command) => job2docker::run_job(command).await,
        Command::Completions { shell } => {
            completions::<Arguments>(shell);
            Ok(())
        }
    })
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
