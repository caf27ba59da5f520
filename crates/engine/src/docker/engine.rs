use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{self, Either},
    stream,
};
use ocicore::{BoxStream, Cx, Digest, Reference};

use super::{Docker, ask_version, cancellable};
use crate::{
    ContainerEngine, ContainerInfo, EngineEvent, Exit, ImageInfo, ImageSummary, Label, Owner,
    Result, TransferOptions, Version, VolumeInfo,
    log::Log,
    spec::{
        BuildSpec, CommitSpec, ContainerId, ContainerSpec, ExecSpec, ImageId, ImageName, Signal,
        VolumeName, VolumeSpec,
    },
};

#[async_trait]
impl ContainerEngine for Docker {
    fn owner(&self) -> &Owner {
        &self.inner.owner
    }

    async fn version(&self, cx: &Cx) -> Result<Version> {
        cancellable(cx, ask_version(self.http())).await
    }

    async fn build(&self, cx: &Cx, spec: &BuildSpec, log: &Log) -> Result<ImageId> {
        self.build_it(cx, spec, log).await
    }

    async fn create_container(&self, cx: &Cx, spec: &ContainerSpec) -> Result<ContainerId> {
        self.create(cx, spec).await
    }

    async fn start(&self, cx: &Cx, container: &ContainerId) -> Result<()> {
        cancellable(cx, self.start_it(container)).await
    }

    async fn run_container(&self, cx: &Cx, container: &ContainerId, log: &Log) -> Result<Exit> {
        cancellable(cx, self.run_it(container, log)).await
    }

    async fn wait(&self, cx: &Cx, container: &ContainerId) -> Result<Exit> {
        cancellable(cx, self.exit_of(container, crate::log::Tail::default())).await
    }

    async fn signal(&self, cx: &Cx, container: &ContainerId, signal: Signal) -> Result<()> {
        cancellable(cx, self.kill(container, signal)).await
    }

    async fn exec(
        &self,
        cx: &Cx,
        container: &ContainerId,
        spec: &ExecSpec,
        log: &Log,
    ) -> Result<Exit> {
        cancellable(cx, self.exec_in(container, spec, log)).await
    }

    async fn copy_in(
        &self,
        cx: &Cx,
        container: &ContainerId,
        directory: &str,
        tar: BoxStream<Bytes>,
    ) -> Result<()> {
        cancellable(cx, self.upload(container, directory, tar)).await
    }

    async fn copy_out(
        &self,
        cx: &Cx,
        container: &ContainerId,
        path: &str,
    ) -> Result<BoxStream<Bytes>> {
        let content = cancellable(cx, self.download(container, path)).await?;
        Ok(until_cancelled(cx, content))
    }

    async fn commit(&self, cx: &Cx, spec: &CommitSpec) -> Result<ImageId> {
        self.commit_it(cx, spec).await
    }

    async fn inspect_container(&self, cx: &Cx, container: &ContainerId) -> Result<ContainerInfo> {
        cancellable(cx, self.container(container)).await
    }

    async fn containers(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ContainerInfo>> {
        cancellable(cx, self.list_containers(labels)).await
    }

    async fn remove_container(&self, cx: &Cx, container: &ContainerId) -> Result<()> {
        self.remove(cx, container).await
    }

    async fn inspect_image(&self, cx: &Cx, image: &ImageName) -> Result<ImageInfo> {
        cancellable(cx, self.image(image)).await
    }

    async fn images(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<ImageSummary>> {
        cancellable(cx, self.list_images(labels)).await
    }

    async fn tag(&self, cx: &Cx, image: &ImageName, name: &Reference) -> Result<()> {
        cancellable(cx, self.tag_it(image, name)).await
    }

    async fn remove_image(&self, cx: &Cx, image: &ImageName) -> Result<()> {
        cancellable(cx, self.remove_image_named(image)).await
    }

    async fn pull(
        &self,
        cx: &Cx,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<ImageId> {
        cancellable(cx, self.pull_it(image, options, log)).await
    }

    async fn push(
        &self,
        cx: &Cx,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<Digest> {
        cancellable(cx, self.push_it(image, options, log)).await
    }

    async fn load_archive(&self, cx: &Cx, archive: BoxStream<Bytes>) -> Result<Vec<ImageName>> {
        cancellable(cx, self.load_it(archive)).await
    }

    async fn save_archive(&self, cx: &Cx, images: &[ImageName]) -> Result<BoxStream<Bytes>> {
        let content = cancellable(cx, self.save_them(images)).await?;
        Ok(until_cancelled(cx, content))
    }

    async fn create_volume(&self, cx: &Cx, spec: &VolumeSpec) -> Result<VolumeName> {
        self.make_volume(cx, spec).await
    }

    async fn volumes(&self, cx: &Cx, labels: &[Label]) -> Result<Vec<VolumeInfo>> {
        cancellable(cx, self.list_volumes(labels)).await
    }

    async fn remove_volume(&self, cx: &Cx, volume: &VolumeName) -> Result<()> {
        cancellable(cx, self.remove_it(volume)).await
    }

    async fn events(&self, cx: &Cx, labels: &[Label]) -> Result<BoxStream<EngineEvent>> {
        let events = cancellable(cx, self.watch(labels)).await?;
        Ok(until_cancelled(cx, events))
    }
}

/// Ends a stream with an error as soon as it is cancelled. It ends with any error: the next item may
/// never come.
fn until_cancelled<T: Send + 'static>(cx: &Cx, content: BoxStream<T>) -> BoxStream<T> {
    let stop = Box::pin(cx.cancelled());
    stream::unfold(Some((stop, content)), async |state| {
        let (mut stop, mut content) = state?;
        let item = match future::select(&mut stop, content.next()).await {
            Either::Left(_) => Err(ocicore::Error::Cancelled),
            Either::Right((item, _)) => item?,
        };
        let more = item.is_ok().then_some((stop, content));
        Some((item, more))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_ends_when_it_is_cancelled() {
        let cx = Cx::default();
        let content = stream::iter([Ok(1), Ok(2)]).chain(stream::pending());
        let mut content = until_cancelled(&cx, content.boxed());
        assert!(matches!(content.next().await, Some(Ok(1))));
        cx.cancel();
        let rest: Vec<_> = content.collect().await;
        assert!(matches!(rest[..], [Err(ocicore::Error::Cancelled)]));
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_content_or_an_error() {
        let cx = Cx::default();
        let content = until_cancelled(&cx, stream::iter([Ok(1), Ok(2)]).boxed());
        assert_eq!(content.count().await, 2);
        let failed = Err(ocicore::Error::Cancelled);
        let content = stream::iter([failed]).chain(stream::pending::<ocicore::Result<u8>>());
        assert_eq!(until_cancelled(&cx, content.boxed()).count().await, 1);
    }
}
