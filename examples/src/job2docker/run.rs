use std::{
    io::{self, Write},
    sync::Arc,
};

use engine::{
    ContainerEngine,
    log::{Event, Log},
    spec::{ContainerSpec, ImageName, Signal},
};
use futures_util::{Stream, StreamExt, stream};
use ocicore::{Cx, Reference};
use tokio::signal::unix::SignalKind;

use super::entrypoint::Jobs;
use crate::{Failure, Result, connect};

/// Options of `job2docker run`.
#[derive(clap::Args, Debug)]
pub struct Run {
    /// The image
    image: Reference,
    /// The job to start, of an image with several
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// A context variable of the job
    #[arg(
        long = "context_param",
        visible_alias = "context-param",
        value_name = "NAME=VALUE",
        value_parser = context_param
    )]
    context: Vec<String>,
    /// Arguments of the job
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs an image of a job in the engine, and waits for its end: its output is ours, SIGINT and
/// SIGTERM are passed on to java, its exit code becomes ours.
///
/// # Errors
/// Those of the engine; if the image has no such job; [`Failure::exited`] if the job did not end
/// well.
pub async fn run_job(command: Run) -> Result<()> {
    // A context of its own: Ctrl-C is for the job, which ends by it.
    let cx = &Cx::default();
    let engine = connect(cx, "job2docker").await?;
    let name = ImageName::from(command.image.clone());
    let found = engine.inspect_image(cx, &name).await?;
    let jobs = Jobs {
        labels: found.labels,
        env: found.env,
        entrypoint: found.entrypoint,
    };
    let context = command.context.into_iter();
    let context = context.flat_map(|pair| ["--context_param".to_owned(), pair]);
    let args = command.args.into_iter().chain(context);
    let mut spec = ContainerSpec::new(command.image).command(args);
    if let Some(path) = jobs.start(command.job.as_deref())? {
        spec = spec.entrypoint([path]);
    }
    run_container(cx, &engine, &spec).await
}

/// `NAME=VALUE`; what is no pair the job would ignore without a word.
pub(super) fn context_param(text: &str) -> Result<String, &'static str> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("expected `NAME=VALUE`"),
    }
}

/// As [`run_job`], of any container.
pub(super) async fn run_container(
    cx: &Cx,
    engine: &Arc<dyn ContainerEngine>,
    spec: &ContainerSpec,
) -> Result<()> {
    let log = Log::to(|event| {
        // Where nobody reads, nobody misses it; the job goes on.
        let _ = match event {
            Event::Stdout(text) => io::stdout().lock().write_all(text.as_bytes()),
            Event::Stderr(text) => io::stderr().lock().write_all(text.as_bytes()),
            _ => Ok(()),
        };
    });
    let interrupts = signals(SignalKind::interrupt(), Signal::Interrupt)?;
    let terminations = signals(SignalKind::terminate(), Signal::Terminate)?;
    let signals = stream::select(interrupts, terminations);
    let exit = engine::run_with_signals(cx, engine, spec, &log, signals).await?;
    match u8::try_from(exit.code()).unwrap_or(u8::MAX) {
        0 => Ok(()),
        code => Err(Failure::exited(code)),
    }
}

fn signals(kind: SignalKind, signal: Signal) -> Result<impl Stream<Item = Signal> + Send> {
    let listener = tokio::signal::unix::signal(kind)?;
    Ok(stream::unfold(listener, move |mut listener| async move {
        listener.recv().await?;
        Some((signal, listener))
    })
    .boxed())
}
