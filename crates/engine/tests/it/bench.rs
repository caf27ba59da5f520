//! What the cases stand on.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use engine::{
    ContainerEngine, Docker, EngineKind, Exit, Label, Owner,
    docker::Endpoint,
    log::{Event, Log},
    owner::OWNER,
    spec::{BuildSpec, ContainerSpec, ImageId, ImageName},
};
use futures_util::FutureExt;
use ocicore::{Blob, BytesBlob, Cx, MediaType, Reference, conformance::peer::peer};

/// An engine, with an owner of its own for each case.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cx: Cx,
    pub(crate) engine: Arc<dyn ContainerEngine>,
    pub(crate) base: Reference,
    pub(crate) kind: EngineKind,
    name: String,
    events: Arc<Mutex<Vec<Event>>>,
    built: Mutex<Vec<ImageId>>,
}

impl Bench {
    async fn new(host: &str, base: &str, name: String) -> Self {
        let cx = Cx::default();
        let endpoint = Endpoint::parse(host, None, "the peers file").unwrap();
        let owner = Owner::new(&name).unwrap();
        let docker = Docker::connect(&cx, &endpoint, owner).await.unwrap();
        let kind = docker.version(&cx).await.unwrap().kind;
        Self {
            cx,
            engine: Arc::new(docker),
            base: base.parse().unwrap(),
            kind,
            name,
            events: Arc::default(),
            built: Mutex::default(),
        }
    }

    /// A name that no other case has.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    pub(crate) fn reference(&self, what: &str) -> Reference {
        format!("gantry-test/{}:1", self.name(what))
            .parse()
            .unwrap()
    }

    /// Collects events.
    pub(crate) fn log(&self) -> Log {
        let events = Arc::clone(&self.events);
        Log::to(move |event| events.lock().unwrap().push(event))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn printed(&self) -> String {
        let events = self.events();
        let lines = events.iter().filter_map(|event| match event {
            Event::Stdout(text) => Some(text.as_str()),
            _ => None,
        });
        lines.collect()
    }

    pub(crate) fn complained(&self) -> String {
        let events = self.events();
        let lines = events.iter().filter_map(|event| match event {
            Event::Stderr(text) => Some(text.as_str()),
            _ => None,
        });
        lines.collect()
    }

    pub(crate) fn dockerfile(&self, text: &str) -> BuildSpec {
        self.context(&[("Dockerfile", text)])
    }

    /// A build from files; `BASE` in them is the base image.
    pub(crate) fn context(&self, files: &[(&str, &str)]) -> BuildSpec {
        let base = self.base.repository().path().as_str().to_owned() + ":1";
        let files: Vec<(&str, String)> = files
            .iter()
            .map(|(name, text)| (*name, text.replace("BASE", &base)))
            .collect();
        BuildSpec::new(blob(tar(&files)))
    }

    pub(crate) async fn build(&self, spec: &BuildSpec) -> engine::Result<ImageId> {
        let id = self.engine.build(&self.cx, spec, &self.log()).await?;
        self.built.lock().unwrap().push(id);
        Ok(id)
    }

    /// Builds from a Dockerfile.
    pub(crate) async fn image(&self, text: &str) -> ImageId {
        self.build(&self.dockerfile(text)).await.unwrap()
    }

    /// A container of the base image.
    pub(crate) fn shell(&self, script: &str) -> ContainerSpec {
        ContainerSpec::new(self.base.clone())
            .command(["sh", "-c", script])
            .network("none")
    }

    pub(crate) async fn run(&self, spec: &ContainerSpec) -> engine::Result<Exit> {
        engine::run(&self.cx, &self.engine, spec, &self.log()).await
    }

    /// What a container of an image prints.
    pub(crate) async fn output(&self, image: impl Into<ImageName>, script: &str) -> String {
        let before = self.printed().len();
        let spec = ContainerSpec::new(image)
            .command(["sh", "-c", script])
            .network("none");
        self.run(&spec).await.unwrap().success().unwrap();
        self.printed()[before..].to_owned()
    }

    pub(crate) async fn remove(&self, image: impl Into<ImageName>) {
        let removed = self.engine.remove_image(&self.cx, &image.into()).await;
        removed.unwrap();
        // The steps of its build go with it, but when Podman cannot tell at that moment whose
        // steps they are, since others remove theirs, too; then it lets them be.
        for step in self.engine.images(&self.cx, &self.ours()).await.unwrap() {
            let is_step = !self.built.lock().unwrap().contains(&step.id);
            if is_step && step.references.is_empty() {
                let _ = self.engine.remove_image(&self.cx, &step.id.into()).await;
            }
        }
    }

    fn ours(&self) -> [Label; 1] {
        [Label::with(OWNER, &self.name)]
    }

    /// All that is there of this case, as text.
    pub(crate) async fn things(&self) -> Vec<String> {
        let cx = Cx::default();
        let mut all = Vec::new();
        let containers = self.engine.containers(&cx, &self.ours()).await.unwrap();
        all.extend(
            containers
                .iter()
                .map(|container| format!("container {}", container.id)),
        );
        let images = self.engine.images(&cx, &self.ours()).await.unwrap();
        all.extend(images.iter().map(|image| format!("image {}", image.id)));
        let volumes = self.engine.volumes(&cx, &self.ours()).await.unwrap();
        all.extend(
            volumes
                .iter()
                .map(|volume| format!("volume {}", volume.name)),
        );
        all
    }

    /// Waits until nothing is there of this case: a drop cannot wait for the removal.
    pub(crate) async fn is_clean(&self) {
        eventually("all is removed", async || self.things().await.is_empty()).await;
    }

    /// Removes what a failed case left.
    async fn clean(&self) {
        let cx = Cx::default();
        for container in self
            .engine
            .containers(&cx, &self.ours())
            .await
            .unwrap_or_default()
        {
            let _ = self.engine.remove_container(&cx, &container.id).await;
        }
        for image in self
            .engine
            .images(&cx, &self.ours())
            .await
            .unwrap_or_default()
        {
            let _ = self.engine.remove_image(&cx, &image.id.into()).await;
        }
        for volume in self
            .engine
            .volumes(&cx, &self.ours())
            .await
            .unwrap_or_default()
        {
            let _ = self.engine.remove_volume(&cx, &volume.name).await;
        }
    }

    pub(crate) async fn wait_for_line(&self, line: &str) {
        eventually(line, async || {
            (self.printed() + &self.complained()).contains(line)
        })
        .await;
    }
}

