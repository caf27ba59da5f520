use std::collections::{BTreeMap, HashMap};

use bollard::{
    errors::Error as Bollard,
    models,
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    },
};
use http_body_util::{BodyExt, Limited};
use ocicore::Cx;
use serde::Deserialize;

use super::{
    Docker, cancellable,
    fault::{Deed, says},
    http::Failure,
    stream::query,
    undo::or_undone,
};
use crate::{
    ContainerInfo, ContainerState, Error, Label, Result,
    owner::LEASE,
    spec::{CgroupNamespace, CommitSpec, ContainerId, ContainerSpec, ImageId, Mount},
};

/// Largest list of containers.
const DOCUMENT_LIMIT: usize = 64 << 20;

impl Docker {
    pub(super) async fn create(&self, cx: &Cx, spec: &ContainerSpec) -> Result<ContainerId> {
        let image = cancellable(cx, self.local_name(&spec.image)).await?;
        let mut options = CreateContainerOptionsBuilder::new();
        if let Some(name) = &spec.name {
            options = options.name(name);
        }
        if let Some(platform) = &spec.platform {
            options = options.platform(&platform.to_string());
        }
        let (options, body) = (options.build(), self.container_body(cx, spec, image));
        let deed = match &spec.name {
            Some(name) => Deed::new("create", "container", name),
            None => Deed::new("create a container of", "image", &spec.image),
        };
        let missing = spec.image.to_string();
        let this = self.clone();
        let make = async move {
            let made = this.api().create_container(Some(options), body).await;
            match made {
                Ok(made) => made.id.parse().map_err(|error| deed.garbled(error)),
                Err(Bollard::DockerResponseServerError {
                    status_code: 404,
                    message,
                }) if says(&message, &["no such image", "image not known"]) => {
                    Err(Error::NotFound {
                        kind: "image",
                        name: missing,
                    })
                }
                Err(error) => Err(deed.bollard(error)),
            }
        };
        let this = self.clone();
        or_undone(cx, make, move |id| {
            Box::pin(async move { this.remove(&Cx::default(), &id).await })
        })
        .await
    }

