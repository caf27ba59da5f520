use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use ocicore::{Error, Platform, Reference, Result};

use super::{ContainerId, ImageName, VolumeName};

/// What a container sees of the outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mount {
    /// A path of the engine's machine.
    Bind {
        /// Absolute path outside; it must exist.
        source: PathBuf,
        /// Absolute path inside.
        target: String,
        /// Whether it can be written to.
        read_only: bool,
    },
    /// A volume; it is created if there is none, and then is nobody's.
    Volume {
        /// Its name.
        name: VolumeName,
        /// Absolute path inside.
        target: String,
        /// Whether it can be written to.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path inside.
        target: String,
        /// Size in bytes; half of the memory.
        size: Option<u64>,
    },
}

/// A limit of the kernel, for example `nofile`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

impl Ulimit {
    /// Name as in `ulimit` of the docker CLI; -1 is no limit.
    pub fn new(name: impl Into<String>, soft: i64, hard: i64) -> Self {
        Self {
            name: name.into(),
            soft,
            hard,
        }
    }
}

/// Whose control groups a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CgroupNamespace {
    /// Its own only.
    Private,
    /// Those of the machine; what systemd in a container with `/sys/fs/cgroup` needs.
    Host,
}

/// How to make a container.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    pub(crate) image: ImageName,
    pub(crate) name: Option<String>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network: Option<String>,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) privileged: bool,
    pub(crate) init: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security_options: Vec<String>,
    pub(crate) cgroup_namespace: Option<CgroupNamespace>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) memory: Option<u64>,
    pub(crate) platform: Option<Platform>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) kept: bool,
}

impl ContainerSpec {
    /// A container from an image, with the image's own settings.
    pub fn new(image: impl Into<ImageName>) -> Self {
        Self {
            image: image.into(),
            name: None,
            command: None,
            entrypoint: None,
            env: BTreeMap::new(),
            user: None,
            working_dir: None,
            hostname: None,
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            network: None,
            extra_hosts: Vec::new(),
            privileged: false,
            init: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_options: Vec::new(),
            cgroup_namespace: None,
            ulimits: Vec::new(),
            memory: None,
            platform: None,
            time_limit: None,
            kept: false,
        }
    }

    /// Its name; the engine makes one up.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its command instead of the image's; with an entry point, the arguments of that.
    pub fn command<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.command = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Its entry point instead of the image's; none if it has no words.
    pub fn entrypoint<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.entrypoint = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// User and group, as `USER[:GROUP]`, names or numbers.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Working directory, absolute.
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.working_dir = Some(path.into());
        self
    }

    /// Host name; its id.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// A label of the container.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// What it sees of the outside.
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// A path of the engine's machine, which must exist.
    pub fn bind(self, source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        self.mount(Mount::Bind {
            source: source.into(),
            target: target.into(),
            read_only: false,
        })
    }

    /// A path of the engine's machine, which must exist, to be read only.
    pub fn bind_read_only(self, source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        self.mount(Mount::Bind {
            source: source.into(),
            target: target.into(),
            read_only: true,
        })
    }

    /// A volume.
    pub fn volume(self, name: VolumeName, target: impl Into<String>) -> Self {
        self.mount(Mount::Volume {
            name,
            target: target.into(),
            read_only: false,
        })
    }

    /// Network: `none`, `host`, `bridge` or the name of one.
    pub fn network(mut self, mode: impl Into<String>) -> Self {
        self.network = Some(mode.into());
        self
    }

    /// A line of its `/etc/hosts`.
    pub fn extra_host(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.extra_hosts.push((name.into(), address.into()));
        self
    }

    /// All capabilities and all devices.
    pub fn privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    /// A small init process that forwards signals and reaps orphans.
    pub fn init(mut self) -> Self {
        self.init = true;
        self
    }

    /// One more capability, for example `NET_ADMIN`.
    pub fn cap_add(mut self, capability: impl Into<String>) -> Self {
        self.cap_add.push(capability.into());
        self
    }

    /// One capability less, or `ALL`.
    pub fn cap_drop(mut self, capability: impl Into<String>) -> Self {
        self.cap_drop.push(capability.into());
        self
    }

    /// A security option, for example `seccomp=unconfined`.
    pub fn security_option(mut self, option: impl Into<String>) -> Self {
        self.security_options.push(option.into());
        self
    }

    /// Whose control groups it sees; as the engine is set up.
    pub fn cgroup_namespace(mut self, namespace: CgroupNamespace) -> Self {
        self.cgroup_namespace = Some(namespace);
        self
    }

    /// A limit of the kernel.
    pub fn ulimit(mut self, limit: Ulimit) -> Self {
        self.ulimits.push(limit);
        self
    }

    /// Memory in bytes, swap included; no limit.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Platform of the image, if it has several.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// How long [`run`](crate::run) lets it run; for ever.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// It is to stay when this process ends: [`reap`](crate::reap) leaves it alone.
    pub fn kept(mut self) -> Self {
        self.kept = true;
        self
    }

    /// The image.
    pub fn image(&self) -> &ImageName {
        &self.image
    }

    /// What it will run, for messages, as far as the spec tells.
    pub(crate) fn program(&self) -> String {
        let words = [&self.entrypoint, &self.command];
        let first = words.into_iter().flatten().flatten().next();
        first.cloned().unwrap_or_else(|| self.image.to_string())
    }
}

