use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use engine::{
    ContainerEngine, Temporary, TransferOptions,
    log::Log,
    spec::{BuildSpec, Builder, ContainerSpec, ImageId, ImageName},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{BytesBlob, Class, Cx, Digest, MediaType, Reference, SizeLimits};
use repack::{Entry, EntryPath, Tree, layer};
use serde::Serialize;

use crate::{
    Base, Error, Plan, Release, Result, Source,
    stage::{COMPILED, SOURCES, Stage, WHEELS},
};

/// How stages are built.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BuildOptions {
    network: Option<String>,
    pip: BTreeMap<String, String>,
    certificates: Option<PathBuf>,
}

impl BuildOptions {
    /// Network of the compiler and of package managers, for example `host`.
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = Some(network.into());
        self
    }

    /// A variable for pip while it compiles, for example `PIP_INDEX_URL`. It is in no image.
    pub fn pip(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.pip.insert(name.into(), value.into());
        self
    }

    /// Certificate authorities that pip trusts while it compiles: a PEM file of this machine.
    pub fn certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificates = Some(file.into());
        self
    }
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Built {
    /// Name of the runner.
    pub image: Reference,
    /// Digest of its config.
    pub id: Digest,
    /// Stages that were there.
    pub reused: Vec<&'static str>,
    /// Wheels that were installed, sorted by name.
    pub wheels: Vec<Wheel>,
}

/// A wheel of the application or of a dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wheel {
    /// Its file name.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Its content.
    pub digest: Digest,
}

/// Finds out what the image below all stages is now, pulling it if the engine does not have it;
/// `options` hold the credentials for that.
///
/// # Errors
/// [`Error::Engine`] if it is not to be had.
pub async fn resolve_base(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    reference: &Reference,
    options: &TransferOptions,
    log: &Log,
) -> Result<Base> {
    let name = ImageName::from(reference.clone());
    let id = match engine.inspect_image(cx, &name).await {
        Ok(info) => info.id,
        Err(error) if error.class() == Class::NotFound => {
            let pulled = engine.pull(cx, reference, options, log).await;
            pulled.map_err(Error::engine("pull", reference))?
        }
        Err(error) => return Err(Error::engine("find", reference)(error)),
    };
    Ok(Base {
        reference: reference.clone(),
        id: *id.digest(),
    })
}

/// Builds what is missing of base and compiler, compiles, and builds the runner.
///
/// # Errors
/// [`Error::Compile`] if the application cannot be compiled, [`Error::Engine`] and others. Stages
/// that were built before the error stay, for the next try.
pub async fn build(
    cx: &Cx,
    engine: &Arc<dyn ContainerEngine>,
    plan: &Plan,
    release: &Release,
    options: &BuildOptions,
    log: &Log,
) -> Result<Built> {
    let mut reused = Vec::new();
    for stage in [&plan.base, &plan.compiler] {
        let name = ImageName::from(stage.name.clone());
        match engine.inspect_image(cx, &name).await {
            Ok(_) => reused.push(stage.role),
            Err(error) if error.class() == Class::NotFound => {
                let network = options.network.as_deref();
                build_stage(cx, &**engine, stage, Tree::new(), network, log).await?;
            }
            Err(error) => return Err(Error::engine("find", &stage.name)(error)),
        }
    }
    let wheels = compile(cx, engine, plan, release, options, log).await?;
    let listed = list(&wheels)?;
    if listed.is_empty() {
        return Err(Error::NoWheels {
            release: release.to_string(),
        });
    }
    let id = build_stage(cx, &**engine, &plan.runner, wheels, Some("none"), log).await?;
    Ok(Built {
        image: plan.runner.name.clone(),
        id: *id.digest(),
        reused,
        wheels: listed,
    })
}

