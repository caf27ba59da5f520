use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use ocicore::{Class, Cx};
use talend::{ConvertOptions, Layout, UnsafeLaunchers};

use super::{ArchivePath, Request, build, file_name, mtime, render};
use crate::{Common, Failure, Result, print, registry};

/// The original's form `job2docker ZIP [TARGET_DIR [WORK_DIR]]`: writes `TARGET_DIR/<Job>.tgz`.
#[derive(clap::Args, Debug)]
#[command(override_usage = "job2docker [OPTIONS] ZIP [TARGET_DIR [WORK_DIR]]")]
pub struct Original {
    /// The built job
    zip: PathBuf,
    /// Directory of the archive
    #[arg(value_name = "TARGET_DIR", default_value = ".")]
    target: PathBuf,
    /// Where the original unpacks; nothing is unpacked here, so that it stays as it is
    #[arg(value_name = "WORK_DIR")]
    work: Option<PathBuf>,
    /// Keep a launcher that cannot be rewritten, so that java does not get signals
    #[arg(long)]
    allow_unsafe: bool,
}

/// The command line with the name of the command that stands for the original's form, if the first
/// argument is a zip and no command.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<_> = given.into_iter().collect();
    let is_option = |argument: &OsString| argument.to_string_lossy().starts_with('-');
    let first = given
        .iter()
        .skip(1)
        .position(|argument| !is_option(argument));
    if let Some(at) = first.map(|at| at + 1)
        && Path::new(&given[at])
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("zip"))
    {
        given.insert(at, "original".into());
    }
    given
}

/// Converts as the original does, and writes the archive under the original's name.
///
/// # Errors
/// Those of the conversion; if the directory is not there.
pub async fn convert_as_original(cx: &Cx, common: Common, command: Original) -> Result<()> {
    let Original { zip, target, .. } = command;
    if !target.is_dir() {
        let error = format!("there is no directory `{}`", target.display());
        return Err(Failure::new(Class::NotFound, error).with_hint("create it first"));
    }
    let name = file_name(&zip);
    let archive = target.join(format!("{}.tgz", talend::naming::archive_job(&name)));
    let mut options = ConvertOptions::default()
        .with_layout(Layout::Job2docker)
        .with_mtime(mtime()?);
    if command.allow_unsafe {
        options = options.with_unsafe_launchers(UnsafeLaunchers::Allow);
    }
    let request = Request {
        tgz: Some(ArchivePath::Path(archive)),
        options,
        ..Request::new(zip)
    };
    print(common, &build(cx, &registry()?, &request).await?, render)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zip_in_place_of_a_command_is_the_original_form() {
        for (given, expected) in [
            ("j a.zip out work", "j original a.zip out work"),
            ("j --json a.ZIP", "j --json original a.ZIP"),
            ("j build a.zip", "j build a.zip"),
            ("j --help", "j --help"),
            ("j", "j"),
            ("j buidl a.zip", "j buidl a.zip"),
        ] {
            let arguments = arguments(given.split(' ').map(OsString::from));
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(arguments, expected, "{given}");
        }
    }
}