/// How to run a command in a running container.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) privileged: bool,
}

impl ExecSpec {
    /// A program and its arguments.
    pub fn new<T: Into<String>>(command: impl IntoIterator<Item = T>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            user: None,
            working_dir: None,
            privileged: false,
        }
    }

    /// An environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// User and group; those of the container.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Working directory; that of the container.
    pub fn working_dir(mut self, path: impl Into<String>) -> Self {
        self.working_dir = Some(path.into());
        self
    }

    /// All capabilities.
    pub fn privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    /// The program, for messages.
    pub(crate) fn program(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }
}

/// How to make an image of a container.
#[derive(Clone, Debug)]
pub struct CommitSpec {
    pub(crate) container: ContainerId,
    pub(crate) tag: Option<Reference>,
    pub(crate) changes: Vec<String>,
    pub(crate) author: Option<String>,
    pub(crate) message: Option<String>,
}

impl CommitSpec {
    /// An image of a container as it is; it is paused meanwhile.
    pub fn new(container: ContainerId) -> Self {
        Self {
            container,
            tag: None,
            changes: Vec::new(),
            author: None,
            message: None,
        }
    }

    /// Its name, with a tag and without a digest.
    pub fn tag(mut self, reference: Reference) -> Self {
        self.tag = Some(reference);
        self
    }

    /// A Dockerfile instruction for the image's config: `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`,
    /// `LABEL`, `ONBUILD`, `USER`, `VOLUME` or `WORKDIR`.
    pub fn change(mut self, instruction: impl Into<String>) -> Self {
        self.changes.push(instruction.into());
        self
    }

    /// Who made it.
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// What was done.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// How to make a volume.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VolumeSpec {
    pub(crate) name: Option<VolumeName>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) leased: bool,
}

impl VolumeSpec {
    /// A volume whose name the engine makes up; [`reap`](crate::reap) removes it.
    pub fn anonymous() -> Self {
        Self {
            leased: true,
            ..Self::default()
        }
    }

    /// A volume with a name, which is to stay. If there is one, it is taken.
    pub fn named(name: VolumeName) -> Self {
        Self {
            name: Some(name),
            ..Self::default()
        }
    }

    /// A label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }
}

/// A signal to the first process of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `SIGHUP`.
    Hangup,
    /// `SIGINT`.
    Interrupt,
    /// `SIGQUIT`.
    Quit,
    /// `SIGTERM`.
    Terminate,
    /// `SIGKILL`.
    Kill,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
            Self::Kill => "SIGKILL",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        })
    }
}

impl FromStr for Signal {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        [
            Self::Hangup,
            Self::Interrupt,
            Self::Quit,
            Self::Terminate,
            Self::Kill,
            Self::User1,
            Self::User2,
        ]
        .into_iter()
        .find(|signal| signal.to_string() == input)
        .ok_or_else(|| Error::parse("signal", input, "expected a name like `SIGTERM`"))
    }
}
