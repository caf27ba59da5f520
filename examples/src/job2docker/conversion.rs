use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ocicore::Class;
use repack::EntryPath;
use talend::{
    ConvertOptions, Entrypoint, SignedFiles, UnsafeLaunchers,
    layers::{LayerOptions, Residue},
    properties::Properties,
    rewrite::PathQuoting,
};

use super::{Layering, mtime};
use crate::{Failure, Result};

/// How a job is converted: options that several commands have.
#[derive(clap::Args, Clone, Debug)]
pub struct Conversion {
    /// Names of files: as in the zip, or as the original job2docker renames them
    #[arg(long, default_value = "plain")]
    layout: LayoutName,
    /// Keep a launcher that cannot be rewritten, so that java does not get signals
    #[arg(long)]
    allow_unsafe: bool,
    /// Put quotes around paths of the launcher that may hold blanks
    #[arg(long)]
    quote_paths: bool,
    /// What the image starts: the launcher by its shell, or java itself
    /// [default: script where the base has /bin/sh, else exec]
    #[arg(long, value_name = "HOW")]
    entrypoint: Option<EntrypointName>,
    /// Context to run with [default: that of the launcher]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Java properties with other values for variables of the context; they become part of the image
    #[arg(long = "override", value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// Let environment variables of this prefix, for example CONTEXT_, and files in
    /// /talend/config/context, be variables of the context when the job is run
    #[arg(long, value_name = "PREFIX")]
    context_from_env: Option<String>,
    /// User and group of the image
    #[arg(long, default_value = "65532:65532")]
    user: String,
    /// A path in the image that is a volume
    #[arg(long, value_name = "PATH")]
    volume: Vec<String>,
    /// Directory of all jobs in the image
    #[arg(long, value_name = "DIR", default_value = "/talend")]
    parent: String,
    /// Layers: libraries apart from the job, so that a change of the job moves only the job; or one
    #[arg(long, value_name = "HOW", default_value = "split")]
    layers: LayersName,
    /// Keep sources, items and other residue of the build in the image
    #[arg(long)]
    keep: bool,
    /// Signature (META-INF) and checksums (crcMap) of a build: keep them at the root, set them apart
    /// where jobs are merged and out of the image, or drop them
    #[arg(long, value_name = "RULE", default_value = "namespace")]
    signed_files: SignedFilesName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SignedFilesName {
    Keep,
    Namespace,
    Drop,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutName {
    Plain,
    Job2docker,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EntrypointName {
    Script,
    Exec,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayersName {
    Split,
    One,
}

impl Conversion {
    /// What the library is told; `SOURCE_DATE_EPOCH` counts.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or a directory cannot be one in an image.
    pub fn options(&self) -> Result<ConvertOptions> {
        let layout = match self.layout {
            LayoutName::Plain => talend::Layout::Plain,
            LayoutName::Job2docker => talend::Layout::Job2docker,
        };
        let signed_files = match self.signed_files {
            SignedFilesName::Keep => SignedFiles::Keep,
            SignedFilesName::Namespace => SignedFiles::Namespace,
            SignedFilesName::Drop => SignedFiles::Drop,
        };
        let parent = self.parent.trim_start_matches('/').parse::<EntryPath>();
        let parent = parent.map_err(|error| {
            Failure::from(error).context(format!("`{}` cannot be the parent", self.parent))
        })?;
        let mut options = ConvertOptions::default()
            .with_layout(layout)
            .with_signed_files(signed_files)
            .with_mtime(mtime()?)
            .with_user(&self.user)
            .with_parent(parent);
        if self.allow_unsafe {
            options = options.with_unsafe_launchers(UnsafeLaunchers::Allow);
        }
        if self.quote_paths {
            options = options.with_paths(PathQuoting::Repair);
        }
        for volume in &self.volume {
            options = options.with_volume(volume);
        }
        if let Some(context) = &self.context {
            options = options.with_context(context);
        }
        if let Some(path) = &self.overrides {
            options = options.with_overrides(read_properties(path)?);
        }
        if let Some(prefix) = &self.context_from_env {
            options = options.with_context_from_env(prefix);
        }
        Ok(options)
    }

    /// What the image starts; none if the base decides.
    pub fn entrypoint(&self) -> Option<Entrypoint> {
        self.entrypoint.map(|name| match name {
            EntrypointName::Script => Entrypoint::Script,
            EntrypointName::Exec => Entrypoint::Exec,
        })
    }

    /// How the image is split into layers.
    pub fn layering(&self) -> Layering {
        let residue = match self.keep {
            true => Residue::Keep,
            false => Residue::Drop,
        };
        match self.layers {
            LayersName::Split => Layering::Split(LayerOptions::default().with_residue(residue)),
            LayersName::One => Layering::One(residue),
        }
    }
}

/// Reads java properties.
///
/// # Errors
/// If the file cannot be read, or is none.
pub fn read_properties(path: &Path) -> Result<Properties> {
    let text = std::fs::read(path).map_err(|error| {
        Failure::from(error).context(format!("cannot read `{}`", path.display()))
    })?;
    Properties::parse(&text).map_err(|fault| {
        let error = format!("{}:{fault}", path.display());
        Failure::new(Class::Invalid, error)
    })
}
