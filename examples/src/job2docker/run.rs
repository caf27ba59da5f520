use std::{
    io::{self, Write},
    sync::Arc,
};

use engine::{
    ContainerEngine,
    log::{Event, Log},
    spec::{ContainerSpec, Signal},
};
use futures_util::{Stream, StreamExt, stream};
use ocicore::{Cx, Reference};
use tokio::signal::unix::SignalKind;

use crate::{Failure, Result, connect};

/// Runs an image of a job in the engine, and waits for its end: its output is ours, SIGINT and
/// SIGTERM are passed on to java, its exit code becomes ours.
///
/// # Errors
/// Those of the engine; [`Failure::exited`] if the job did not end well.
pub async fn run_job(cx: &Cx, image: &Reference, args: &[String]) -> Result<()> {
    let engine = connect(cx, "job2docker").await?;
    let spec = ContainerSpec::new(image.clone()).command(args);
    run_container(cx, &engine, &spec).await
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
