use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bollard::query_parameters::{
    ListImagesOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyDataStream, Empty};
use hyper::{Request, header::CONTENT_TYPE};
use ocicore::{BoxStream, Digest, Platform, Reference};

use super::{
    Docker,
    container::{filters, sorted},
    fault::Deed,
    http::Answer,
    stream::{Item, Items, query},
};
use crate::{
    Error, ImageInfo, ImageSummary, Label, Result, TransferOptions,
    log::{Log, Tail},
    spec::{Credentials, ImageId, ImageName, Pull},
};

const AUTH: &str = "X-Registry-Auth";

impl Docker {
    /// By what name the engine knows an image. Docker has one namespace for what it pulled and what
    /// was made here; Podman keeps local images that were given a short name under `localhost/`.
    pub(super) async fn local_name(&self, image: &ImageName) -> Result<String> {
        let name = image.to_string();
        let ImageName::Reference(reference) = image else {
            return Ok(name);
        };
        let repository = reference.repository();
        if !self.is_podman() || repository.host() != "docker.io" {
            return Ok(name);
        }
        let path = repository.path().as_str();
        let short = path.strip_prefix("library/").unwrap_or(path);
        let local = name.replacen(&repository.to_string(), &format!("localhost/{short}"), 1);
        for candidate in [&name, &local] {
            match self.api().inspect_image(candidate).await {
                Ok(_) => return Ok(candidate.clone()),
                Err(error) => match Deed::new("inspect", "image", image).bollard(error) {
                    Error::NotFound { .. } => {}
                    error => return Err(error),
                },
            }
        }
        Ok(name)
    }

    pub(super) async fn image(&self, image: &ImageName) -> Result<ImageInfo> {
        let deed = Deed::new("inspect", "image", image);
        let name = self.local_name(image).await?;
        let found = self.api().inspect_image(&name).await;
        let found = found.map_err(|error| deed.bollard(error))?;
        let id = found.id.unwrap_or_default();
        let config = found.config.unwrap_or_default();
        let layers = found.root_fs.and_then(|root| root.layers);
        let mut platform = format!(
            "{}/{}",
            found.os.as_deref().unwrap_or("linux"),
            found.architecture.as_deref().unwrap_or("unknown")
        );
        if let Some(variant) = found.variant.filter(|variant| !variant.is_empty()) {
            platform = format!("{platform}/{variant}");
        }
        Ok(ImageInfo {
            id: id.parse().map_err(|error| deed.garbled(error))?,
            references: references(found.repo_tags.unwrap_or_default()),
            digests: references(found.repo_digests.unwrap_or_default()),
            platform: platform
                .parse::<Platform>()
                .map_err(|error| deed.garbled(error))?,
            size: size(found.size.unwrap_or_default()),
            labels: sorted(config.labels),
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            diff_ids: layers
                .unwrap_or_default()
                .iter()
                .map(|layer| layer.parse::<Digest>().map_err(|error| deed.garbled(error)))
                .collect::<Result<_>>()?,
        })
    }