    fn container_body(
        &self,
        cx: &Cx,
        spec: &ContainerSpec,
        image: String,
    ) -> models::ContainerCreateBody {
        let owner = &self.inner.owner;
        let mut labels = if spec.kept {
            // Overrides what the image may have of a committed container.
            let mut labels = owner.labels();
            labels.insert(LEASE.to_owned(), String::new());
            labels
        } else {
            owner.lease(cx.now())
        };
        labels.extend(spec.labels.clone());
        models::ContainerCreateBody {
            image: Some(image),
            cmd: spec.command.clone(),
            entrypoint: spec.entrypoint.clone().map(|words| {
                // An empty list would be taken for none given.
                if words.is_empty() {
                    vec![String::new()]
                } else {
                    words
                }
            }),
            env: Some(pairs(&spec.env)),
            user: spec.user.clone(),
            working_dir: spec.working_dir.clone(),
            hostname: spec.hostname.clone(),
            labels: Some(labels.into_iter().collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(host_config(spec)),
            ..Default::default()
        }
    }

    pub(super) async fn commit_it(&self, cx: &Cx, spec: &CommitSpec) -> Result<ImageId> {
        let deed = Deed::new("commit", "container", &spec.container);
        let mut options = CommitContainerOptionsBuilder::new()
            .container(spec.container.as_str())
            .pause(true);
        if let Some(reference) = &spec.tag {
            let tag = reference.tag().map_or("latest", |tag| tag.as_str());
            options = options.repo(&reference.repository().to_string()).tag(tag);
        }
        if let Some(author) = &spec.author {
            options = options.author(author);
        }
        if let Some(message) = &spec.message {
            options = options.comment(message);
        }
        let mut changes = spec.changes.clone();
        // The lease is the container's, not the image's.
        changes.push(format!("LABEL {LEASE}=\"\""));
        let options = options.changes(&changes.join("\n")).build();
        let this = self.clone();
        let make = async move {
            let config = models::ContainerConfig::default();
            let made = this.api().commit_container(options, config).await;
            let made = made.map_err(|error| deed.bollard(error))?;
            made.id
                .trim()
                .parse::<ImageId>()
                .map_err(|error| deed.garbled(error))
        };
        let this = self.clone();
        or_undone(cx, make, move |id| {
            Box::pin(async move { this.remove_image_by_id(&id).await })
        })
        .await
    }

    pub(super) async fn container(&self, id: &ContainerId) -> Result<ContainerInfo> {
        let deed = Deed::new("inspect", "container", id);
        let found: RawInspect = self.read(&deed, &format!("/containers/{id}/json")).await?;
        Ok(ContainerInfo {
            id: parsed(&deed, &found.id)?,
            name: plain_name(&found.name),
            labels: found.config.labels.unwrap_or_default(),
            state: state_of(&found.state.status),
            addresses: addresses(found.network_settings),
        })
    }

    pub(super) async fn list_containers(&self, labels: &[Label]) -> Result<Vec<ContainerInfo>> {
        let deed = Deed::new("list", "container", "containers");
        let filters = serde_json::to_string(&filters(labels)).expect("a map of texts is JSON");
        let pairs = [("all", "1".to_owned()), ("filters", filters)];
        let path = format!("/containers/json?{}", query(pairs));
        let found: Vec<RawSummary> = self.read(&deed, &path).await?;
        let mut all = found
            .into_iter()
            .map(|found| {
                let name = found.names.unwrap_or_default().into_iter().next();
                Ok(ContainerInfo {
                    id: parsed(&deed, &found.id)?,
                    name: plain_name(&name.unwrap_or_default()),
                    labels: found.labels.unwrap_or_default(),
                    state: state_of(&found.state),
                    addresses: addresses(found.network_settings),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        all.retain(|found| labels.iter().all(|label| label.matches(&found.labels)));
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Reads JSON without bollard, which does not know all states that Podman's containers have.
    async fn read<T: serde::de::DeserializeOwned>(&self, deed: &Deed, path: &str) -> Result<T> {
        let request = super::get(path).map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        let answer = answer.map_err(|failure| deed.failed(failure))?;
        let body = Limited::new(answer.into_body(), DOCUMENT_LIMIT)
            .collect()
            .await;
        let body = body.map_err(|error| deed.failed(Failure::Broken(error)))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| deed.garbled(error))
    }

    pub(super) async fn remove(&self, cx: &Cx, id: &ContainerId) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let deed = Deed::new("remove", "container", id);
        cancellable(cx, async {
            let removed = self
                .api()
                .remove_container(id.as_str(), Some(options))
                .await;
            match removed.map_err(|error| deed.bollard(error)) {
                // Somebody else is at it.
                Err(Error::Conflict { message, .. }) if message.contains("already in progress") => {
                    Ok(())
                }
                result => result,
            }
        })
        .await
    }
}

fn host_config(spec: &ContainerSpec) -> models::HostConfig {
    let memory = spec.memory.and_then(|bytes| i64::try_from(bytes).ok());
    models::HostConfig {
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        network_mode: spec.network.clone(),
        extra_hosts: Some(
            spec.extra_hosts
                .iter()
                .map(|(name, address)| format!("{name}:{address}"))
                .collect(),
        ),
        privileged: Some(spec.privileged),
        init: spec.init.then_some(true),
        cap_add: Some(spec.cap_add.clone()),
        cap_drop: Some(spec.cap_drop.clone()),
        security_opt: Some(spec.security_options.clone()),
        cgroupns_mode: spec.cgroup_namespace.map(|namespace| match namespace {
            CgroupNamespace::Private => models::HostConfigCgroupnsModeEnum::PRIVATE,
            CgroupNamespace::Host => models::HostConfigCgroupnsModeEnum::HOST,
        }),
        ulimits: Some(
            spec.ulimits
                .iter()
                .map(|limit| models::ResourcesUlimits {
                    name: Some(limit.name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect(),
        ),
        memory,
        memory_swap: memory,
        ..Default::default()
    }
}

fn mount(mount: &Mount) -> models::Mount {
    match mount {
        Mount::Bind {
            source,
            target,
            read_only,
        } => models::Mount {
            typ: Some(models::MountType::BIND),
            source: Some(source.to_string_lossy().into_owned()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            ..Default::default()
        },
        Mount::Volume {
            name,
            target,
            read_only,
        } => models::Mount {
            typ: Some(models::MountType::VOLUME),
            source: Some(name.to_string()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            ..Default::default()
        },
        Mount::Tmpfs { target, size } => models::Mount {
            typ: Some(models::MountType::TMPFS),
            target: Some(target.clone()),
            tmpfs_options: size.map(|bytes| models::MountTmpfsOptions {
                size_bytes: i64::try_from(bytes).ok(),
                ..Default::default()
            }),
            ..Default::default()
        },
    }
}

pub(super) fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

pub(super) fn sorted(map: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default().into_iter().collect()
}

pub(super) fn filters(labels: &[Label]) -> HashMap<String, Vec<String>> {
    if labels.is_empty() {
        return HashMap::new();
    }
    let labels = labels.iter().map(Label::to_string).collect();
    HashMap::from([("label".to_owned(), labels)])
}

fn parsed(deed: &Deed, id: &str) -> Result<ContainerId> {
    id.parse().map_err(|error| deed.garbled(error))
}

fn plain_name(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

fn state_of(state: &str) -> ContainerState {
    match state {
        // `initialized` and `configured` are Podman's.
        "created" | "initialized" | "configured" => ContainerState::Created,
        "running" | "paused" | "restarting" | "stopping" => ContainerState::Running,
        _ => ContainerState::Exited,
    }
}

fn addresses(settings: Option<RawNetworks>) -> BTreeMap<String, String> {
    let networks = settings.and_then(|settings| settings.networks);
    networks
        .unwrap_or_default()
        .into_iter()
        .map(|(name, network)| (name, network.address))
        .filter(|(_, address)| !address.is_empty())
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawSummary {
    id: String,
    names: Option<Vec<String>>,
    #[serde(default)]
    state: String,
    labels: Option<BTreeMap<String, String>>,
    network_settings: Option<RawNetworks>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawInspect {
    id: String,
    name: String,
    state: RawState,
    config: RawConfig,
    network_settings: Option<RawNetworks>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawState {
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawConfig {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawNetworks {
    networks: Option<BTreeMap<String, RawNetwork>>,
}

#[derive(Deserialize)]
struct RawNetwork {
    #[serde(rename = "IPAddress", default)]
    address: String,
}
