use std::{
    io::{self, Write},
    num::NonZero,
    path::PathBuf,
    time::Duration,
};

use clap::{ArgGroup, ValueEnum};
use ocicore::{Class, Cx, Platform};
use talend::{
    layers::Residue,
    watch::{self, Event, Notice, Until, Watch, WatchSpec},
};
use tokio::{runtime::Handle, signal::unix::SignalKind};

use super::{
    super::{ArchivePath, Base, Conversion, Hook, Request, Target},
    claims::Claims,
    process::{Processed, Processor},
    render::{render, render_records},
};
use crate::{Common, Failure, Result, print, registry};

/// Options of `job2docker watch`.
#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("what").args(["to", "tgz", "list"]).required(true).multiple(true))]
pub struct Watched {
    /// The folder; its directories are watched, too
    folder: PathBuf,
    /// Where images go, as for `build`; {job} must be in it
    #[arg(long, value_name = "TARGET")]
    to: Vec<Target>,
    /// Where archives go; {job} must be in it
    #[arg(long, value_name = "FILE")]
    tgz: Option<ArchivePath>,
    /// Leave sources, items and other residue of the build out of the tar.gz, too
    #[arg(long, requires = "tgz")]
    drop: bool,
    /// What images are built on, as for `build`
    #[arg(long, value_name = "REF")]
    base: Option<Base>,
    /// Platform of the base
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// A command for the shell after each zip that was processed; JOB2DOCKER_ZIP, _JOB, _VERSION,
    /// _TO (one place per line), _DIGEST and _TGZ tell what was made. If it fails, the zip has failed
    #[arg(long, value_name = "COMMAND")]
    exec: Option<Hook>,
    /// Where is remembered what was done [default: FOLDER/.job2docker-watch.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How changes are noticed: by the kernel unless it cannot, by the kernel, or by polling
    #[arg(long, value_name = "HOW", default_value = "auto")]
    notice: NoticeName,
    /// Seconds between two looks when polling
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    poll: Duration,
    /// Seconds that size and time of a zip must stay as they are before it is taken
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    settle: Duration,
    /// Seconds that a part of a zip may stay as it is before it has failed
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    patience: Duration,
    /// How often a failure that may pass is tried again
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// Seconds before it is tried again, doubled each time
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pause: Duration,
    /// Most zips at once [default: as many as the machine runs threads]
    #[arg(long, value_name = "N")]
    parallel: Option<NonZero<usize>>,
    /// End when all that is in the folder is done or has failed
    #[arg(long)]
    once: bool,
    /// List what was done and what has failed, and do nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    conversion: Conversion,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NoticeName {
    Auto,
    Kernel,
    Poll,
}

/// Watches until SIGINT or SIGTERM, then finishes what has begun.
///
/// # Errors
/// If the folder or what is remembered cannot be read; with `--once`, if a zip has failed.
pub async fn watch_folder(cx: &Cx, common: Common, command: Watched) -> Result<()> {
    let spec = command.spec();
    if command.list {
        let records = watch::records(&spec.state)?;
        return print(common, &records, render_records);
    }
    let processor = command.processor()?;
    let watch = Watch::open(spec)?;
    let stopper = watch.stopper();
    let mut terminated = tokio::signal::unix::signal(SignalKind::terminate())?;
    let interrupted = cx.cancelled();
    let stop = tokio::spawn(async move {
        tokio::select! {
            () = interrupted => {}
            _ = terminated.recv() => {}
        }
        stopper.stop();
    });
    // A context of its own: Ctrl-C ends the watch, and what has begun is finished.
    let summary = Cx::default()
        .blocking(move |cx| {
            watch.run(
                &cx,
                |cx, zip| processor.process(cx, zip),
                |event| say(common, &event),
            )
        })
        .await;
    stop.abort();
    let failed = summary?.failed.len();
    if command.once && failed > 0 {
        let error = format!("{failed} of the zips in the folder failed");
        let hint = "mend or remove them; `--list` tells what is wrong";
        return Err(Failure::new(Class::Invalid, error).with_hint(hint));
    }
    Ok(())
}

impl Watched {
    fn spec(&self) -> WatchSpec {
        let mut spec = WatchSpec::new(&self.folder)
            .with_notice(match self.notice {
                NoticeName::Auto => Notice::Auto,
                NoticeName::Kernel => Notice::Kernel,
                NoticeName::Poll => Notice::Poll,
            })
            .with_poll(self.poll)
            .with_settle(self.settle)
            .with_patience(self.patience)
            .with_retries(self.retries, self.pause);
        if let Some(state) = &self.state {
            spec = spec.with_state(state);
        }
        if let Some(parallel) = self.parallel {
            spec = spec.with_parallel(parallel);
        }
        if self.once {
            spec = spec.with_until(Until::Idle);
        }
        spec
    }

    fn processor(&self) -> Result<Processor> {
        let all_name = self.to.iter().all(Target::names_the_job)
            && self.tgz.as_ref().is_none_or(ArchivePath::names_the_job);
        if !all_name {
            let error = "each job needs places of its own: put {job} into --to and --tgz";
            let hint = "for example `--to docker://registry.example/team/{job}:{version}`";
            return Err(Failure::new(Class::Invalid, error).with_hint(hint));
        }
        let request = Request {
            to: self.to.clone(),
            base: self.base.clone(),
            platform: self.platform.clone(),
            layers: self.conversion.layering(),
            tgz: self.tgz.clone(),
            archive_residue: match self.drop {
                true => Residue::Drop,
                false => Residue::Keep,
            },
            entrypoint: self.conversion.entrypoint(),
            options: self.conversion.options()?,
            ..Request::new("")
        };
        Ok(Processor {
            folder: self.folder.clone(),
            request,
            hook: self.exec.clone(),
            registry: registry()?,
            runtime: Handle::current(),
            claims: Claims::default(),
        })
    }
}

/// Prints an event: as a line of JSON, or as text.
fn say(common: Common, event: &Event<Processed>) {
    let line = match common.json {
        true => serde_json::to_string(event).ok(),
        false => render(event),
    };
    if let Some(line) = line {
        let mut out = io::stdout().lock();
        // Where nobody reads, nobody misses it; the watch goes on.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
