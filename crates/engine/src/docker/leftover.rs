use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::{
    models::ImageSummary,
    query_parameters::{
        ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use tokio::{runtime::Handle, time::Instant};

use super::{
    Docker,
    narration::{Made, Narration},
};

/// How long an engine is asked again that has not yet stopped what was cancelled: Podman lets the
/// command end that just runs.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a cancelled build waits for that.
const WAIT: Duration = Duration::from_secs(3);
/// Time between two questions, at first; it grows.
const PAUSE: Duration = Duration::from_millis(50);

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

    /// Removes it now, or soon.
    pub(super) async fn remove(mut self) {
        self.armed = false;
        let work = clean(
            self.docker.clone(),
            self.since,
            std::mem::take(&mut self.made),
        );
        // Goes on by itself if it takes longer.
        if let Ok(Err(error)) = tokio::time::timeout(WAIT, tokio::spawn(work)).await {
            tracing::warn!(%error, "removal of what a cancelled build left");
        }
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
    let mut seeds = Vec::new();
    for made in made {
        match made {
            Made::Image(id) => seeds.push(id),
            Made::Container(id) => {
                // The engine removes it by itself, if it gets to it.
                let options = RemoveContainerOptionsBuilder::new()
                    .force(true)
                    .v(true)
                    .build();
                if let Err(error) = docker.api().remove_container(&id, Some(options)).await {
                    tracing::debug!(id, %error, "intermediate container");
                }
            }
        }
    }
    let until = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    while Instant::now() < until {
        let options = ListImagesOptionsBuilder::new().all(true).build();
        match docker.api().list_images(Some(options)).await {
            Ok(images) => {
                let ours = ours(&images, &seeds, since);
                if ours.is_empty() {
                    return;
                }
                for id in ours {
                    let options = RemoveImageOptionsBuilder::new().noprune(true).build();
                    // As long as its container has not ended, it is in use.
                    if let Err(error) = docker.api().remove_image(&id, Some(options), None).await {
                        tracing::debug!(id, %error, "intermediate image");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "list of intermediate images"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    tracing::warn!(?seeds, "what a cancelled build made could not be removed");
}

/// Images without a name that were made since, and are called like one of the seeds, or were made
/// from such an image: a step that ran when the build was dropped may have made one more. Children
/// first. What is said to be made alone proves nothing, for a command may print anything.
fn ours(images: &[ImageSummary], seeds: &[String], since: SystemTime) -> Vec<String> {
    let since = since
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    // The engine's clock may be another one.
    let since = i64::try_from(since).unwrap_or_default() - 60;
    let hex = |id: &str| id.trim_start_matches("sha256:").to_owned();
    let candidates: Vec<(String, String)> = images
        .iter()
        .filter(|image| image.repo_tags.iter().all(|tag| tag == "<none>:<none>"))
        .filter(|image| image.created >= since)
        .map(|image| (hex(&image.id), hex(&image.parent_id)))
        .collect();
    let mut ours: Vec<String> = Vec::new();
    loop {
        let more = candidates.iter().find(|(id, parent)| {
            !ours.contains(id)
                && (seeds.iter().any(|seed| id.starts_with(seed)) || ours.contains(parent))
        });
        match more {
            Some((id, _)) => ours.push(id.clone()),
            None => break,
        }
    }
    // A parent before its children, turned around.
    ours.sort_by_key(|id| {
        let mut depth = 0_usize;
        let mut at = id;
        while let Some((_, parent)) = candidates.iter().find(|(id, _)| id == at)
            && depth < candidates.len()
        {
            at = parent;
            depth += 1;
        }
        std::cmp::Reverse(depth)
    });
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, parent: &str, tag: &str, created: i64) -> ImageSummary {
        ImageSummary {
            id: format!("sha256:{id}"),
            parent_id: parent.to_owned(),
            repo_tags: vec![tag.to_owned()],
            created,
            ..Default::default()
        }
    }

    #[test]
    fn only_what_was_made_since_and_has_no_name_is_ours() {
        let none = "<none>:<none>";
        let images = [
            image("aaaa", "base", none, 1000),
            image("bbbb", "aaaa", none, 1001),
            // Not mentioned, but made from one that is.
            image("cccc", "sha256:bbbb", none, 1002),
            // Printed by a command.
            image("dddd", "base", "busybox:1", 1000),
            image("eeee", "base", none, 10),
            image("ffff", "base", none, 1000),
        ];
        let seeds = ["aaaa", "bbbb", "dddd", "eeee"].map(str::to_owned);
        let since = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(ours(&images, &seeds, since), ["cccc", "bbbb", "aaaa"]);
    }
}
