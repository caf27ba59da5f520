use std::fmt::Write;

use clap::ValueEnum;
use engine::TransferOptions;
use ocicore::{Class, Cx, Digest, Platform, Reference, copy};
use serde::Serialize;

use super::{
    super::{Hook, run::run_container},
    start::{Start, StartOptions},
};
use crate::{
    Common, Failure, Place, Result, connect, engine_keychain, images::Opened, log, print, registry,
};

/// Options of `job2docker deploy`.
#[derive(clap::Args, Debug)]
pub struct Deploy {
    /// The image: docker://REF, oci:DIR[:NAME], oci-archive:FILE, docker-archive:FILE,
    /// docker-daemon:REF
    image: Place,
    /// Where it goes: docker://REF is pushed, docker-daemon:REF is loaded into the engine
    #[arg(long, value_name = "TARGET")]
    to: Place,
    /// Platform, of an image for several
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// A command for the shell before the image is moved, for registries that want a repository
    /// created first; JOB2DOCKER_TO, _REGISTRY, _REPOSITORY, _TAG and _DIGEST tell what comes
    #[arg(long, value_name = "COMMAND")]
    exec: Option<Hook>,
    /// Start the job, and wait for its end; else the command that starts it is printed
    #[arg(long)]
    run: bool,
    /// The command line of the engine, in the command that is printed
    #[arg(long, value_name = "PROGRAM", default_value = "docker")]
    engine: EngineName,
    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "run")]
    dry_run: bool,
    #[command(flatten)]
    start: StartOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EngineName {
    Docker,
    Podman,
}

/// What is, or would be, done.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Where the image was.
    from: String,
    /// Where it goes.
    to: String,
    /// Its digest.
    digest: Digest,
    /// What was moved, once it was.
    copied: Option<copy::Done>,
    /// How the job is started.
    start: Start,
    /// The same for a shell.
    command: String,
}

/// Moves an image to where it runs, and starts the job or says how.
///
/// # Errors
/// Those of the places, of the hook and of the engine; [`Failure::exited`] if the job did not end
/// well.
pub async fn deploy_image(cx: &Cx, common: Common, deploy: Deploy) -> Result<()> {
    let name = match &deploy.to {
        Place::Registry(name) | Place::Daemon(name) => name.clone(),
        other => {
            let error = format!("a job cannot be started from {other}");
            return Err(Failure::new(Class::Unsupported, error).with_hint(
                "use docker://REF or docker-daemon:REF; `skopeo copy` moves images elsewhere",
            ));
        }
    };
    let registry = registry()?;
    let opened = deploy.image.open(cx, &registry, &deploy.platform).await?;
    let image = &opened.image;
    let start = deploy.start.start(image, &name)?;
    let mut outcome = Outcome {
        from: deploy.image.to_string(),
        to: deploy.to.to_string(),
        digest: *image.digest(),
        copied: None,
        command: start.shell(match deploy.engine {
            EngineName::Docker => "docker",
            EngineName::Podman => "podman",
        }),
        start,
    };
    if deploy.dry_run {
        return print(common, &outcome, render);
    }
    if let Some(hook) = &deploy.exec {
        let variables = variables(&deploy.to, &name, image.digest());
        hook.run_apart(cx, variables).await?;
    }
    let tag = name.to_string();
    outcome.copied = Some(deploy.to.write(cx, &registry, image, &tag).await?);
    match deploy.run {
        false => print(common, &outcome, render),
        // A context of its own: Ctrl-C is for the job, which ends by it.
        true => {
            run(
                &Cx::default(),
                common,
                &deploy.to,
                &name,
                &outcome.start,
                &opened,
            )
            .await
        }
    }
}

async fn run(
    cx: &Cx,
    common: Common,
    to: &Place,
    name: &Reference,
    start: &Start,
    opened: &Opened,
) -> Result<()> {
    start.make_volumes(&opened.image)?;
    let engine = connect(cx, "job2docker").await?;
    if let Place::Registry(_) = to {
        let keychain = engine_keychain(cx, [name.repository().host()]).await?;
        let options = TransferOptions::default()
            .keychain(keychain)
            .platform(opened.image.config().platform());
        engine.pull(cx, name, &options, &log(common)).await?;
    }
    run_container(cx, &engine, &start.container(name)).await
}

/// What the hook is told.
fn variables(to: &Place, name: &Reference, digest: &Digest) -> Vec<(&'static str, String)> {
    let tag = name.tag().map(ToString::to_string);
    vec![
        ("JOB2DOCKER_TO", to.to_string()),
        ("JOB2DOCKER_REGISTRY", name.repository().host().to_owned()),
        (
            "JOB2DOCKER_REPOSITORY",
            name.repository().path().to_string(),
        ),
        ("JOB2DOCKER_TAG", tag.unwrap_or_default()),
        ("JOB2DOCKER_DIGEST", digest.to_string()),
    ]
}

fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {}@{}", outcome.to, outcome.digest);
    if outcome.start.volumes.is_empty() {
        text += "# What the job writes is gone with the container; --volumes DIR keeps it.\n";
    }
    let writable = outcome.start.volumes.iter().any(|volume| !volume.read_only);
    if writable {
        text += "# The user of the image must be able to write to out, data and log.\n";
    }
    text + &outcome.command
}
