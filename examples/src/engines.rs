use std::{
    io::{self, Write},
    sync::Arc,
};

use engine::{
    ContainerEngine, Docker, Owner,
    docker::Endpoint,
    log::{Event, Log},
};
use ocicore::Cx;

use crate::{Common, Failure, Result};

/// The engine that `DOCKER_HOST`, the docker CLI's context or a usual socket names; what is made
/// there belongs to `owner`.
///
/// # Errors
/// If there is none, or it does not answer.
pub async fn connect(cx: &Cx, owner: &str) -> Result<Arc<dyn ContainerEngine>> {
    let endpoint = Endpoint::from_env()?;
    Ok(Arc::new(
        Docker::connect(cx, &endpoint, Owner::new(owner)?).await?,
    ))
}

/// What builds and containers print, on standard error; nothing with `--quiet` or `--json`.
pub fn log(common: Common) -> Log {
    if common.quiet || common.json {
        return Log::discard();
    }
    Log::to(|event| {
        let line = match event {
            Event::Step { instruction, .. } => format!("step: {instruction}\n"),
            Event::Cached { instruction } => format!("cached: {instruction}\n"),
            Event::Stdout(text) | Event::Stderr(text) => text,
            Event::Message(text) => text + "\n",
            _ => return,
        };
        // Where standard error is gone, there is nobody to tell.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    })
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<grocker::Error> for Failure {
    fn from(error: grocker::Error) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.class(), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
