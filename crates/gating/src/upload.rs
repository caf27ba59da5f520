//! Upload: copies tested images to their registry under temporary tags, before the change merges,
//! so that after the merge nothing can fail but the move of a manifest.

use ocicore::{Class, Cx, Descriptor, Reference, Repositories, Tag, copy};
use serde::Serialize;

use crate::{
    Error, Result,
    artifacts::{Artifact, Record},
    temp_tag::Prefix,
};

/// An image to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    source: Reference,
    target: Reference,
    tag: Tag,
}

impl Image {
    /// From where it was built (see [`BuildsetRegistry::repository`]) to its final name, a tag.
    ///
    /// [`BuildsetRegistry::repository`]: crate::buildset::BuildsetRegistry::repository
    ///
    /// # Errors
    /// [`Error::Input`] if `target` is a digest: promotion gives it a tag.
    pub fn new(source: Reference, target: Reference) -> Result<Self> {
        match (target.tag(), target.digest()) {
            (Some(tag), None) => Ok(Self {
                source,
                tag: tag.clone(),
                target,
            }),
            _ => Err(Error::Input {
                what: "image",
                value: target.to_string(),
                expected: "expected a tag to promote it to, and no digest",
            }),
        }
    }
}

/// What an upload will do. Serialised for `--dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    images: Vec<Step>,
}

/// One image of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Where the image is read from.
    source: Reference,
    /// Its manifest, by which it is copied and pinned: a tag of the source that moves meanwhile
    /// changes nothing.
    manifest: Descriptor,
    temporary: Reference,
    /// The name that promotion will give it.
    image: Reference,
    copy: copy::Plan,
}

impl Plan {
    /// The images, in the order in which they were given.
    pub fn images(&self) -> &[Step] {
        &self.images
    }
}

impl Step {
    /// Where the image is read from.
    pub fn source(&self) -> &Reference {
        &self.source
    }

    /// The manifest that is copied.
    pub fn manifest(&self) -> &Descriptor {
        &self.manifest
    }

    /// Where it will lie.
    pub fn temporary(&self) -> &Reference {
        &self.temporary
    }

    /// The name that promotion will give it.
    pub fn image(&self) -> &Reference {
        &self.image
    }

    /// What has to be copied for that.
    pub fn copy(&self) -> &copy::Plan {
        &self.copy
    }
}

/// Finds out what has to be copied, and pins the digests. Reads from both registries, writes to
/// none.
///
/// # Errors
/// [`Error::NotBuilt`] for an image that is not in `from`; those of the registries.
pub async fn plan(
    cx: &Cx,
    from: &dyn Repositories,
    to: &dyn Repositories,
    prefix: &Prefix,
    images: &[Image],
) -> Result<Plan> {
    let mut steps = Vec::with_capacity(images.len());
    for image in images {
        let temporary = Reference::new(image.target.repository().clone(), prefix.tag(&image.tag)?);
        let source = from.repository(image.source.repository())?;
        let manifest = source
            .resolve(cx, &image.source.name())
            .await
            .map_err(|error| not_built(image, error))?;
        let root = copy::Root::tagged(*manifest.digest(), temporary.tag().cloned());
        let sink = to.repository(temporary.repository())?;
        let options = copy::Options::default();
        let copy = copy::plan(cx, &*source, &*sink, &[root], &options).await?;
        steps.push(Step {
            source: image.source.clone(),
            manifest,
            temporary,
            image: image.target.clone(),
            copy,
        });
    }
    Ok(Plan { images: steps })
}

/// Copies one image after the other, and returns the record of what was uploaded.
///
/// # Errors
/// The registries'. What was copied until then is found by the next try.
pub async fn run(
    cx: &Cx,
    plan: Plan,
    from: &dyn Repositories,
    to: &dyn Repositories,
) -> Result<Record> {
    let mut record = Record::default();
    for step in plan.images {
        let source = from.repository(step.source.repository())?;
        let sink = to.repository(step.temporary.repository())?;
        let done = copy::run(cx, step.copy, source, sink).await?;
        tracing::info!(
            temporary = %step.temporary, digest = %step.manifest.digest(),
            written = done.written, mounted = done.mounted, present = done.present,
            "uploaded"
        );
        record.add(Artifact::new(
            step.image,
            step.temporary,
            *step.manifest.digest(),
        ));
    }
    Ok(record)
}

