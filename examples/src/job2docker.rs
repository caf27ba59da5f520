//! One Talend job to an image and an archive: what `job2docker build` does.

use std::{
    fmt::Write,
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
use talend::{
    ConvertOptions, Converted, ImageConfig, Inspection, Plan, convert,
    report::{Outcome as Verdict, Report},
};

use crate::{Failure, Place, Result, images::source_date_epoch};

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
    let image = image(
        cx,
        registry,
        request,
        &outcome.plan,
        Layer::new(Arc::new(blob), layer.diff_id),
    );
    let image = image.await?;
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

async fn image(
    cx: &Cx,
    registry: &dyn Repositories,
    request: &Request,
    plan: &Plan,
    layer: Layer,
) -> Result<Image> {
    let mut builder = match base(request, plan)? {
        Base::Scratch => ImageBuilder::scratch(&request.platform),
        Base::Image(place) => {
            let image = place.open(cx, registry, &request.platform).await?;
            ImageBuilder::from_base(&image)?
                .annotation("org.opencontainers.image.base.name", place.to_string())
                .annotation(
                    "org.opencontainers.image.base.digest",
                    image.digest().to_string(),
                )
        }
    };
    let ImageConfig {
        entrypoint,
        env,
        labels,
        working_dir,
        user,
        ..
    } = &plan.image;
    for (key, value) in env {
        builder = builder.env(key, value);
    }
    for (key, value) in labels {
        builder = builder.label(key, value);
    }
    let job = format!("job2docker {}", file_name(&request.zip));
    let builder = builder.append(layer.with_created_by(job));
    let builder = builder
        .entrypoint(entrypoint)
        .working_dir(working_dir)
        .user(user);
    Ok(builder.created(source_date_epoch()?).build()?)
}

/// An outcome for people.
pub fn render(outcome: &Outcome) -> String {
    let job = &outcome.plan.job;
    let mut text = format!("job       {} {}\n", job.name, job.version);
    text += &render_report(&outcome.plan.report);
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<9} {value}");
    };
    if !outcome.to.is_empty() {
        line("base", &outcome.base);
        line("entry", &outcome.plan.image.entrypoint.join(" "));
    }
    if let Some(tgz) = &outcome.tgz {
        line(
            "archive",
            &format_args!("{} {} bytes", tgz.digest, tgz.size),
        );
    }
    if let Some(written) = &outcome.written {
        line(
            "layer",
            &format_args!("{} {} bytes", written.layer.digest, written.layer.size),
        );
        line("image", &written.digest);
    }
    for place in &outcome.to {
        line("to", place);
    }
    for warning in &outcome.warnings {
        line("warning", warning);
    }
    text
}

/// What is in a zip, for people.
pub fn render_inspection(found: &Inspection) -> String {
    let mut text = format!("job       {} {}\n", found.job.name, found.job.version);
    if let Some(studio) = &found.job.studio {
        let _ = writeln!(text, "studio    {studio}");
    }
    text + &render_report(&found.report) + "\n" + &render_diffs(&found.report)
}

/// The changes of the launchers as diffs.
fn render_diffs(report: &Report) -> String {
    report
        .launchers
        .iter()
        .map(|launcher| launcher.diff.as_str())
        .collect()
}

/// What was, or would be, done to the launchers.
fn render_report(report: &Report) -> String {
    let mut text = String::new();
    for launcher in &report.launchers {
        let verdict = match &launcher.outcome {
            Verdict::Rewritten { position } => format!("rewritten at {position}"),
            Verdict::AlreadyExec { position } => format!("already exec at {position}"),
            Verdict::Unsafe { position, reason } => format!("unsafe at {position}: {reason}"),
            Verdict::Unresolved {
                position,
                placeholder,
            } => {
                format!("unresolved at {position}: {placeholder}")
            }
            Verdict::NotALauncher { reason } => format!("not a launcher: {reason}"),
            other => format!("{other:?}"),
        };
        text += &format!("launcher  {}: {verdict}\n", launcher.path);
        for warning in &launcher.warnings {
            text += &format!("warning   {}:{}\n", warning.position, warning.message);
        }
    }
    for warning in &report.warnings {
        text += &format!("warning   {warning}\n");
    }
    text
}

/// The name of a file, which may say what job is in it.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
