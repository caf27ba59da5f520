use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use ocicore::{Cx, Platform, Repositories, SizeLimits};
use repack::{EntryPath, Mtime, Tree, layer, zip};
use serde::Serialize;
use talend::{ConvertOptions, Converted, Entrypoint, Job, Plan, convert, layers::Residue};

use super::{
    ArchivePath, Base, LayerFiles, Layering, OpenBase, Target, WrittenImage, assemble, named,
    write_archive,
};
use crate::{Failure, Place, Result, images::source_date_epoch};

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Request {
    /// The built job.
    pub zip: PathBuf,
    /// Where the image goes.
    pub to: Vec<Target>,
    /// What it is built on; none is the default of the job's Studio.
    pub base: Option<Base>,
    /// Of which platform the base is taken.
    pub platform: Platform,
    /// How the image is split into layers.
    pub layers: Layering,
    /// Where the archive goes.
    pub tgz: Option<ArchivePath>,
    /// What becomes of residue of the build in the archive.
    pub archive_residue: Residue,
    /// What the image starts; none is the launcher where the base has a shell, else java.
    pub entrypoint: Option<Entrypoint>,
    /// How the job is converted; `entrypoint` above counts.
    pub options: ConvertOptions,
}

impl Request {
    /// To build an image of this job.
    pub fn new(zip: impl Into<PathBuf>) -> Self {
        Self {
            zip: zip.into(),
            to: Vec::new(),
            base: None,
            platform: Platform::host(),
            layers: Layering::default(),
            tgz: None,
            archive_residue: Residue::Keep,
            entrypoint: None,
            options: ConvertOptions::default(),
        }
    }
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
    /// What only the build needed, so that the image lacks it.
    pub left_out: Vec<EntryPath>,
    /// What surprises, beyond the report.
    pub warnings: Vec<String>,
    /// Where the archive goes.
    pub archive: Option<PathBuf>,
    /// The archive, once it is written.
    pub tgz: Option<layer::Written>,
    /// The image, once it is written.
    pub written: Option<WrittenImage>,
}

/// Says what would be done: reads the job, and nothing else, so that a base is taken to have a
/// shell.
///
/// # Errors
/// Those of the conversion.
pub async fn plan(cx: &Cx, request: &Request) -> Result<Outcome> {
    let request = request.clone();
    cx.blocking(move |cx| {
        let source = Source::open(&cx, &request)?;
        let entrypoint = request.entrypoint.unwrap_or_default();
        let converted = source.convert(&cx, &request, entrypoint)?;
        outcome(&request, converted.plan)
    })
    .await
}

/// Converts, writes the archive, builds the image and writes it everywhere.
///
/// # Errors
/// Those of the conversion, of the base and of the places.
pub async fn build(cx: &Cx, registry: &dyn Repositories, request: &Request) -> Result<Outcome> {
    let wanted = request.clone();
    let first = request.entrypoint.unwrap_or_default();
    // What is wrong with the job is said before anybody is asked for a base.
    let (source, converted) = cx
        .blocking(move |cx| {
            let source = Source::open(&cx, &wanted)?;
            let converted = source.clone().convert(&cx, &wanted, first)?;
            Ok::<_, Failure>((source, converted))
        })
        .await?;
    let base = match request.to.is_empty() {
        true => None,
        false => {
            let base = base(request, &source.job)?;
            Some(base.open(cx, registry, &request.platform).await?)
        }
    };
    let entrypoint = match (request.entrypoint, &base) {
        (None, Some(base)) => default_entrypoint(cx, base).await?,
        _ => first,
    };
    let wanted = request.clone();
    let (mut outcome, files) = cx
        .blocking(move |cx| {
            let converted = match entrypoint == first {
                true => converted,
                false => source.convert(&cx, &wanted, entrypoint)?,
            };
            write(&cx, converted, &wanted)
        })
        .await?;
    if let (Some(files), Some(base)) = (files, base) {
        let job = &outcome.plan.job;
        let name = image_name(job)?;
        let places = places(request, job)?;
        let written = assemble(
            cx,
            registry,
            &base,
            &request.platform,
            &outcome.plan.image,
            files,
            (&places, &name),
        );
        outcome.written = Some(written.await?);
    }
    Ok(outcome)
}

