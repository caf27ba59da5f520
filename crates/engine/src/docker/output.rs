use bollard::{container::LogOutput, errors::Error as Bollard};
use futures_core::Stream;
use futures_util::StreamExt;

use super::fault::Deed;
use crate::{
    Result,
    log::{Event, Lines, Log, Tail},
};

/// Passes on what a container or a command prints until it ends, and keeps the last lines.
pub(super) async fn pump(
    deed: &Deed,
    mut output: impl Stream<Item = Result<LogOutput, Bollard>> + Unpin,
    log: &Log,
    tail: &mut Tail,
) -> Result<()> {
    let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
    while let Some(piece) = output.next().await {
        let events: Vec<Event> = match piece.map_err(|error| deed.bollard(error))? {
            LogOutput::StdErr { message } => {
                let lines = stderr.push(&message);
                lines.into_iter().map(Event::Stderr).collect()
            }
            LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message } => {
                let lines = stdout.push(&message);
                lines.into_iter().map(Event::Stdout).collect()
            }
        };
        for event in events {
            tail.push(&event);
            log.send(event).await;
        }
    }
    let rest = [
        stdout.finish().map(Event::Stdout),
        stderr.finish().map(Event::Stderr),
    ];
    for event in rest.into_iter().flatten() {
        tail.push(&event);
        log.send(event).await;
    }
    Ok(())
}
