use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::query_parameters::{
    ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use tokio::runtime::Handle;

use super::{
    Docker,
    narration::{Made, Narration},
};

/// How often an engine is asked again that has not yet stopped what was cancelled.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(100);

/// What a build made on its way. If the build is dropped, it is removed; the label of an owner
/// comes with the last step only, so that nobody could find it later.
#[derive(Debug)]
pub(super) struct Leftover {
    docker: Docker,
    since: SystemTime,
    made: Vec<Made>,
    armed: bool,
}

impl Leftover {
    pub(super) fn new(docker: &Docker, since: SystemTime) -> Self {
        Self {
            docker: docker.clone(),
            since,
            made: Vec::new(),
            armed: true,
        }
    }

    pub(super) fn note(&mut self, narration: &mut Narration) {
        self.made.extend(narration.take_made());
    }

    /// The build is over.
    pub(super) fn keep(mut self) {
        self.armed = false;
    }

    /// Removes it now.
    pub(super) async fn remove(mut self) {
        self.armed = false;
        clean(self.docker.clone(), self.since, std::mem::take(&mut self.made)).await;
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let work = clean(
            self.docker.clone(),
            self.since,
            std::mem::take(&mut self.made),
        );
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(work)),
            Err(_) => tracing::warn!("no runtime to remove what a dropped build left"),
        }
    }
}

async fn clean(docker: Docker, since: SystemTime, made: Vec<Made>) {
    for container in made.iter().filter_map(|made| match made {
        Made::Container(id) => Some(id),
        Made::Image(_) => None,
    }) {
        // The engine removes it by itself, if it gets to it.
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        if let Err(error) = docker.api().remove_container(container, Some(options)).await {
            tracing::debug!(container, %error, "intermediate container");
        }
    }
    // Last first: an image that others are built on cannot go.
    for image in made.iter().rev().filter_map(|made| match made {
        Made::Image(id) => Some(id),
        Made::Container(_) => None,
    }) {
        for _ in 0..TRIES {
            match nameless(&docker, image, since).await {
                // Not ours, or gone.
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => {
                    tracing::debug!(image, %error, "intermediate image");
                    break;
                }
            }
            let options = RemoveImageOptionsBuilder::new().noprune(true).build();
            match docker.api().remove_image(image, Some(options), None).await {
                Ok(_) => break,
                Err(error) => tracing::debug!(image, %error, "intermediate image"),
            }
            // Its container has not ended yet.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether it is an image without a name that was made since. The text that said so may have been
/// printed by anybody.
async fn nameless(
    docker: &Docker,
    id: &str,
    since: SystemTime,
) -> Result<bool, bollard::errors::Error> {
    let options = ListImagesOptionsBuilder::new().all(true).build();
    let images = docker.api().list_images(Some(options)).await?;
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // The engine's clock may be another one.
    let since = i64::try_from(since).unwrap_or_default() - 60;
    Ok(images.iter().any(|image| {
        let named = image.repo_tags.iter().any(|tag| tag != "<none>:<none>");
        image.id.trim_start_matches("sha256:").starts_with(id) && !named && image.created >= since
    }))
}
