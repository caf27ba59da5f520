//! The main job from end to end, without anything but this workspace: what `demo` shows.

mod others;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use ocicore::{Class, Cx, Digest, Layout, Reference, Repositories, copy, validate};
use registryd::{Server, storage::FsStorage};
use serde::Serialize;

use crate::{
    Failure, Place, Result,
    job2docker::{self, Base, Request, Target},
    registry,
};

/// One thing that was done.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What.
    pub step: &'static str,
    /// To or with what.
    pub what: String,
    /// Its digest, if it has one.
    pub digest: Option<Digest>,
    /// Bytes that were read, written or moved.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
}

/// Shows the main job: a Talend job becomes an image, is pushed to a registry, pulled back,
/// validated and retagged. Then gating and packages on the same registry, and a chain if there is a
/// container engine. What is kept is an OCI layout in `keep`.
///
/// # Errors
/// Of the parts; class `Invalid` if what came back is not what was sent.
pub async fn run(cx: &Cx, job: &Path, keep: Option<&Path>) -> Result<Vec<Step>> {
    let mut steps = Steps {
        start: Instant::now(),
        done: Vec::new(),
    };
    let folder = tempfile::tempdir()?;
    let storage = FsStorage::open(folder.path().join("registry"))?;
    let server = Server::builder(storage)
        .bind("127.0.0.1:0")
        .await
        .map_err(server_failure)?;
    let address = server.addr();
    steps.add(
        "serve",
        format!("an embedded registry on {address}"),
        None,
        0,
    );

    let registry = registry()?;
    let reference: Reference = format!("{address}/demo/sample:1").parse()?;
    let built = build(cx, job, &reference, &registry).await?;
    let image = built
        .written
        .ok_or_else(|| failure("nothing was written"))?;
    let what = format!("{} as {reference}", job2docker::file_name(job));
    let bytes = image.layers.iter().map(|layer| layer.written.size).sum();
    steps.add("build and push", what, Some(image.digest), bytes);

    let kept = keep.map_or_else(|| folder.path().join("pulled"), PathBuf::from);
    let remote = registry.repository(reference.repository())?;
    let layout = Arc::new(Layout::open_or_create(&kept)?);
    let root = [copy::Root::same(reference.name())];
    let options = copy::Options::default();
    let plan = copy::plan(cx, &*remote, &*layout, &root, &options).await?;
    let done = copy::run(cx, plan, remote.clone(), layout.clone()).await?;
    let pulled = layout_digest(cx, &layout, &reference).await?;
    if pulled != image.digest {
        return Err(failure("the image that came back is another one"));
    }
    steps.add(
        "pull",
        format!("to oci:{}", kept.display()),
        Some(pulled),
        done.bytes,
    );

    let report = validate::check(cx, &*layout, &pulled.into()).await?;
    if let Some(fault) = report.faults.first() {
        return Err(failure(&fault.to_string()));
    }
    let what = format!(
        "{} manifests, {} blobs, no fault",
        report.manifests, report.blobs
    );
    steps.add("validate", what, Some(pulled), report.bytes);

    let tag = "stable".parse()?;
    let tagged = registry.retag(cx, &reference, &[tag]).await?;
    steps.add(
        "retag",
        "as `stable`, by its manifest alone".to_owned(),
        Some(*tagged.digest()),
        tagged.size(),
    );

    let root = [copy::Root::tagged(pulled, ["stable".parse()?])];
    let plan = copy::plan(cx, &*layout, &*remote, &root, &options).await?;
    if plan.present().is_empty() {
        return Err(failure("what is there would be moved again"));
    }
    steps.add(
        "push again",
        "nothing moves, for it is there".to_owned(),
        Some(pulled),
        plan.bytes(),
    );

    others::gate(cx, &registry, &reference, &mut steps).await?;
    others::package(
        cx,
        &registry,
        &address.to_string(),
        folder.path(),
        &mut steps,
    )
    .await?;
    others::chain(cx, folder.path(), &mut steps).await?;
    server.shutdown().await;
    Ok(steps.done)
}

struct Steps {
    start: Instant,
    done: Vec<Step>,
}

impl Steps {
    fn add(&mut self, step: &'static str, what: String, digest: Option<Digest>, bytes: u64) {
        let milliseconds = self.start.elapsed().as_secs_f64() * 1e3;
        self.done.push(Step {
            step,
            what,
            digest,
            bytes,
            milliseconds,
        });
        self.start = Instant::now();
    }
}

async fn build(
    cx: &Cx,
    job: &Path,
    reference: &Reference,
    registry: &dyn Repositories,
) -> Result<job2docker::Outcome> {
    let request = Request {
        to: vec![Target::Place(Place::Registry(reference.clone()))],
        base: Some(Base::Scratch),
        ..Request::new(job)
    };
    job2docker::build(cx, registry, &request).await
}

async fn layout_digest(cx: &Cx, layout: &Layout, reference: &Reference) -> Result<Digest> {
    use ocicore::ImageSource;

    Ok(*layout.resolve(cx, &reference.name()).await?.digest())
}

/// The steps for people.
pub fn render(steps: &[Step]) -> String {
    let mut text = String::new();
    for Step {
        step,
        what,
        digest,
        bytes,
        milliseconds,
    } in steps
    {
        let digest = digest.map(|digest| digest.short()).unwrap_or_default();
        text +=
            &format!("{step:<15} {milliseconds:>8.1} ms {bytes:>9} bytes  {digest:<12}  {what}\n");
    }
    text
}

fn failure(text: &str) -> Failure {
    Failure::new(Class::Invalid, text.to_owned())
}

fn server_failure(error: registryd::Error) -> Failure {
    Failure::new(Class::Other, error)
}