/// Compiles in a container of the compiler image; the wheels come back as a tree.
async fn compile(
    cx: &Cx,
    engine: &Arc<dyn ContainerEngine>,
    plan: &Plan,
    release: &Release,
    options: &BuildOptions,
    log: &Log,
) -> Result<Tree> {
    let mut spec = ContainerSpec::new(plan.compiler.name.clone()).command(&plan.compile.command);
    if let Some(network) = &options.network {
        spec = spec.network(network);
    }
    if let Some(file) = &options.certificates {
        const INSIDE: &str = "/run/grocker-certificates.pem";
        spec = spec.bind_read_only(file, INSIDE).env("PIP_CERT", INSIDE);
    }
    for (name, value) in &options.pip {
        spec = spec.env(name, value);
    }
    if let Some(constraints) = &plan.compile.constraints {
        spec = spec.env("GROCKER_CONSTRAINTS", constraints);
    }
    let container = Temporary::container(cx, engine, &spec)
        .await
        .map_err(Error::engine("make a container of", &plan.compiler.name))?;
    if let Source::Wheel(path) = release.source() {
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            file: path.display().to_string(),
            source,
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut tree = Tree::new();
        insert(&mut tree, &name, bytes)?;
        let tar = stream::once(std::future::ready(Ok(pack(cx, &tree)?))).boxed();
        engine
            .copy_in(cx, container.get(), SOURCES, tar)
            .await
            .map_err(Error::engine("copy into", &plan.compiler.name))?;
    }
    let run = engine.run_container(cx, container.get(), log).await;
    let compiled = run.and_then(engine::Exit::success);
    compiled.map_err(|source| Error::Compile {
        release: release.to_string(),
        source: source.into(),
    })?;
    let out = engine
        .copy_out(cx, container.get(), COMPILED)
        .await
        .map_err(Error::engine("copy out of", &plan.compiler.name))?;
    let tar = out.try_fold(Vec::new(), |mut whole, chunk: Bytes| {
        whole.extend_from_slice(&chunk);
        std::future::ready(Ok(whole))
    });
    let tar = tar.await?;
    container
        .remove()
        .await
        .map_err(Error::engine("remove a container of", &plan.compiler.name))?;
    repack::tar::index(cx, Arc::new(Bytes::from(tar)), &SizeLimits::default()).map_err(|source| {
        Error::Pack {
            what: "the wheels",
            source,
        }
    })
}

/// Builds one image from its Dockerfile, its files, and more.
async fn build_stage(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    stage: &Stage,
    mut tree: Tree,
    network: Option<&str>,
    log: &Log,
) -> Result<ImageId> {
    for (name, content) in &stage.files {
        insert(&mut tree, name, content.as_bytes().to_vec())?;
    }
    insert(
        &mut tree,
        "Dockerfile",
        stage.dockerfile.clone().into_bytes(),
    )?;
    let context = BytesBlob::new(MediaType::OCI_LAYER, pack(cx, &tree)?);
    // The classic builder is in every engine, and none of the Dockerfiles needs more.
    let mut spec = BuildSpec::new(Arc::new(context))
        .tag(stage.name.clone())
        .builder(Builder::Classic);
    if let Some(network) = network {
        spec = spec.network(network);
    }
    engine
        .build(cx, &spec, log)
        .await
        .map_err(Error::engine("build", &stage.name))
}

fn insert(tree: &mut Tree, name: &str, content: Vec<u8>) -> Result<()> {
    let add = || {
        let path: EntryPath = name.parse()?;
        tree.insert(path, Entry::file(Bytes::from(content)))
    };
    add().map(|_| ()).map_err(|source| Error::Pack {
        what: "the build context",
        source,
    })
}

fn pack(cx: &Cx, tree: &Tree) -> Result<Bytes> {
    let options = layer::Options::default().with_compression(layer::Compression::None);
    let mut tar = Vec::new();
    layer::write(cx, tree, &options, &mut tar).map_err(|source| Error::Pack {
        what: "the build context",
        source,
    })?;
    Ok(tar.into())
}

/// The wheels in what came out of the compiler.
fn list(tree: &Tree) -> Result<Vec<Wheel>> {
    let mut wheels = Vec::new();
    for (path, entry) in tree.iter() {
        let name = String::from_utf8_lossy(path.file_name()).into_owned();
        let Some(content) = entry.content().filter(|_| name.ends_with(".whl")) else {
            continue;
        };
        debug_assert!(path.to_string().starts_with(WHEELS));
        let bytes = content.read(content.size()).map_err(|source| Error::Pack {
            what: "the wheels",
            source,
        })?;
        wheels.push(Wheel {
            file: name,
            size: content.size(),
            digest: Digest::of(&bytes),
        });
    }
    Ok(wheels)
}
