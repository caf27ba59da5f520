use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use ocicore::{BoxStream, Cx, Digest, Platform, Reference};

use super::{Fake, has_all, missing};
use crate::{
    ContainerEngine, ContainerInfo, ContainerState, EngineEvent, EngineKind, Error, Exit,
    ImageInfo, ImageSummary, Label, Owner, Result, TransferOptions, Version, VolumeInfo,
    log::{Event, Log, Tail},
    spec::{
        BuildSpec, CommitSpec, ContainerId, ContainerSpec, ExecSpec, ImageId, ImageName, Signal,
        VolumeName, VolumeSpec,
    },
};

#[async_trait]
impl ContainerEngine for Fake {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    async fn version(&self, cx: &Cx) -> Result<Version> {
        self.quiet(cx, "version", "the engine").await?;
        Ok(Version {
            kind: EngineKind::Docker,
            version: "0".to_owned(),
            api: "1.41".to_owned(),
            platform: Platform::host(),
        })
    }

    async fn build(&self, cx: &Cx, spec: &BuildSpec, log: &Log) -> Result<ImageId> {
        let subject = spec
            .tags
            .first()
            .map_or("an image".to_owned(), Reference::to_string);
        let steps = (1..=3).map(|number| Event::Step {
            number: Some(number),
            total: Some(3),
            instruction: format!("STEP {number}"),
        });
        let (code, tail) = self
            .call(cx, "build", &subject, steps.collect(), log)
            .await?;
        if code != 0 {
            return Err(Error::Build {
                step: Some("STEP 3".to_owned()),
                code: Some(code),
                message: format!("returned a non-zero code: {code}"),
                tail,
            });
        }
        let BuildSpec {
            context,
            dockerfile,
            args,
            target,
            labels,
            ..
        } = spec;
        let seed = (
            context.descriptor().digest(),
            dockerfile,
            args,
            target,
            labels,
        );
        let id = Digest::of(format!("{seed:?}").as_bytes()).into();
        let mut labels = self.owner.labels();
        labels.extend(spec.labels.clone());
        let mut state = self.state();
        state.keep_image(id, None, labels);
        for tag in &spec.tags {
            state.keep_image(id, Some(tag), BTreeMap::new());
        }
        Ok(id)
    }

    async fn create_container(&self, cx: &Cx, spec: &ContainerSpec) -> Result<ContainerId> {
        self.quiet(cx, "create_container", &spec.image).await?;
        let mut labels = if spec.kept {
            self.owner.labels()
        } else {
            self.owner.lease(cx.now())
        };
        labels.extend(spec.labels.clone());
        let mut state = self.state();
        state.image(&spec.image)?;
        let n = state.next();
        let name = spec
            .name
            .clone()
            .unwrap_or_else(|| format!("container-{n}"));
        if state.containers.values().any(|other| other.name == name) {
            return Err(Error::NameInUse { name });
        }
        let id: ContainerId = Digest::of(&n.to_be_bytes()).hex().parse()?;
        let info = ContainerInfo {
            id: id.clone(),
            name,
            labels,
            state: ContainerState::Created,
            addresses: BTreeMap::new(),
        };
        state.containers.insert(id.clone(), info);
        Ok(id)
    }

    async fn start(&self, cx: &Cx, container: &ContainerId) -> Result<()> {
        self.quiet(cx, "start", container).await?;
        self.state().container(container)?.state = ContainerState::Running;
        Ok(())
    }

    async fn run_container(&self, cx: &Cx, container: &ContainerId, log: &Log) -> Result<Exit> {
        self.state().container(container)?.state = ContainerState::Running;
        let lines = (1..=3)
            .map(|n| Event::Stdout(format!("line {n}\n")))
            .collect();
        let ended = self
            .call(cx, "run_container", container.as_str(), lines, log)
            .await;
        if let Ok(container) = self.state().container(container) {
            container.state = ContainerState::Exited;
        }
        let (code, tail) = ended?;
        Ok(Exit::new("the command".to_owned(), code, tail))
    }

    async fn wait(&self, cx: &Cx, container: &ContainerId) -> Result<Exit> {
        self.quiet(cx, "wait", container).await?;
        self.state().container(container)?.state = ContainerState::Exited;
        Ok(Exit::new("the command".to_owned(), 0, Tail::default()))
    }

    async fn signal(&self, cx: &Cx, container: &ContainerId, _: Signal) -> Result<()> {
        self.quiet(cx, "signal", container).await?;
        self.state().container(container).map(drop)
    }

    async fn exec(
        &self,
        cx: &Cx,
        container: &ContainerId,
        spec: &ExecSpec,
        log: &Log,
    ) -> Result<Exit> {
        self.state().container(container)?;
        let line = vec![Event::Stdout("line\n".to_owned())];
        let (code, tail) = self.call(cx, "exec", container.as_str(), line, log).await?;
        Ok(Exit::new(spec.program(), code, tail))
    }

    async fn copy_in(
        &self,
        cx: &Cx,
        container: &ContainerId,
        _: &str,
        mut tar: BoxStream<Bytes>,
    ) -> Result<()> {
        self.quiet(cx, "copy_in", container).await?;
        while tar.try_next().await?.is_some() {}
        self.state().container(container).map(drop)
    }

    async fn copy_out(
        &self,
        cx: &Cx,
        container: &ContainerId,
        path: &str,
    ) -> Result<BoxStream<Bytes>> {
        self.quiet(cx, "copy_out", container).await?;
        Err(missing("file", path))
    }