fn not_built(image: &Image, source: ocicore::Error) -> Error {
    if source.class() == Class::NotFound {
        Error::NotBuilt {
            image: Box::new(image.target.clone()),
            source_image: Box::new(image.source.clone()),
            source,
        }
    } else {
        source.into()
    }
}

#[cfg(test)]
mod tests {
    use ocicore::{MediaType, MemoryRepositories, Name, Place, RawManifest, conformance::Fixture};

    use super::*;

    const BUILT: &str = "b.example:5000/library/base:latest";
    const FINAL: &str = "h.example/library/base:latest";

    fn image(source: &str, target: &str) -> Result<Image> {
        Image::new(source.parse()?, target.parse()?)
    }

    fn prefix() -> Prefix {
        Prefix::change(1, "2", "x").unwrap()
    }

    /// A registry with an index of two images as `BUILT`.
    async fn built(cx: &Cx) -> (MemoryRepositories, RawManifest) {
        let (from, fixture) = (MemoryRepositories::default(), Fixture::index());
        let reference: Reference = BUILT.parse().unwrap();
        let store = from.repository(reference.repository()).unwrap();
        fixture.fill(cx, &*store).await.unwrap();
        (from, fixture.root().clone())
    }

    #[tokio::test]
    async fn an_image_is_pinned_and_recorded() {
        let (cx, to) = (Cx::default(), MemoryRepositories::default());
        let (from, root) = built(&cx).await;
        let images = [image(BUILT, FINAL).unwrap()];
        let planned = plan(&cx, &from, &to, &prefix(), &images).await.unwrap();
        insta::assert_json_snapshot!(planned);

        // The tag moves after the plan: what was planned is uploaded.
        let reference: Reference = BUILT.parse().unwrap();
        let store = from.repository(reference.repository()).unwrap();
        let other = RawManifest::new(MediaType::OCI_INDEX, r#"{"manifests":[]}"#);
        let tags = [Tag::latest()];
        store
            .put_manifest(&cx, &other, Place::Root(&tags))
            .await
            .unwrap();
        let record = run(&cx, planned, &from, &to).await.unwrap();
        insta::assert_snapshot!(record.to_json());

        let reference: Reference = FINAL.parse().unwrap();
        let store = to.repository(reference.repository()).unwrap();
        let temporary: Name = "change_1_2_x_latest".parse().unwrap();
        assert_eq!(store.manifest(&cx, &temporary).await.unwrap(), root);
        let early = store.resolve(&cx, &reference.name()).await.unwrap_err();
        assert_eq!(early.class(), Class::NotFound, "the final tag comes later");
    }

    #[tokio::test]
    async fn a_second_upload_copies_nothing() {
        let (cx, to) = (Cx::default(), MemoryRepositories::default());
        let (from, root) = built(&cx).await;
        let images = [image(BUILT, FINAL).unwrap()];
        let first = plan(&cx, &from, &to, &prefix(), &images).await.unwrap();
        let record = run(&cx, first, &from, &to).await.unwrap();
        let second = plan(&cx, &from, &to, &prefix(), &images).await.unwrap();
        assert_eq!(second.images()[0].copy().manifests().count(), 0);
        assert_eq!(
            second.images()[0].copy().present()[0].digest(),
            root.digest()
        );
        assert_eq!(run(&cx, second, &from, &to).await.unwrap(), record);
    }

    #[tokio::test]
    async fn an_image_that_was_not_built_is_told() {
        let (cx, to) = (Cx::default(), MemoryRepositories::default());
        let (from, _) = built(&cx).await;
        let images = [image("b.example:5000/library/other:1", FINAL).unwrap()];
        let error = plan(&cx, &from, &to, &prefix(), &images).await.unwrap_err();
        assert_eq!(error.class(), Class::NotFound);
        insta::assert_snapshot!(error);
    }

    #[test]
    fn a_digest_cannot_be_promoted() {
        let digest = ocicore::Digest::of(b"x");
        for target in [format!("h.io/a@{digest}"), format!("h.io/a:1@{digest}")] {
            let error = image(BUILT, &target).unwrap_err();
            assert_eq!(error.class(), Class::Invalid);
        }
    }

    #[test]
    fn futures_can_be_spawned() {
        fn spawnable<T: Send>(_: T) {}
        let (cx, many, prefix) = (Cx::default(), MemoryRepositories::default(), prefix());
        spawnable(plan(&cx, &many, &many, &prefix, &[]));
        spawnable(run(&cx, Plan { images: Vec::new() }, &many, &many));
    }
}
