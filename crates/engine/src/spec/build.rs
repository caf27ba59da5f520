use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use ocicore::{Blob, Platform, Reference};

use super::{Keychain, Secret};

/// Secrets of a build by their id: `RUN --mount=type=secret,id=ID`.
pub type Secrets = BTreeMap<String, Secret>;

/// Which builder of the engine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Builder {
    /// BuildKit if the build needs it (secrets, SSH), else the engine's classic builder. Podman has
    /// one builder, which knows the syntax of both.
    #[default]
    Auto,
    /// The classic builder.
    Classic,
    /// BuildKit.
    BuildKit,
}

/// When a base image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pull {
    /// If the engine does not have it.
    #[default]
    Missing,
    /// Always, so that a tag that moved is followed.
    Always,
    /// Never. Podman only.
    Never,
}

/// Whether results of earlier builds are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cache {
    /// Where instruction and files are the same.
    #[default]
    Use,
    /// All steps run.
    Ignore,
}

/// The socket of an SSH agent, which `RUN --mount=type=ssh` may use; private keys never leave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshAgent {
    pub(crate) id: String,
    pub(crate) socket: PathBuf,
}

impl SshAgent {
    /// The agent that listens at `socket` (what `SSH_AUTH_SOCK` says), as `id`, usually `default`.
    pub fn new(id: impl Into<String>, socket: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            socket: socket.into(),
        }
    }

    /// By what name a Dockerfile asks for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// How to build an image from a Dockerfile.
#[derive(Clone, Debug)]
pub struct BuildSpec {
    pub(crate) context: Arc<dyn Blob>,
    pub(crate) context_limit: u64,
    pub(crate) dockerfile: String,
    pub(crate) tags: Vec<Reference>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) platform: Option<Platform>,
    pub(crate) network: Option<String>,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) cache: Cache,
    pub(crate) cache_from: Vec<Reference>,
    pub(crate) pull: Pull,
    pub(crate) builder: Builder,
    pub(crate) secrets: Secrets,
    pub(crate) ssh: Vec<SshAgent>,
    pub(crate) keychain: Keychain,
    pub(crate) squash: bool,
    pub(crate) memory: Option<u64>,
    pub(crate) shm_size: Option<u64>,
}

impl BuildSpec {
    /// Builds from a context: a tar, also compressed by gzip, with the Dockerfile in it.
    pub fn new(context: Arc<dyn Blob>) -> Self {
        Self {
            context,
            context_limit: 4 << 30,
            dockerfile: "Dockerfile".to_owned(),
            tags: Vec::new(),
            args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            platform: None,
            network: None,
            extra_hosts: Vec::new(),
            cache: Cache::default(),
            cache_from: Vec::new(),
            pull: Pull::default(),
            builder: Builder::default(),
            secrets: Secrets::new(),
            ssh: Vec::new(),
            keychain: Keychain::default(),
            squash: false,
            memory: None,
            shm_size: None,
        }
    }

    /// Refuses a larger context than this many bytes; 4 GiB.
    pub fn context_limit(mut self, bytes: u64) -> Self {
        self.context_limit = bytes;
        self
    }

    /// Path of the Dockerfile within the context; `Dockerfile`.
    pub fn dockerfile(mut self, path: impl Into<String>) -> Self {
        self.dockerfile = path.into();
        self
    }

    /// Another name for the image.
    pub fn tag(mut self, reference: Reference) -> Self {
        self.tags.push(reference);
        self
    }

    /// Value of an `ARG`.
    pub fn arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.args.insert(name.into(), value.into());
        self
    }

    /// The stage to build; the last one.
    pub fn target(mut self, stage: impl Into<String>) -> Self {
        self.target = Some(stage.into());
        self
    }

    /// A label of the image.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Platform of the image; the engine's.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Network of `RUN`: `none`, `host`, `default` or the name of one.
    pub fn network(mut self, mode: impl Into<String>) -> Self {
        self.network = Some(mode.into());
        self
    }

    /// A line of `/etc/hosts` during `RUN`.
    pub fn extra_host(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.extra_hosts.push((name.into(), address.into()));
        self
    }

    /// Whether earlier results are taken; they are.
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = cache;
        self
    }

    /// An image whose layers may serve as earlier results.
    pub fn cache_from(mut self, image: Reference) -> Self {
        self.cache_from.push(image);
        self
    }

    /// When base images are pulled; if they are missing.
    pub fn pull(mut self, pull: Pull) -> Self {
        self.pull = pull;
        self
    }

    /// Which builder works.
    pub fn builder(mut self, builder: Builder) -> Self {
        self.builder = builder;
        self
    }

    /// A secret that `RUN --mount=type=secret,id=ID` may read; it is in no layer.
    pub fn secret(mut self, id: impl Into<String>, secret: Secret) -> Self {
        self.secrets.insert(id.into(), secret);
        self
    }

    /// An SSH agent that `RUN --mount=type=ssh` may ask.
    pub fn ssh(mut self, agent: SshAgent) -> Self {
        self.ssh.push(agent);
        self
    }

    /// Credentials of registries from which base images come.
    pub fn keychain(mut self, keychain: Keychain) -> Self {
        self.keychain = keychain;
        self
    }

    /// Makes one layer of all that are new. Docker does it with experimental features only.
    pub fn squash(mut self) -> Self {
        self.squash = true;
        self
    }

    /// Memory of `RUN` in bytes; no limit.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Size of `/dev/shm` during `RUN` in bytes; 64 MiB.
    pub fn shm_size(mut self, bytes: u64) -> Self {
        self.shm_size = Some(bytes);
        self
    }

    /// The names that the image will have.
    pub fn tags(&self) -> &[Reference] {
        &self.tags
    }
}