    async fn commit(&self, cx: &Cx, spec: &CommitSpec) -> Result<ImageId> {
        self.quiet(cx, "commit", &spec.container).await?;
        let mut state = self.state();
        state.container(&spec.container)?;
        let n = state.next();
        let id = Digest::of(&n.to_le_bytes()).into();
        state.keep_image(id, spec.tag.as_ref(), self.owner.labels());
        Ok(id)
    }

    async fn inspect_container(&self, cx: &Cx, container: &ContainerId) -> Result<ContainerInfo> {
        self.quiet(cx, "inspect_container", container).await?;
        self.state().container(container).cloned()
    }

    async fn containers(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ContainerInfo>> {
        self.quiet(cx, "containers", "containers").await?;
        let state = self.state();
        let all = state.containers.values();
        Ok(all
            .filter(|found| has_all(&found.labels, labels))
            .cloned()
            .collect())
    }

    async fn remove_container(&self, cx: &Cx, container: &ContainerId) -> Result<()> {
        self.quiet(cx, "remove_container", container).await?;
        let mut state = self.state();
        let id = state.container(container)?.id.clone();
        state.containers.remove(&id);
        Ok(())
    }

    async fn inspect_image(&self, cx: &Cx, image: &ImageName) -> Result<ImageInfo> {
        self.quiet(cx, "inspect_image", image).await?;
        self.state().image(image).cloned()
    }

    async fn images(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ImageSummary>> {
        self.quiet(cx, "images", "images").await?;
        let state = self.state();
        let all = state.images.values();
        let all = all.filter(|image| has_all(&image.labels, labels));
        Ok(all
            .map(|image| ImageSummary {
                id: image.id,
                references: image.references.clone(),
                labels: image.labels.clone(),
                size: image.size,
            })
            .collect())
    }

    async fn tag(&self, cx: &Cx, image: &ImageName, name: &Reference) -> Result<()> {
        self.quiet(cx, "tag", image).await?;
        let mut state = self.state();
        let id = state.image(image)?.id;
        state.keep_image(id, Some(name), BTreeMap::new());
        Ok(())
    }

    async fn remove_image(&self, cx: &Cx, image: &ImageName) -> Result<()> {
        self.quiet(cx, "remove_image", image).await?;
        let mut state = self.state();
        let id = state.image(image)?.id;
        let left = match image {
            ImageName::Id(_) => 0,
            ImageName::Reference(reference) => state.images.get_mut(&id).map_or(0, |image| {
                image.references.retain(|known| known != reference);
                image.references.len()
            }),
        };
        if left == 0 {
            state.images.remove(&id);
        }
        Ok(())
    }

    async fn pull(
        &self,
        cx: &Cx,
        image: &Reference,
        _: &TransferOptions,
        log: &Log,
    ) -> Result<ImageId> {
        let event = vec![Event::Message("pulling".to_owned())];
        self.call(cx, "pull", &image.to_string(), event, log)
            .await?;
        Ok(self.add_image(image))
    }

    async fn push(
        &self,
        cx: &Cx,
        image: &Reference,
        _: &TransferOptions,
        log: &Log,
    ) -> Result<Digest> {
        let event = vec![Event::Message("pushing".to_owned())];
        self.call(cx, "push", &image.to_string(), event, log)
            .await?;
        let name = ImageName::Reference(image.clone());
        Ok(*self.state().image(&name)?.id.digest())
    }

    async fn load_archive(&self, cx: &Cx, mut archive: BoxStream<Bytes>) -> Result<Vec<ImageName>> {
        self.quiet(cx, "load_archive", "an archive").await?;
        let mut hasher = ocicore::Algorithm::Sha256.hasher();
        while let Some(piece) = archive.try_next().await? {
            hasher.update(&piece);
        }
        let id = hasher.finish().into();
        self.state().keep_image(id, None, BTreeMap::new());
        Ok(vec![ImageName::Id(id)])
    }

    async fn save_archive(&self, cx: &Cx, images: &[ImageName]) -> Result<BoxStream<Bytes>> {
        self.quiet(cx, "save_archive", "images").await?;
        for image in images {
            self.state().image(image)?;
        }
        Ok(stream::empty().boxed())
    }

    async fn create_volume(&self, cx: &Cx, spec: &VolumeSpec) -> Result<VolumeName> {
        self.quiet(cx, "create_volume", "a volume").await?;
        let mut labels = if spec.leased {
            self.owner.lease(cx.now())
        } else {
            self.owner.labels()
        };
        labels.extend(spec.labels.clone());
        let mut state = self.state();
        let name = match &spec.name {
            Some(name) => name.clone(),
            None => format!("volume-{}", state.next()).parse()?,
        };
        let info = VolumeInfo {
            name: name.clone(),
            labels,
        };
        state.volumes.entry(name.clone()).or_insert(info);
        Ok(name)
    }

    async fn volumes(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<VolumeInfo>> {
        self.quiet(cx, "volumes", "volumes").await?;
        let state = self.state();
        let all = state.volumes.values();
        Ok(all
            .filter(|found| has_all(&found.labels, labels))
            .cloned()
            .collect())
    }

    async fn remove_volume(&self, cx: &Cx, volume: &VolumeName) -> Result<()> {
        self.quiet(cx, "remove_volume", volume).await?;
        let removed = self.state().volumes.remove(volume);
        removed.map(drop).ok_or_else(|| missing("volume", volume))
    }

    async fn events(&self, cx: &Cx, _: &[Label]) -> Result<BoxStream<EngineEvent>> {
        self.quiet(cx, "events", "the engine").await?;
        let stop = cx.cancelled().map(|()| Err(ocicore::Error::Cancelled));
        Ok(stream::once(stop).boxed())
    }
}
