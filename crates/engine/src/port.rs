use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use ocicore::{BoxStream, Cx, Digest, Platform, Reference};

use crate::{
    Exit, Owner, Result,
    log::Log,
    spec::{
        BuildSpec, CommitSpec, ContainerId, ContainerSpec, ExecSpec, ImageId, ImageName, Keychain,
        Pull, Signal, VolumeName, VolumeSpec,
    },
};

/// A container engine.
///
/// Every method ends with [`Error::Cancelled`](crate::Error::Cancelled) soon after its context is
/// cancelled, and a method that is cancelled, or whose future is dropped, leaves nothing of what it
/// was making. All that is made carries the labels of [`Owner`]. Lists are sorted.
#[async_trait]
pub trait ContainerEngine: fmt::Debug + Send + Sync + 'static {
    /// Whose all that is made will be.
    fn owner(&self) -> &Owner;

    /// Asks the engine what it is: the cheapest way to find out whether it answers.
    ///
    /// # Errors
    /// If it does not.
    async fn version(&self, cx: &Cx) -> Result<Version>;

    /// Builds an image. Every item of the engine's answer is checked, and only an answer that names
    /// the new image is a success: an image that an old tag points to is never taken for it.
    ///
    /// # Errors
    /// [`Error::Dockerfile`](crate::Error::Dockerfile), [`Error::Build`](crate::Error::Build) with
    /// the last lines of the log, [`Error::Vanished`](crate::Error::Vanished), and others.
    async fn build(&self, cx: &Cx, spec: &BuildSpec, log: &Log) -> Result<ImageId>;

    /// Makes a container without starting it. See [`Temporary`](crate::Temporary) for its removal.
    ///
    /// # Errors
    /// If the image is missing or the name is in use.
    async fn create_container(&self, cx: &Cx, spec: &ContainerSpec) -> Result<ContainerId>;

    /// Starts a container in the background.
    ///
    /// # Errors
    /// [`Error::CommandNotFound`](crate::Error::CommandNotFound) and others.
    async fn start(&self, cx: &Cx, container: &ContainerId) -> Result<()>;

    /// Starts a container, passes on what it prints, and waits for its end.
    ///
    /// # Errors
    /// If it cannot be started. A command that fails is no error, see [`Exit::success`].
    async fn run_container(&self, cx: &Cx, container: &ContainerId, log: &Log) -> Result<Exit>;

    /// Waits for the end of a container that was started.
    ///
    /// # Errors
    /// If the engine cannot tell. A command that failed is no error.
    async fn wait(&self, cx: &Cx, container: &ContainerId) -> Result<Exit>;

    /// Sends a signal to the first process of a running container.
    ///
    /// # Errors
    /// Of class `Conflict` if it does not run.
    async fn signal(&self, cx: &Cx, container: &ContainerId, signal: Signal) -> Result<()>;

    /// Runs a command in a running container, passes on what it prints, and waits for its end.
    ///
    /// # Errors
    /// If the container does not run. A command that fails is no error.
    async fn exec(
        &self,
        cx: &Cx,
        container: &ContainerId,
        spec: &ExecSpec,
        log: &Log,
    ) -> Result<Exit>;

    /// Extracts a tar below a directory of a container, which must exist; owners as in the tar.
    ///
    /// # Errors
    /// If the container or the directory is missing.
    async fn copy_in(
        &self,
        cx: &Cx,
        container: &ContainerId,
        directory: &str,
        tar: BoxStream<Bytes>,
    ) -> Result<()>;

    /// A file or directory of a container as a tar, whose entries begin with its last component.
    ///
    /// # Errors
    /// If it is missing.
    async fn copy_out(
        &self,
        cx: &Cx,
        container: &ContainerId,
        path: &str,
    ) -> Result<BoxStream<Bytes>>;

    /// Makes an image of a container.
    ///
    /// # Errors
    /// If the container is missing or a change is no instruction.
    async fn commit(&self, cx: &Cx, spec: &CommitSpec) -> Result<ImageId>;

    /// State of a container.
    ///
    /// # Errors
    /// If it is missing.
    async fn inspect_container(&self, cx: &Cx, container: &ContainerId) -> Result<ContainerInfo>;

    /// Containers, running or not, that have all these labels.
    ///
    /// # Errors
    /// If they cannot be listed.
    async fn containers(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ContainerInfo>>;

    /// Removes a container with its anonymous volumes, killing it if it runs.
    ///
    /// # Errors
    /// If it is missing.
    async fn remove_container(&self, cx: &Cx, container: &ContainerId) -> Result<()>;

    /// An image.
    ///
    /// # Errors
    /// If the engine does not have it.
    async fn inspect_image(&self, cx: &Cx, image: &ImageName) -> Result<ImageInfo>;

    /// Images that have all these labels, without what only serves as build cache; of their configs
    /// only labels are told.
    ///
    /// # Errors
    /// If they cannot be listed.
    async fn images(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ImageSummary>>;

    /// Gives an image one more name, with a tag, taking it from the image that had it.
    ///
    /// # Errors
    /// If the image is missing.
    async fn tag(&self, cx: &Cx, image: &ImageName, name: &Reference) -> Result<()>;

    /// Takes a name from an image, and removes the image if it was the last one; by id, removes it
    /// with all its names.
    ///
    /// # Errors
    /// If it is missing or in use.
    async fn remove_image(&self, cx: &Cx, image: &ImageName) -> Result<()>;

    /// Pulls an image from its registry.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Denied`](crate::Error::Denied) and
    /// others.
    async fn pull(
        &self,
        cx: &Cx,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<ImageId>;

    /// Pushes an image to its registry, and gives the digest of its manifest there.
    ///
    /// # Errors
    /// [`Error::Denied`](crate::Error::Denied) and others.
    async fn push(
        &self,
        cx: &Cx,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<Digest>;

    /// Loads images from a docker-archive; see [`load`](crate::load) for more.
    ///
    /// # Errors
    /// If the archive is wrong.
    async fn load_archive(&self, cx: &Cx, archive: BoxStream<Bytes>) -> Result<Vec<ImageName>>;

    /// Saves images with their names as one docker-archive; see [`save`](crate::save) for more.
    ///
    /// # Errors
    /// If one is missing; later errors come in the stream.
    async fn save_archive(&self, cx: &Cx, images: &[ImageName]) -> Result<BoxStream<Bytes>>;

    /// Makes a volume.
    ///
    /// # Errors
    /// If it cannot be made.
    async fn create_volume(&self, cx: &Cx, spec: &VolumeSpec) -> Result<VolumeName>;

    /// Volumes that have all these labels.
    ///
    /// # Errors
    /// If they cannot be listed.
    async fn volumes(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<VolumeInfo>>;

    /// Removes a volume.
    ///
    /// # Errors
    /// If it is missing or in use.
    async fn remove_volume(&self, cx: &Cx, volume: &VolumeName) -> Result<()>;

    /// What happens from now on to containers, images and volumes that have all these labels; it
    /// ends only when it is dropped, or with an error: of the engine, or when it is cancelled.
    /// Nothing that begins after this has returned is missed, also if the stream is read only
    /// later; but Docker keeps no more than some hundred events for a reader that is slow.
    ///
    /// # Errors
    /// If there is no answer; later errors come in the stream.
    async fn events(&self, cx: &Cx, labels: &[Label]) -> Result<BoxStream<EngineEvent>>;
}

/// A condition of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    name: String,
    value: Option<String>,
}

impl Label {
    /// Has the label, whatever its value.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: None,
        }
    }

    /// Has the label with this value.
    pub fn with(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Some(value.into()),
        }
    }

    /// Whether these labels satisfy it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .get(&self.name)
            .is_some_and(|have| self.value.as_ref().is_none_or(|want| want == have))
    }
}

