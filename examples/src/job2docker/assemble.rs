use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ocicore::{
    Class, Cx, Digest, FileBlob, Image, ImageBuilder, Layer, Platform, Repositories, copy,
};
use repack::{Tree, layer};
use serde::Serialize;
use talend::{
    ImageConfig,
    layers::{LayerOptions, Layers, Residue},
};

use super::OpenBase;
use crate::{Failure, Place, Result, images::source_date_epoch};

/// How an image is split into layers. Closed: into several or not at all.
#[derive(Clone, Debug)]
pub enum Layering {
    /// Libraries apart from the job.
    Split(LayerOptions),
    /// One layer with everything.
    One(Residue),
}

impl Layering {
    /// What becomes of residue of the build.
    pub fn residue(&self) -> Residue {
        match self {
            Self::Split(options) => options.residue,
            Self::One(residue) => *residue,
        }
    }
}

impl Default for Layering {
    fn default() -> Self {
        Self::Split(LayerOptions::default())
    }
}

/// An image that was written.
#[derive(Debug, Serialize)]
pub struct WrittenImage {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its layers above the base, the lowest first; the last one has the job.
    pub layers: Vec<WrittenLayer>,
    /// For each place what was moved there.
    pub copies: Vec<copy::Done>,
}

/// A layer that was written.
#[derive(Debug, Serialize)]
pub struct WrittenLayer {
    /// What is in it.
    pub name: String,
    /// What was written.
    #[serde(flatten)]
    pub written: layer::Written,
}

/// Layers as files, which live as long as this.
#[derive(Debug)]
pub struct LayerFiles {
    layers: Vec<(WrittenLayer, PathBuf)>,
    _folder: tempfile::TempDir,
}

impl LayerFiles {
    /// Compresses all layers into temporary files.
    ///
    /// # Errors
    /// If content is not what its archive says, or the disk is full.
    pub fn write(cx: &Cx, layers: &[(String, Tree)]) -> Result<Self> {
        let cannot = |failure: Failure| {
            let folder = std::env::temp_dir();
            let failure = failure.context(format!("cannot write layers in `{}`", folder.display()));
            match failure.class() {
                Class::Exhausted => failure.with_hint("let TMPDIR be a directory with more room"),
                _ => failure,
            }
        };
        let folder = tempfile::tempdir().map_err(|error| cannot(error.into()))?;
        let mut files = Vec::new();
        for (at, (name, tree)) in layers.iter().enumerate() {
            let path = folder.path().join(format!("{at}.tar.gz"));
            let written = repack::into_layer(cx, tree, &layer::Options::default(), &path)
                .map_err(|error| cannot(error.into()))?;
            let name = name.clone();
            files.push((WrittenLayer { name, written }, path));
        }
        Ok(Self {
            layers: files,
            _folder: folder,
        })
    }
}

/// Writes a tree as a tar.gz.
///
/// # Errors
/// If content is not what its archive says, or the file cannot be written.
pub fn write_archive(cx: &Cx, tree: &Tree, path: &Path) -> Result<layer::Written> {
    let doing = || format!("cannot write `{}`", path.display());
    if path.is_dir() {
        let error = Failure::new(Class::Invalid, "it is a directory, expected a file");
        return Err(error.context(doing()));
    }
    repack::into_layer(cx, tree, &layer::Options::default(), path)
        .map_err(|error| Failure::from(error).context(doing()))
}

/// Names and trees of layers.
pub fn named(layers: Layers) -> Vec<(String, Tree)> {
    let layers = layers.layers.into_iter();
    layers.map(|layer| (layer.name, layer.tree)).collect()
}

/// Puts layers on a base and writes the image everywhere. `name` is what an archive without a name
/// of its own calls it.
///
/// # Errors
/// Those of the places.
pub async fn assemble(
    cx: &Cx,
    registry: &dyn Repositories,
    base: &OpenBase,
    platform: &Platform,
    config: &ImageConfig,
    files: LayerFiles,
    (to, name): (&[Place], &str),
) -> Result<WrittenImage> {
    let image = image(base, platform, config, &files)?;
    let mut copies = Vec::new();
    for place in to {
        copies.push(place.write(cx, registry, &image, name).await?);
    }
    Ok(WrittenImage {
        digest: *image.digest(),
        layers: files.layers.into_iter().map(|(layer, _)| layer).collect(),
        copies,
    })
}

fn image(
    base: &OpenBase,
    platform: &Platform,
    config: &ImageConfig,
    files: &LayerFiles,
) -> Result<Image> {
    let mut builder = match base.image() {
        None => ImageBuilder::scratch(platform),
        Some((place, image)) => ImageBuilder::from_base(image)?
            .annotation("org.opencontainers.image.base.name", place.to_string())
            .annotation(
                "org.opencontainers.image.base.digest",
                image.digest().to_string(),
            ),
    };
    let ImageConfig {
        entrypoint,
        env,
        labels,
        working_dir,
        user,
        volumes,
        ..
    } = config;
    for (key, value) in env {
        builder = builder.env(key, value);
    }
    for (key, value) in labels {
        builder = builder.label(key, value);
    }
    for volume in volumes {
        builder = builder.volume(volume);
    }
    for (layer, path) in &files.layers {
        let blob = FileBlob::described(layer.written.descriptor(), path.clone());
        let by = format!("job2docker {}", layer.name);
        builder =
            builder.append(Layer::new(Arc::new(blob), layer.written.diff_id).with_created_by(by));
    }
    let builder = builder
        .entrypoint(entrypoint)
        .working_dir(working_dir)
        .user(user);
    Ok(builder.created(source_date_epoch()?).build()?)
}