    pub(super) async fn list_images(&self, labels: &[Label]) -> Result<Vec<ImageSummary>> {
        let deed = Deed::new("list", "image", "images");
        let options = ListImagesOptionsBuilder::new()
            .filters(&filters(labels))
            .build();
        let mut tries = 0;
        let found = loop {
            let found = self.api().list_images(Some(options.clone())).await;
            match found.map_err(|error| deed.bollard(error)) {
                // Podman stumbles over an image that is removed at the same time.
                Err(Error::NotFound { .. }) if tries < 20 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10) * tries).await;
                }
                found => break found?,
            }
        };
        let mut all = found
            .into_iter()
            .map(|image| {
                Ok(ImageSummary {
                    id: image.id.parse().map_err(|error| deed.garbled(error))?,
                    references: references(image.repo_tags),
                    labels: sorted(Some(image.labels)),
                    size: size(image.size),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        // Podman takes several conditions as alternatives.
        all.retain(|image| labels.iter().all(|label| label.matches(&image.labels)));
        all.sort_by_key(|image| image.id);
        // Podman lists an image once for each of its names.
        all.dedup_by(|a, b| {
            let same = a.id == b.id;
            if same {
                b.references.append(&mut a.references);
                b.references.sort();
                b.references.dedup();
            }
            same
        });
        Ok(all)
    }

    pub(super) async fn tag_it(&self, image: &ImageName, name: &Reference) -> Result<()> {
        let deed = Deed::new("tag", "image", image);
        let Some(tag) = name.tag() else {
            return Err(Error::Engine {
                action: "tag",
                subject: image.to_string(),
                status: Some(400),
                message: format!("`{name}` has no tag"),
            });
        };
        let options = TagImageOptionsBuilder::new()
            .repo(&name.repository().to_string())
            .tag(tag.as_str())
            .build();
        let source = self.local_name(image).await?;
        let tagged = self.api().tag_image(&source, Some(options)).await;
        tagged.map_err(|error| deed.bollard(error))
    }

    pub(super) async fn remove_image_named(&self, image: &ImageName) -> Result<()> {
        match image {
            ImageName::Id(id) => self.remove_image_by_id(id).await,
            ImageName::Reference(_) => {
                let name = self.local_name(image).await?;
                self.remove_image_once(image, &name).await
            }
        }
    }

    /// Without force, so that an image in use stays; hence name by name.
    pub(super) async fn remove_image_by_id(&self, id: &ImageId) -> Result<()> {
        let image = ImageName::Id(*id);
        let names = self.image(&image).await?.references;
        for name in &names {
            self.remove_image_once(&image, &name.to_string()).await?;
        }
        match self.remove_image_once(&image, &id.to_string()).await {
            // The last name took it along.
            Err(Error::NotFound { .. }) if !names.is_empty() => Ok(()),
            result => result,
        }
    }

    async fn remove_image_once(&self, image: &ImageName, name: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new().build();
        let removed = self.api().remove_image(name, Some(options), None).await;
        match removed {
            Ok(_) => Ok(()),
            Err(error) => Err(Deed::new("remove", "image", image).bollard(error)),
        }
    }

    pub(super) async fn pull_it(
        &self,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<ImageId> {
        let name = ImageName::Reference(image.clone());
        if let Some(Pull::Missing | Pull::Never) = options.pull {
            match self.image(&name).await {
                Err(Error::NotFound { .. }) if options.pull == Some(Pull::Missing) => {}
                found => return found.map(|found| found.id),
            }
        }
        let deed = Deed::new("pull", "image", image);
        let mut pairs = vec![("fromImage", image.to_string())];
        if let Some(platform) = &options.platform {
            pairs.push(("platform", platform.to_string()));
        }
        let path = format!("/images/create?{}", query(pairs));
        let answer = self.post(&deed, &path, image, options).await?;
        let mut items = Items::new(answer);
        pass_on(&deed, &mut items, log, |_| ()).await?;
        match self.image(&name).await {
            Ok(found) => Ok(found.id),
            // It ended as if all were well.
            Err(Error::NotFound { .. }) => Err(deed.vanished(Tail::default(), None)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn push_it(
        &self,
        image: &Reference,
        options: &TransferOptions,
        log: &Log,
    ) -> Result<Digest> {
        let deed = Deed::new("push", "image", image);
        let Some(tag) = image.tag() else {
            return Err(deed.refused(super::fault::Refusal::new(
                400,
                "an image is pushed by its tag".to_owned(),
            )));
        };
        let name = ImageName::Reference(image.clone());
        let local = self.local_name(&name).await?;
        // What is pushed goes where its name says: a local name goes nowhere.
        if local != image.to_string() {
            self.tag_it(&name, image).await?;
        }
        let path = format!(
            "/images/{}/push?{}",
            image.repository(),
            query([("tag", tag.to_string())])
        );
        let answer = self.post(&deed, &path, image, options).await?;
        let mut items = Items::new(answer);
        let mut told = None;
        pass_on(&deed, &mut items, log, |item| {
            if let Some(digest) = digest_of(item) {
                told = Some(digest);
            }
        })
        .await?;
        if let Some(digest) = told {
            return Ok(digest);
        }
        let known = self.image(&name).await?.digests;
        let digest = known
            .iter()
            .find(|known| known.repository() == image.repository())
            .and_then(|known| known.digest().copied());
        digest.ok_or_else(|| deed.vanished(Tail::default(), None))
    }

    async fn post(
        &self,
        deed: &Deed,
        path: &str,
        image: &Reference,
        options: &TransferOptions,
    ) -> Result<Answer> {
        let found = options.keychain.find(image.repository().host());
        let request = Request::post(path)
            .header(AUTH, auth_header(image.repository().host(), found))
            .body(Empty::<Bytes>::new())
            .map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        answer.map_err(|failure| deed.failed(failure))
    }

    pub(super) async fn load_it(&self, archive: BoxStream<Bytes>) -> Result<Vec<ImageName>> {
        let deed = Deed::new("load", "image", "an archive");
        let (body, failed) = super::build::body(archive);
        let request = Request::post("/images/load?quiet=1")
            .header(CONTENT_TYPE, "application/x-tar")
            .body(body)
            .map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        failed.check()?;
        let answer = answer.map_err(|failure| deed.failed(failure))?;
        let mut items = Items::new(answer);
        let mut text = String::new();
        let mut said = String::new();
        pass_on(&deed, &mut items, &Log::discard(), |item| {
            let more = item.stream.as_deref().or(item.status.as_deref());
            if text.len() < 1 << 20 {
                text.push_str(more.unwrap_or_default());
                said.push_str(more.unwrap_or_default());
            }
        })
        .await?;
        failed.check()?;
        let names = loaded(&text);
        if names.is_empty() {
            return Err(deed.garbled(format!("it names no image: `{}`", said.trim())));
        }
        Ok(names)
    }

    pub(super) async fn save_them(&self, images: &[ImageName]) -> Result<BoxStream<Bytes>> {
        let subject: Vec<String> = images.iter().map(ToString::to_string).collect();
        let deed = Deed::new("save", "image", subject.join(", "));
        let mut names = Vec::new();
        for image in images {
            // Docker would make an archive of what is there.
            self.image(image).await?;
            names.push(("names", self.local_name(image).await?));
        }
        let path = format!("/images/get?{}", query(names));
        let request = super::get(&path).map_err(|error| deed.garbled(error))?;
        let answer = self.http().ask(request).await;
        let answer = answer.map_err(|failure| deed.failed(failure))?;
        let content = BodyDataStream::new(answer.into_body());
        let content = content.map_err(move |error| {
            ocicore::Error::from(deed.vanished(Tail::default(), Some(error.into())))
        });
        Ok(content.boxed())
    }
}

/// Reads items to the end, passing on what they tell.
async fn pass_on(
    deed: &Deed,
    items: &mut Items,
    log: &Log,
    mut see: impl FnMut(&Item) + Send,
) -> Result<()> {
    loop {
        match items.next().await {
            Ok(None) => return Ok(()),
            Ok(Some(item)) => {
                see(&item);
                if let Some(event) = item.event() {
                    log.send(event).await;
                }
            }
            Err(stop) => return Err(stop.into_error(deed, &Tail::default())),
        }
    }
}

/// Docker tells it in `aux`, and Docker and Podman at the end of a status:
/// `TAG: digest: DIGEST size: N`.
fn digest_of(item: &Item) -> Option<Digest> {
    if let Some(digest) = item.aux_text("Digest") {
        return digest.parse().ok();
    }
    let (_, rest) = item.status.as_deref()?.split_once("digest: ")?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// `Loaded image: NAME` and `Loaded image ID: ID`; Podman puts several names in one line.
fn loaded(text: &str) -> Vec<ImageName> {
    let mut names: Vec<ImageName> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Loaded image"))
        .filter_map(|rest| rest.split_once(": "))
        .flat_map(|(_, names)| names.split([',', ' ']))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What has no name is called `<none>:<none>`.
fn references(names: Vec<String>) -> Vec<Reference> {
    let mut names: Vec<Reference> = names.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort();
    names
}

fn size(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}

/// The JSON of `AuthConfig` in URL-safe base64; required even if it says nothing.
fn auth_header(host: &str, credentials: Option<&Credentials>) -> String {
    URL_SAFE.encode(auth_config(host, credentials).to_string())
}

/// Docker Hub is known to engines by the address that it had in 2013.
pub(super) fn auth_host(host: &str) -> &str {
    if host == "docker.io" {
        "https://index.docker.io/v1/"
    } else {
        host
    }
}

pub(super) fn auth_config(host: &str, credentials: Option<&Credentials>) -> serde_json::Value {
    match credentials {
        None => serde_json::json!({}),
        Some(Credentials::Password { user, password }) => serde_json::json!({
            "username": user,
            "password": password,
            "serveraddress": auth_host(host),
        }),
        Some(Credentials::IdentityToken(token)) => serde_json::json!({
            "identitytoken": token,
            "serveraddress": auth_host(host),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_images_are_read_from_what_is_said() {
        let check = |text: &str, expected: &[&str]| {
            let names: Vec<String> = loaded(text).iter().map(ToString::to_string).collect();
            assert_eq!(names, expected, "{text}");
        };
        let id = format!("sha256:{}", "ab".repeat(32));
        check("Loaded image: a/b:1\n", &["docker.io/a/b:1"]);
        check(&format!("Loaded image ID: {id}\n"), &[&id]);
        check(
            "Loaded image: localhost/a:1,localhost/b:2",
            &["localhost/a:1", "localhost/b:2"],
        );
        check("Loading layer\n", &[]);
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        let secret = Credentials::Password {
            user: "me".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert_eq!(format!("{secret:?}"), "Credentials(me:***)");
        let header = auth_header("docker.io", Some(&secret));
        let json = String::from_utf8(URL_SAFE.decode(header).unwrap()).unwrap();
        assert!(json.contains("hunter2") && json.contains("index.docker.io/v1/"));
    }
}