/// As the engines' filters want it: `NAME` or `NAME=VALUE`.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// Who made an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Docker, or one that passes for it.
    Docker,
    /// Podman.
    Podman,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        })
    }
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Who made it.
    pub kind: EngineKind,
    /// Its own version.
    pub version: String,
    /// Version of the Docker API that is spoken with it.
    pub api: String,
    /// What its containers run on.
    pub platform: Platform,
}

/// State of a container. Closed: paused and restarting containers are running ones here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It ended.
    Exited,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerInfo {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its labels, with those of its image.
    pub labels: BTreeMap<String, String>,
    /// Its state.
    pub state: ContainerState,
    /// Address in each network that it is in, by the network's name.
    pub addresses: BTreeMap<String, String>,
}

/// An image of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageSummary {
    /// Its id.
    pub id: ImageId,
    /// Its names, in lexical order.
    pub references: Vec<Reference>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes that it takes, those shared with others included.
    pub size: u64,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageInfo {
    /// Its id.
    pub id: ImageId,
    /// Its names, in lexical order.
    pub references: Vec<Reference>,
    /// Repositories in which its manifest is known, each with its digest.
    pub digests: Vec<Reference>,
    /// What it runs on.
    pub platform: Platform,
    /// Bytes that it takes, those shared with others included.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Its entry point.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// Its user.
    pub user: String,
    /// Its working directory.
    pub working_dir: String,
    /// Digests of its uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its name.
    pub name: VolumeName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Something that happened at an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineEvent {
    /// `container`, `image`, `volume`, `network`, …
    pub kind: String,
    /// `create`, `start`, `die`, `destroy`, `tag`, …
    pub action: String,
    /// Id or name of what it happened to.
    pub subject: String,
    /// More about it, labels included.
    pub attributes: BTreeMap<String, String>,
}

/// How to pull and push.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransferOptions {
    pub(crate) keychain: Keychain,
    pub(crate) platform: Option<Platform>,
    pub(crate) pull: Option<Pull>,
}

impl TransferOptions {
    /// Credentials of registries; none.
    pub fn keychain(mut self, keychain: Keychain) -> Self {
        self.keychain = keychain;
        self
    }

    /// Which image of an index to pull; the one for the engine.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Whether an image that the engine has is pulled again; it is.
    pub fn pull(mut self, pull: Pull) -> Self {
        self.pull = Some(pull);
        self
    }
}
