//! One Talend job to an image and an archive: what `job2docker build` does.

mod command;
mod render;
mod run;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

use ocicore::{
    Cx, Digest, FileBlob, Image, ImageBuilder, Layer, Platform, Reference, Repositories,
    SizeLimits, copy,
};
use repack::{Mtime, layer, zip};
use serde::Serialize;
use talend::{ConvertOptions, Converted, ImageConfig, Plan, convert};

use crate::{Failure, Place, Result, images::source_date_epoch};

pub use command::{Build, build_job};
pub use render::{render, render_inspection};
pub use run::run_job;

/// What an image is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image.
    Image(Place),
}

/// `scratch`, a reference into a registry, or a place by its transport.
impl FromStr for Base {
    type Err = ocicore::Error;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        if input == "scratch" {
            return Ok(Self::Scratch);
        }
        let place = input.parse::<Place>();
        place
            .or_else(|error| match input.parse::<Reference>() {
                Ok(reference) => Ok(Place::Registry(reference)),
                Err(_) => Err(error),
            })
            .map(Self::Image)
    }
}

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Request {
    /// The built job.
    pub zip: PathBuf,
    /// Where the image goes.
    pub to: Vec<Place>,
    /// What it is built on; none is the default of the job's Studio.
    pub base: Option<Base>,
    /// Of which platform the base is taken.
    pub platform: Platform,
    /// Where the archive goes.
    pub tgz: Option<PathBuf>,
    /// How the job is converted.
    pub options: ConvertOptions,
}

/// What is, or would be, done.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The conversion.
    #[serde(flatten)]
    pub plan: Plan,
    /// What the image is built on.
    pub base: String,
    /// Platform of the image.
    pub platform: String,
    /// Where the image goes.
    pub to: Vec<String>,
    /// What surprises, beyond the report.
    pub warnings: Vec<String>,
    /// The archive, once it is written.
    pub tgz: Option<layer::Written>,
    /// The image, once it is written.
    pub written: Option<WrittenImage>,
}

/// An image that was written.
#[derive(Debug, Serialize)]
pub struct WrittenImage {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its layer with the job.
    pub layer: layer::Written,
    /// For each place what was moved there.
    pub copies: Vec<copy::Done>,
}

/// Says what would be done: reads the job, and nothing else.
///
/// # Errors
/// Those of the conversion.
pub async fn plan(cx: &Cx, request: &Request) -> Result<Outcome> {
    let request = request.clone();
    cx.blocking(move |cx| outcome(&request, &open(&cx, &request)?))
        .await
}

/// Converts, writes the archive, builds the image and writes it everywhere.
///
/// # Errors
/// Those of the conversion, of the base and of the places.
pub async fn build(cx: &Cx, registry: &dyn Repositories, request: &Request) -> Result<Outcome> {
    let (wanted, folder) = (request.clone(), tempfile::tempdir()?);
    let file = (!request.to.is_empty()).then(|| folder.path().join("layer.tar.gz"));
    let (mut outcome, layer) = cx
        .blocking(move |cx| {
            let converted = open(&cx, &wanted)?;
            let mut outcome = outcome(&wanted, &converted)?;
            let options = layer::Options::default();
            if let Some(path) = &wanted.tgz {
                outcome.tgz = Some(repack::into_layer(&cx, &converted.tree, &options, path)?);
            }
            let layer = match file {
                Some(path) => {
                    let tree = converted.into_image_tree()?;
                    let written = repack::into_layer(&cx, &tree, &options, &path)?;
                    Some((written, path))
                }
                None => None,
            };
            Ok::<_, Failure>((outcome, layer))
        })
        .await?;
    let Some((layer, path)) = layer else {
        return Ok(outcome);
    };
    let blob = FileBlob::described(layer.descriptor(), path);
    let opened = match base(request, &outcome.plan)? {
        Base::Scratch => None,
        Base::Image(place) => {
            let opened = place.open(cx, registry, &request.platform).await?;
            Some((place, opened))
        }
    };
    let below = opened
        .as_ref()
        .map(|(place, opened)| (place, &opened.image));
    let layer_blob = Layer::new(Arc::new(blob), layer.diff_id);
    let image = image(request, &outcome.plan, below, layer_blob)?;
    let name = &outcome.plan.job;
    let name = format!(
        "{}:{}",
        talend::naming::image_name(&name.name)?,
        name.version
    );
    let mut copies = Vec::new();
    for place in &request.to {
        copies.push(place.write(cx, registry, &image, &name).await?);
    }
    outcome.written = Some(WrittenImage {
        digest: *image.digest(),
        layer,
        copies,
    });
    Ok(outcome)
}

fn open(cx: &Cx, request: &Request) -> Result<Converted> {
    let epoch = source_date_epoch()?;
    let seconds = epoch
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_secs());
    let mtime = Mtime::from_seconds(i64::try_from(seconds).unwrap_or(1));
    let options = request.options.clone().with_mtime(mtime);
    let work = || {
        let tree = zip::open(cx, &request.zip, &SizeLimits::default())?;
        Ok(convert(cx, tree, &file_name(&request.zip), &options)?)
    };
    let named = format!("cannot convert `{}`", request.zip.display());
    work().map_err(|failure: Failure| failure.context(named))
}

fn outcome(request: &Request, converted: &Converted) -> Result<Outcome> {
    let plan = converted.plan.clone();
    let base = base(request, &plan)?;
    let mut warnings = Vec::new();
    if base == Base::Scratch && !request.to.is_empty() {
        warnings.push(
            "the image is built on nothing: it holds neither a shell nor java to run the launcher"
                .to_owned(),
        );
    }
    Ok(Outcome {
        base: match &base {
            Base::Scratch => "scratch".to_owned(),
            Base::Image(place) => place.to_string(),
        },
        platform: request.platform.to_string(),
        to: request.to.iter().map(ToString::to_string).collect(),
        plan,
        warnings,
        tgz: None,
        written: None,
    })
}

fn base(request: &Request, plan: &Plan) -> Result<Base> {
    match &request.base {
        Some(base) => Ok(base.clone()),
        None => {
            let reference = talend::default_base(plan.job.studio.as_ref())?;
            Ok(Base::Image(Place::Registry(reference)))
        }
    }
}

/// The job's layer on its base; files of the base must live until it is written.
fn image(
    request: &Request,
    plan: &Plan,
    base: Option<(&Place, &Image)>,
    layer: Layer,
) -> Result<Image> {
    let mut builder = match base {
        None => ImageBuilder::scratch(&request.platform),
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
    } = &plan.image;
    for (key, value) in env {
        builder = builder.env(key, value);
    }
    for (key, value) in labels {
        builder = builder.label(key, value);
    }
    for volume in volumes {
        builder = builder.volume(volume);
    }
    let job = format!("job2docker {}", file_name(&request.zip));
    let builder = builder.append(layer.with_created_by(job));
    let builder = builder
        .entrypoint(entrypoint)
        .working_dir(working_dir)
        .user(user);
    Ok(builder.created(source_date_epoch()?).build()?)
}

/// The name of a file, which may say what job is in it.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
