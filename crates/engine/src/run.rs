use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::{
    StreamExt,
    future::{self, Either},
    stream,
};
use ocicore::{Class, Cx};

use crate::{
    ContainerEngine, Error, Exit, Result, Temporary,
    log::Log,
    spec::{ContainerId, ContainerSpec, Signal},
};

/// Between two attempts to kill a container that does not run yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a container to its end, passes on what it prints, and removes it.
///
/// # Errors
/// If it cannot be made or started, runs longer than its spec allows, or is cancelled; when this
/// returns, the container is gone. A command that fails is no error, see [`Exit::success`].
pub async fn run(
    cx: &Cx,
    engine: &Arc<dyn ContainerEngine>,
    spec: &ContainerSpec,
    log: &Log,
) -> Result<Exit> {
    run_with_signals(cx, engine, spec, log, stream::pending()).await
}

/// As [`run`], passing on signals that the caller gets.
///
/// # Errors
/// As [`run`].
pub async fn run_with_signals(
    cx: &Cx,
    engine: &Arc<dyn ContainerEngine>,
    spec: &ContainerSpec,
    log: &Log,
    signals: impl Stream<Item = Signal> + Send,
) -> Result<Exit> {
    let container = Temporary::container(cx, engine, spec).await?;
    let result = run_to_end(cx, &**engine, container.get(), spec, log, signals).await;
    // Also when it failed or was cancelled, and before anybody hears of that.
    let removed = container.remove().await;
    let exit = result?;
    removed.map(|()| exit)
}

async fn run_to_end(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    id: &ContainerId,
    spec: &ContainerSpec,
    log: &Log,
    signals: impl Stream<Item = Signal> + Send,
) -> Result<Exit> {
    let forward = pin!(async {
        let mut signals = pin!(signals);
        while let Some(signal) = signals.next().await {
            // The container may be about to start or to end: neither is worth an error.
            if let Err(error) = engine.signal(cx, id, signal).await {
                tracing::warn!(container = %id, %signal, %error, "signal was not passed on");
            }
        }
        future::pending::<Infallible>().await
    });
    let work = pin!(run_within(cx, engine, id, spec, log));
    match future::select(work, forward).await {
        Either::Left((result, _)) => result,
        Either::Right((never, _)) => match never {},
    }
}

async fn run_within(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    id: &ContainerId,
    spec: &ContainerSpec,
    log: &Log,
) -> Result<Exit> {
    let work = engine.run_container(cx, id, log);
    let Some(limit) = spec.time_limit else {
        return work.await;
    };
    match future::select(work, pin!(tokio::time::sleep(limit))).await {
        Either::Left((exit, _)) => exit,
        Either::Right(((), work)) => {
            let exit = kill(cx, engine, id, work).await?;
            Err(Error::TimeLimit {
                command: spec.program(),
                limit,
                tail: exit.tail().clone(),
            })
        }
    }
}

/// Kills a container, and waits for its end: what it printed last is still on its way.
async fn kill(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    id: &ContainerId,
    running: impl Future<Output = Result<Exit>> + Unpin,
) -> Result<Exit> {
    let killing = pin!(async {
        loop {
            match engine.signal(cx, id, Signal::Kill).await {
                // The engine may still be starting it, or it has ended just now.
                Err(error) if error.class() == Class::Conflict => {
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    });
    match future::select(running, killing).await {
        Either::Left((exit, _)) => exit,
        Either::Right((Ok(()), running)) => running.await,
        Either::Right((Err(error), _)) => Err(error),
    }
}
