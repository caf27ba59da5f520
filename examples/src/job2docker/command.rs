use std::path::PathBuf;

use clap::ValueEnum;
use ocicore::{Cx, Platform};
use talend::{ConvertOptions, UnsafeLaunchers};

use super::{Base, Request, build, plan, render};
use crate::{Common, Place, Result, print, registry};

/// Options of `job2docker build`.
#[derive(clap::Args, Debug)]
pub struct Build {
    /// The built job
    zip: PathBuf,
    /// Where the image goes: docker://REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,
    /// docker-daemon:REF
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

/// Runs `job2docker build`.
///
/// # Errors
/// As [`plan`] and [`build`].
pub async fn build_job(cx: &Cx, common: Common, command: Build) -> Result<()> {
    let layout = match command.layout {
        Layout::Plain => talend::Layout::Plain,
        Layout::Job2docker => talend::Layout::Job2docker,
    };
    let mut options = ConvertOptions::default().with_layout(layout);
    if command.allow_unsafe {
        options = options.with_unsafe_launchers(UnsafeLaunchers::Allow);
    }
    let Build {
        zip,
        to,
        base,
        platform,
        tgz,
        dry_run,
        ..
    } = command;
    let request = Request {
        zip,
        to,
        base,
        platform,
        tgz,
        options,
    };
    let outcome = match dry_run {
        true => plan(cx, &request).await?,
        false => build(cx, &registry()?, &request).await?,
    };
    print(common, &outcome, render)
}
