//! Promotion: gives manifests that were uploaded under temporary tags their final tags.
//!
//! One GET and one PUT for each image. The manifest is written with the bytes and the media type
//! that it came with, so that its digest stays; layers are not touched. All images are checked
//! before the first is promoted, and all are promoted before the first temporary tag is removed,
//! so that a promotion that broke off is finished by running it again.

use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{Class, Cx, Digest, Place, RawManifest, Reference, Repositories, Tag};
use serde::Serialize;

use crate::{
    Error, Refusal, Result,
    artifacts::Artifact,
    cleanup::{self, Removal},
};

/// Requests at once, for different images.
const JOBS: usize = 6;

/// What a promotion will do. Serialised for `--dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    images: Vec<Step>,
}

impl Plan {
    /// The images, in the order of the artifacts.
    pub fn images(&self) -> &[Step] {
        &self.images
    }
}

/// One image of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    image: Reference,
    temporary: Reference,
    digest: Digest,
    /// None if it was promoted before.
    #[serde(serialize_with = "descriptor_of")]
    manifest: Option<RawManifest>,
}

impl Step {
    /// The final name.
    pub fn image(&self) -> &Reference {
        &self.image
    }

    /// The temporary tag, which is removed afterwards.
    pub fn temporary(&self) -> &Reference {
        &self.temporary
    }

    /// Digest before and after.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The manifest that will be written; none if an earlier run has done so.
    pub fn manifest(&self) -> Option<&RawManifest> {
        self.manifest.as_ref()
    }
}

/// What became of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Promoted {
    /// The final name.
    pub image: Reference,
    /// Its digest, that of the upload.
    pub digest: Digest,
    /// Whether it was this run.
    pub outcome: Outcome,
    /// The temporary tag.
    pub temporary: Reference,
    /// What became of the temporary tag.
    pub removal: Removal,
}

/// Who promoted an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// This run.
    Promoted,
    /// An earlier one.
    Present,
}

/// Reads each manifest by its temporary tag and compares it with the digest of the record. Where
/// the tag is gone, an earlier run may have finished: then the final tag has this digest.
///
/// # Errors
/// [`Error::Refused`] with all images whose tag has moved or is lost; those of the registries.
pub async fn plan(cx: &Cx, registries: &dyn Repositories, artifacts: &[Artifact]) -> Result<Plan> {
    let mut checks = Vec::with_capacity(artifacts.len());
    for artifact in artifacts {
        checks.push(check(cx, registries, artifact));
    }
    let checked: Vec<_> = stream::iter(checks).buffered(JOBS).try_collect().await?;
    let (mut images, mut refusals) = (Vec::new(), Vec::new());
    for step in checked {
        match step {
            Ok(step) => images.push(step),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if refusals.is_empty() {
        Ok(Plan { images })
    } else {
        Err(Error::Refused(refusals))
    }
}

/// Writes the final tags, then removes the temporary ones.
///
/// # Errors
/// The registries'. What was written until then is right, and the next run does the rest.
pub async fn run(cx: &Cx, plan: &Plan, registries: &dyn Repositories) -> Result<Vec<Promoted>> {
    let mut puts = Vec::with_capacity(plan.images.len());
    for step in &plan.images {
        puts.push(put(cx, registries, step));
    }
    let outcomes: Vec<_> = stream::iter(puts).buffered(JOBS).try_collect().await?;
    let mut removals = Vec::with_capacity(plan.images.len());
    for (step, outcome) in plan.images.iter().zip(outcomes) {
        removals.push(remove(cx, registries, step, outcome));
    }
    stream::iter(removals).buffered(JOBS).try_collect().await
}

/// The one GET of an image.
async fn check(
    cx: &Cx,
    registries: &dyn Repositories,
    artifact: &Artifact,
) -> Result<Result<Step, Refusal>> {
    let store = registries.repository(artifact.temporary().repository())?;
    let mut step = Step {
        image: artifact.image().clone(),
        temporary: artifact.temporary().clone(),
        digest: *artifact.digest(),
        manifest: None,
    };
    let manifest = match store.manifest(cx, &step.temporary.name()).await {
        Ok(manifest) => manifest,
        Err(error) if error.class() == Class::NotFound => {
            let found = match store.resolve(cx, &step.image.name()).await {
                Ok(found) if *found.digest() == step.digest => return Ok(Ok(step)),
                Ok(found) => Some(*found.digest()),
                Err(error) if error.class() == Class::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            return Ok(Err(Refusal::Gone {
                temporary: step.temporary,
                image: step.image,
                pinned: step.digest,
                found,
            }));
        }
        Err(error) => return Err(error.into()),
    };
    // By the algorithm of the pinned digest: the registry may name it by another.
    let media_type = manifest.media_type().clone();
    match RawManifest::verified(media_type, manifest.bytes().clone(), &step.digest) {
        Ok(manifest) => {
            step.manifest = Some(manifest);
            Ok(Ok(step))
        }
        Err(_) => Ok(Err(Refusal::Moved {
            temporary: step.temporary,
            pinned: step.digest,
            found: *manifest.digest(),
        })),
    }
}

/// The one PUT of an image.
async fn put(cx: &Cx, registries: &dyn Repositories, step: &Step) -> Result<Outcome> {
    let Some(manifest) = &step.manifest else {
        return Ok(Outcome::Present);
    };
    let store = registries.repository(step.image.repository())?;
    let tags: Vec<Tag> = step.image.tag().cloned().into_iter().collect();
    store.put_manifest(cx, manifest, Place::Root(&tags)).await?;
    tracing::info!(image = %step.image, digest = %step.digest, "promoted");
    Ok(Outcome::Promoted)
}

async fn remove(
    cx: &Cx,
    registries: &dyn Repositories,
    step: &Step,
    outcome: Outcome,
) -> Result<Promoted> {
    let removal = match (outcome, step.temporary.tag()) {
        (Outcome::Promoted, Some(tag)) => {
            let store = registries.repository(step.temporary.repository())?;
            cleanup::remove_tag(cx, &*store, tag).await?
        }
        _ => Removal::Gone,
    };
    if let Removal::Kept { reason } = &removal {
        tracing::info!(temporary = %step.temporary, reason, "temporary tag stays");
    }
    Ok(Promoted {
        image: step.image.clone(),
        digest: step.digest,
        outcome,
        temporary: step.temporary.clone(),
        removal,
    })
}

fn descriptor_of<S: serde::Serializer>(
    manifest: &Option<RawManifest>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    manifest
        .as_ref()
        .map(RawManifest::descriptor)
        .serialize(serializer)
}
