use std::path::{Path, PathBuf};

use ocicore::{Class, Cx, Platform};
use serde::Serialize;
use talend::{
    manifest::Coordinates,
    nexus::{self, Checksums, Client, PublishLayout, PublishPlan, PublishSpec, Published},
};

use super::{PublishLayoutName, Side, client, file_name};
use crate::{Common, Failure, Place, Result, print, registry};

/// Options of `job2docker publish`.
#[derive(clap::Args, Debug)]
pub struct Publish {
    /// An archive; or an image, as oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE,
    /// docker-daemon:REF or docker://REF
    what: String,
    /// Maven repository for the archive
    #[arg(
        short,
        long,
        value_name = "ADDRESS",
        env = "TALEND_PACKAGER_NEXUS_TARGET_REPO"
    )]
    repository: Option<String>,
    /// Coordinates of the archive: GROUP:ARTIFACT:VERSION[:CLASSIFIER]
    #[arg(short, long, value_name = "COORDINATES", value_parser = coordinates)]
    coordinates: Option<Coordinates>,
    /// Where in the repository: Maven's path with pom and metadata, the original's, or both
    #[arg(long, value_name = "LAYOUT", default_value = "maven")]
    layout: PublishLayoutName,
    /// What the pom says of it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// User of the repository; the password is in TALEND_PACKAGER_NEXUS_TARGET_PASSWORD or is asked
    /// for [default: TALEND_PACKAGER_NEXUS_TARGET_USERID, else ~/.netrc]
    #[arg(short, long, value_name = "USER[:PASSWORD]")]
    target_user: Option<String>,
    /// Where the image goes, as for `build`
    #[arg(long, value_name = "TARGET")]
    to: Vec<Place>,
    /// Platform of the image, if there are several
    #[arg(long, default_value_t = Platform::host())]
    platform: Platform,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is, or would be, published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Planned(Vec<PublishPlan>),
    Published(Vec<Published>),
    Image { digest: String, to: Vec<String> },
}

/// An archive to be published.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    pub(super) client: &'a Client,
    pub(super) repository: &'a str,
    pub(super) spec: &'a PublishSpec,
    pub(super) path: &'a Path,
}

/// Runs `job2docker publish`.
///
/// # Errors
/// Those of the archive or image, and of where it goes.
pub async fn publish(cx: &Cx, common: Common, command: Publish) -> Result<()> {
    let outcome = match command.what.parse::<Place>() {
        Ok(place) if !Path::new(&command.what).exists() => image(cx, &command, place).await?,
        _ => archives(cx, &command).await?,
    };
    print(common, &outcome, render)
}

/// Publishes an archive.
///
/// # Errors
/// Those of the repository.
pub(super) async fn archive(cx: &Cx, archive: Archive<'_>) -> Result<Published> {
    let Archive {
        client,
        repository,
        spec,
        path,
    } = archive;
    let published = nexus::publish(cx, client, repository, spec, path).await;
    published.map_err(|error| {
        let is_policy = matches!(&error, nexus::Error::Refused { status: 400, .. })
            && spec.layout == PublishLayout::Original;
        let failure = Failure::from(error).context(format!("cannot publish to `{repository}`"));
        match is_policy {
            true => failure.with_hint(
                "the original's path is not Maven's: the repository's layout policy must be \
                 permissive, or choose Maven's layout",
            ),
            false => failure,
        }
    })
}

async fn archives(cx: &Cx, command: &Publish) -> Result<Outcome> {
    let path = PathBuf::from(&command.what);
    let lacking = |what: &str| Failure::new(Class::Invalid, format!("there is no {what}"));
    let repository = command.repository.as_deref().ok_or_else(|| {
        lacking("repository for the archive").with_hint("give `--repository ADDRESS`")
    })?;
    let coordinates = command.coordinates.clone().ok_or_else(|| {
        lacking("name for the archive").with_hint("give `--coordinates GROUP:ARTIFACT:VERSION`")
    })?;
    let user = command.target_user.as_deref();
    let client = client(Side::Target, user, Checksums::IfAny)?;
    let (mut plans, mut done) = (Vec::new(), Vec::new());
    for layout in command.layout.layouts() {
        let mut spec = PublishSpec::new(coordinates.clone())
            .with_layout(*layout)
            .with_extension(extension(&path)?);
        if let Some(description) = &command.description {
            spec = spec.with_description(description);
        }
        if command.dry_run {
            plans.push(nexus::plan(cx, &client, repository, &spec, &path).await?);
            continue;
        }
        let one = Archive {
            client: &client,
            repository,
            spec: &spec,
            path: &path,
        };
        done.push(archive(cx, one).await?);
    }
    Ok(match command.dry_run {
        true => Outcome::Planned(plans),
        false => Outcome::Published(done),
    })
}

async fn image(cx: &Cx, command: &Publish, place: Place) -> Result<Outcome> {
    if command.to.is_empty() {
        let error = Failure::new(Class::Invalid, "there is no place for the image");
        return Err(error.with_hint("give `--to docker://REF`"));
    }
    let registry = registry()?;
    let opened = place.open(cx, &registry, &command.platform).await?;
    for to in &command.to {
        if !command.dry_run {
            to.write(cx, &registry, &opened.image, "latest").await?;
        }
    }
    Ok(Outcome::Image {
        digest: opened.image.digest().to_string(),
        to: command.to.iter().map(ToString::to_string).collect(),
    })
}

fn render(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    match outcome {
        Outcome::Planned(plans) => {
            for file in plans.iter().flat_map(|plan| &plan.files) {
                lines.push(format!("would put {} ({} bytes)", file.path, file.size));
            }
        }
        Outcome::Published(all) => {
            for published in all {
                lines.extend(published.written.iter().map(|at| format!("put       {at}")));
                lines.extend(published.present.iter().map(|at| format!("was there {at}")));
            }
        }
        Outcome::Image { digest, to } => {
            lines.push(format!("image     {digest}"));
            lines.extend(to.iter().map(|to| format!("to        {to}")));
        }
    }
    lines.join("\n")
}

/// The ending of an archive's name; `.tar.gz` is one ending.
fn extension(path: &Path) -> Result<String> {
    let name = file_name(path);
    let ending = match name.strip_suffix(".tar.gz") {
        Some(_) => Some("tar.gz"),
        None => name.rsplit_once('.').map(|(_, ending)| ending),
    };
    let good = |ending: &&str| {
        !ending.is_empty()
            && ending
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.')
    };
    ending.filter(good).map(str::to_owned).ok_or_else(|| {
        let error = format!("`{}` has no ending that says what it is", path.display());
        Failure::new(Class::Invalid, error).with_hint("expected `.tgz`, `.tar.gz` or `.zip`")
    })
}

fn coordinates(text: &str) -> Result<Coordinates, String> {
    text.parse()
}
