use std::path::PathBuf;

use clap::ArgGroup;
use ocicore::{Cx, Platform};
use talend::layers::Residue;

use super::{ArchivePath, Base, Conversion, Request, Target, build, plan, render};
use crate::{Common, Result, print, registry};

/// Options of `job2docker build`.
#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("what").args(["to", "tgz", "dry_run"]).required(true).multiple(true))]
pub struct Build {
    /// The built job
    zip: PathBuf,
    /// Where the image goes: docker://REF, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,
    /// docker-daemon:REF; {job} and {version} stand for those of the job
    #[arg(long, value_name = "TARGET")]
    to: Vec<Target>,
    /// What the image is built on: a reference, `scratch`, or a place as for --to
    /// [default: a JRE that fits the job's Studio]
    #[arg(long, value_name = "REF")]
    base: Option<Base>,
    /// Platform of the base
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// Write the converted job as a tar.gz; {job} and {version} stand for those of the job
    #[arg(long, value_name = "FILE")]
    tgz: Option<ArchivePath>,
    /// Leave sources, items and other residue of the build out of the tar.gz, too
    #[arg(long, requires = "tgz")]
    drop: bool,
    #[command(flatten)]
    conversion: Conversion,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `job2docker build`.
///
/// # Errors
/// As [`plan`] and [`build`].
pub async fn build_job(cx: &Cx, common: Common, command: Build) -> Result<()> {
    let options = command.conversion.options()?;
    let request = Request {
        zip: command.zip,
        to: command.to,
        base: command.base,
        platform: command.platform,
        layers: command.conversion.layering(),
        tgz: command.tgz,
        archive_residue: match command.drop {
            true => Residue::Drop,
            false => Residue::Keep,
        },
        entrypoint: command.conversion.entrypoint(),
        options,
    };
    let outcome = match command.dry_run {
        true => plan(cx, &request).await?,
        false => build(cx, &registry()?, &request).await?,
    };
    print(common, &outcome, render)
}
