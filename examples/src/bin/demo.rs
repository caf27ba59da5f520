//! Shows the main job on one machine, with nothing installed.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use examples::{Common, EXIT_CODES, demo, print, run};

/// Turns a Talend job into an image, pushes it to an embedded registry, pulls it back, checks it,
/// and retags it.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The built job
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// Keep what was pulled as an OCI layout
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { common, job, keep } = Arguments::parse();
    run(common, async |cx| {
        let steps = demo::run(&cx, &job, keep.as_deref()).await?;
        print(common, &steps, |steps| demo::render(steps))
    })
}