/// Polls until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Generous, for machines that are busy with others.
    let limit = Duration::from_secs(120);
    let in_time = tokio::time::timeout(limit, polling).await;
    assert!(in_time.is_ok(), "not within {limit:?}: {what}");
}

pub(crate) fn tar(files: &[(&str, String)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn untar(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(bytes);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        files.insert(name, text);
    }
    files
}

pub(crate) fn blob(bytes: impl Into<Bytes>) -> Arc<dyn Blob> {
    Arc::new(BytesBlob::new(MediaType::OCI_LAYER, bytes))
}

/// Runs a case on an engine, if that is there, and looks for what it left.
pub(crate) fn on<F: Future<Output = ()>>(
    host: &str,
    case: &str,
    work: impl FnOnce(Arc<Bench>) -> F,
) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (Some(host), Some(base)) = (peer(host), peer("BUSYBOX_IMAGE")) else {
        return;
    };
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{n}", case.replace('_', "-"), std::process::id());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Arc::new(Bench::new(&host, &base, name).await);
        let limit = Duration::from_secs(300);
        let work = AssertUnwindSafe(work(Arc::clone(&bench))).catch_unwind();
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(())) => bench.is_clean().await,
            Ok(Err(panic)) => {
                bench.clean().await;
                resume_unwind(panic);
            }
            Err(_) => {
                bench.clean().await;
                panic!("`{case}` was not done within {limit:?}");
            }
        }
    });
}
