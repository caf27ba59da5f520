use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use ocicore::BoxStream;

use super::{Docker, fault::Deed};
use crate::{Error, Result, spec::ContainerId};

impl Docker {
    pub(super) async fn upload(
        &self,
        id: &ContainerId,
        directory: &str,
        tar: BoxStream<Bytes>,
    ) -> Result<()> {
        let deed = Deed::new("copy to", "file", format!("{id}:{directory}"));
        let options = UploadToContainerOptionsBuilder::new()
            .path(directory)
            .build();
        // Podman would make the directory.
        let wanted = ContainerArchiveInfoOptionsBuilder::new()
            .path(directory)
            .build();
        let there = self
            .api()
            .get_container_archive_info(id.as_str(), Some(wanted));
        there.await.map_err(|error| deed.bollard(error))?;
        let (body, failed) = super::build::body(tar);
        let sent = self
            .api()
            .upload_to_container(id.as_str(), Some(options), body);
        let sent = sent.await;
        failed.check()?;
        sent.map_err(|error| deed.bollard(error))
    }

    pub(super) async fn download(&self, id: &ContainerId, path: &str) -> Result<BoxStream<Bytes>> {
        let deed = Deed::new("copy from", "file", format!("{id}:{path}"));
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let content = self
            .api()
            .download_from_container(id.as_str(), Some(options));
        let content = content.map_err(move |error| deed.bollard(error).into());
        let mut content = content.boxed();
        // The first piece tells whether there is anything.
        match content.next().await {
            Some(Err(error)) => Err(unwrapped(error)),
            Some(first) => Ok(stream::once(future::ready(first)).chain(content).boxed()),
            None => Ok(content),
        }
    }
}

/// Gets back our error from one of the ports.
fn unwrapped(error: ocicore::Error) -> Error {
    match error {
        ocicore::Error::Store {
            source: Some(source),
            action,
            subject,
            store,
            class,
        } => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(source) => Error::Content(ocicore::Error::Store {
                action,
                subject,
                store,
                class,
                source: Some(source),
            }),
        },
        error => Error::Content(error),
    }
}
