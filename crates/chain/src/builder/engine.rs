use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use engine::{
    ContainerEngine,
    log::Log,
    spec::{self, BuildSpec, Cache, ImageId, Keychain, Pull},
};
use ocicore::Cx;

use super::{Builder, context::Contexts};
use crate::{BuildFlags, Error, Plan, Result, Step, Switch, file::BuilderType};

/// Builds Dockerfiles by a container engine.
///
/// Images with the same working directory share one context, which is read when the first of them
/// is built.
#[derive(Debug)]
pub struct EngineBuilder {
    engine: Arc<dyn ContainerEngine>,
    contexts: Contexts,
    keychain: Keychain,
}

impl EngineBuilder {
    /// Builds by `engine`; the paths of the plan are relative to `root`.
    pub fn new(engine: Arc<dyn ContainerEngine>, root: impl Into<PathBuf>) -> Self {
        Self {
            engine,
            contexts: Contexts::new(root.into()),
            keychain: Keychain::default(),
        }
    }

    /// With credentials of the registries from which base images come.
    pub fn with_keychain(mut self, keychain: Keychain) -> Self {
        self.keychain = keychain;
        self
    }

    /// Refuses a plan with images that no engine builds from a Dockerfile; for this none is needed.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn accepts(plan: &Plan) -> Result<()> {
        let packer = plan
            .steps
            .iter()
            .filter(|step| step.builder != BuilderType::Dockerfile);
        let keys: Vec<_> = packer.map(|step| step.key.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported {
            builder: "the builder of Dockerfiles",
            keys,
            reason: "packer templates are not supported by it",
        })
    }
}

#[async_trait]
impl Builder for EngineBuilder {
    fn check(&self, plan: &Plan) -> Result<()> {
        Self::accepts(plan)
    }

    async fn build(&self, cx: &Cx, step: &Step, log: &Log) -> Result<ImageId> {
        let context = self.contexts.get(cx, &step.working_dir, &step.file).await?;
        let mut spec =
            with_flags(BuildSpec::new(context.blob), &step.flags).dockerfile(context.dockerfile);
        if step.buildkit.is_some() {
            spec = spec.builder(spec::Builder::BuildKit);
        }
        spec = spec.keychain(self.keychain.clone());
        for tag in &step.tags {
            spec = spec.tag(tag.clone());
        }
        Ok(self.engine.build(cx, &spec, log).await?)
    }
}

/// All flags but `--tag`, which is among the names of the step.
fn with_flags(mut spec: BuildSpec, flags: &BuildFlags) -> BuildSpec {
    for (name, arg) in &flags.build_args {
        spec = spec.arg(name, arg.value());
    }
    for (name, value) in &flags.labels {
        spec = spec.label(name, value);
    }
    for (host, address) in &flags.add_hosts {
        spec = spec.extra_host(host, address);
    }
    for image in &flags.cache_from {
        spec = spec.cache_from(image.clone());
    }
    if let Some(target) = &flags.target {
        spec = spec.target(target);
    }
    if let Some(platform) = &flags.platform {
        spec = spec.platform(platform.clone());
    }
    if let Some(network) = &flags.network {
        spec = spec.network(network);
    }
    if let Some(bytes) = flags.memory {
        spec = spec.memory(bytes);
    }
    if let Some(bytes) = flags.shm_size {
        spec = spec.shm_size(bytes);
    }
    if flags.has(Switch::NoCache) {
        spec = spec.cache(Cache::Ignore);
    }
    if flags.has(Switch::Pull) {
        spec = spec.pull(Pull::Always);
    }
    if flags.has(Switch::Squash) {
        spec = spec.squash();
    }
    spec
}