/// The launcher where the base has a shell, else java itself.
///
/// # Errors
/// If a layer of the base cannot be read.
pub async fn default_entrypoint(cx: &Cx, base: &OpenBase) -> Result<Entrypoint> {
    Ok(match base.has_shell(cx).await? {
        Some(false) => Entrypoint::Exec,
        _ => Entrypoint::Script,
    })
}

/// Writes the archive, and the layers of the image if there is to be one.
fn write(
    cx: &Cx,
    converted: Converted,
    request: &Request,
) -> Result<(Outcome, Option<LayerFiles>)> {
    let mut outcome = outcome(request, converted.plan.clone())?;
    if let Some(path) = &outcome.archive {
        let mut archive = converted.clone();
        if request.archive_residue == Residue::Drop {
            archive.drop_residue()?;
        }
        outcome.tgz = Some(write_archive(cx, &archive.tree, path)?);
    }
    if request.to.is_empty() {
        return Ok((outcome, None));
    }
    let layers = match &request.layers {
        Layering::Split(options) => named(converted.into_layers(cx, options)?),
        Layering::One(residue) => {
            let mut converted = converted;
            if *residue == Residue::Drop {
                converted.drop_residue()?;
            }
            let name = converted.plan.job.name.clone();
            vec![(name, converted.into_image_tree()?)]
        }
    };
    Ok((outcome, Some(LayerFiles::write(cx, &layers)?)))
}

/// A job that was found in its archive.
#[derive(Clone, Debug)]
struct Source {
    tree: Tree,
    job: Job,
}

impl Source {
    fn open(cx: &Cx, request: &Request) -> Result<Self> {
        let work = || {
            let tree = zip::open(cx, &request.zip, &SizeLimits::default())?;
            let job = Job::discover(&tree, &file_name(&request.zip))?;
            Ok(Self { tree, job })
        };
        work().map_err(|failure: Failure| failure.context(cannot_convert(&request.zip)))
    }

    fn convert(self, cx: &Cx, request: &Request, entrypoint: Entrypoint) -> Result<Converted> {
        let options = request.options.clone().with_entrypoint(entrypoint);
        convert(cx, self.tree, &file_name(&request.zip), &options)
            .map_err(|error| Failure::from(error).context(cannot_convert(&request.zip)))
    }
}

fn cannot_convert(zip: &Path) -> String {
    format!("cannot convert `{}`", zip.display())
}

fn outcome(request: &Request, plan: Plan) -> Result<Outcome> {
    let base = base(request, &plan.job)?;
    let is_image = !request.to.is_empty();
    let warnings = base.warning().filter(|_| is_image);
    let left_out = match request.layers.residue() {
        Residue::Drop if is_image => plan.residue.clone(),
        _ => Vec::new(),
    };
    let places = places(request, &plan.job)?;
    let archive = request.tgz.as_ref().map(|path| path.path(&plan.job));
    Ok(Outcome {
        base: base.to_string(),
        platform: request.platform.to_string(),
        to: places.iter().map(ToString::to_string).collect(),
        plan,
        left_out,
        warnings: warnings.map(str::to_owned).into_iter().collect(),
        archive,
        tgz: None,
        written: None,
    })
}

fn places(request: &Request, job: &Job) -> Result<Vec<Place>> {
    request.to.iter().map(|target| target.place(job)).collect()
}

fn base(request: &Request, job: &Job) -> Result<Base> {
    match &request.base {
        Some(base) => Ok(base.clone()),
        None => {
            let reference = talend::default_base(job.studio.as_ref())?;
            Ok(Base::Image(Place::Registry(reference)))
        }
    }
}

/// What an archive without a name of its own calls the image.
fn image_name(job: &Job) -> Result<String> {
    let name = talend::naming::image_name(&job.name)?;
    Ok(format!("{name}:{}", job.version))
}

/// The time of all entries that are written: `SOURCE_DATE_EPOCH`, or one second after the epoch.
///
/// # Errors
/// If it is no number.
pub fn mtime() -> Result<Mtime> {
    let since = source_date_epoch()?.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(1, |since| since.as_secs());
    Ok(Mtime::from_seconds(i64::try_from(seconds).unwrap_or(1)))
}

/// The name of a file, which may say what job is in it.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
