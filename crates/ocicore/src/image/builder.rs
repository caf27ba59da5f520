use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{Config, Image, Layer, config::canonical, oci_media_type};
use crate::{Blob, BytesBlob, Descriptor, Digest, MediaType, Platform, RawManifest, Result};

/// Makes an [`Image`], from nothing or on top of another. The result is an OCI image, whatever
/// its base was; what the base's config says beyond the specification stays.
///
/// The same steps give the same bytes: keys are sorted, and the time is that of
/// [`ImageBuilder::created`], else one second after the epoch.
///
/// ```
/// use std::sync::Arc;
/// use ocicore::{Blob, BytesBlob, ImageBuilder, Layer, MediaType, Platform};
///
/// let tar = BytesBlob::new(MediaType::OCI_LAYER, vec![0; 1024]);
/// let diff_id = *tar.descriptor().digest();
/// let image = ImageBuilder::scratch(&Platform::new("linux", "amd64"))
///     .append(Layer::new(Arc::new(tar), diff_id).with_created_by("an example"))
///     .env("PATH", "/bin")
///     .label("org.opencontainers.image.title", "example")
///     .entrypoint(["/bin/hello"])
///     .build()?;
/// assert_eq!(image.config().diff_ids(), [diff_id]);
/// # Ok::<(), ocicore::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    config: Map<String, Value>,
    /// Descriptors of the layers, each with where its content is.
    layers: Vec<(Descriptor, Arc<dyn Blob>)>,
    diff_ids: Vec<Digest>,
    /// Layers of our own, whose history is still to be written.
    history: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
    created: Option<SystemTime>,
}

impl ImageBuilder {
    /// An image without layers.
    pub fn scratch(platform: &Platform) -> Self {
        let mut config = Map::new();
        config.insert("os".to_owned(), json!(platform.os()));
        config.insert("architecture".to_owned(), json!(platform.architecture()));
        if let Some(variant) = platform.variant() {
            config.insert("variant".to_owned(), json!(variant));
        }
        Self {
            config,
            layers: Vec::new(),
            diff_ids: Vec::new(),
            history: Vec::new(),
            annotations: BTreeMap::new(),
            created: None,
        }
    }

    /// On top of `base`, whose layers, config and annotations stay.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document), which an opened image does not have.
    pub fn from_base(base: &Image) -> Result<Self> {
        let mut builder = Self::scratch(&base.config().platform());
        builder.config = base.config().json().clone();
        builder.annotations = base.manifest().links()?.annotations;
        for layer in base.layers()? {
            builder.push(&layer);
        }
        Ok(builder)
    }

    /// Puts a layer on top.
    pub fn append(mut self, layer: Layer) -> Self {
        self.push(&layer);
        self.history.push(layer.created_by);
        self
    }

    /// Sets an environment variable, in the place of one of the same name.
    pub fn env(self, key: &str, value: &str) -> Self {
        self.edit_execution(|config| {
            let list = config.entry("Env").or_insert_with(|| json!([]));
            let pair = format!("{key}={value}");
            let prefix = format!("{key}=");
            match list {
                Value::Array(words) => {
                    let same = words
                        .iter_mut()
                        .find(|word| word.as_str().is_some_and(|word| word.starts_with(&prefix)));
                    match same {
                        Some(word) => *word = json!(pair),
                        None => words.push(json!(pair)),
                    }
                }
                other => *other = json!([pair]),
            }
        })
    }

    /// Sets the entry point and, since they belonged to the old one, removes default arguments.
    pub fn entrypoint<T: Into<String>>(self, words: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        self.edit_execution(|config| {
            config.insert("Entrypoint".to_owned(), json!(words));
            config.remove("Cmd");
        })
    }

    /// Sets the default arguments.
    pub fn cmd<T: Into<String>>(self, words: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        self.set("Cmd", json!(words))
    }

    /// Sets user and group, `USER[:GROUP]`.
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    /// Sets the working directory.
    pub fn working_dir(self, path: &str) -> Self {
        self.set("WorkingDir", json!(path))
    }

    /// Declares a port, `PORT[/PROTOCOL]`.
    pub fn expose(self, port: &str) -> Self {
        self.add("ExposedPorts", port, json!({}))
    }

    /// Declares a volume.
    pub fn volume(self, path: &str) -> Self {
        self.add("Volumes", path, json!({}))
    }

    /// Sets a label.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.add("Labels", key, json!(value))
    }

    /// Sets an annotation of the manifest.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Sets the time of creation, of the image and of the layers that were appended.
    pub fn created(mut self, time: SystemTime) -> Self {
        self.created = Some(time);
        self
    }

    /// Edits the config as JSON: for whatever has no method of its own. `rootfs` and the history
    /// of appended layers are written by [`ImageBuilder::build`].
    pub fn edit_config(mut self, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        edit(&mut self.config);
        self
    }

    /// The image.
    ///
    /// # Errors
    /// [`Error::Document`](crate::Error::Document) if an edit made the config unreadable.
    pub fn build(mut self) -> Result<Image> {
        let created = rfc3339(self.created);
        self.config.insert("created".to_owned(), json!(created));
        self.config.insert(
            "rootfs".to_owned(),
            json!({"type": "layers", "diff_ids": self.diff_ids}),
        );
        let history = self.config.entry("history").or_insert_with(|| json!([]));
        if !history.is_array() {
            *history = json!([]);
        }
        if let Value::Array(history) = history {
            history.extend(
                self.history
                    .iter()
                    .map(|by| json!({"created": created, "created_by": by})),
            );
        }
        let bytes = canonical(&Value::Object(self.config));
        let config = BytesBlob::new(MediaType::OCI_CONFIG, bytes.clone());
        let parsed = Config::parse(bytes.into(), config.descriptor())?;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": self.layers.iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(),
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = json!(self.annotations);
        }
        let manifest = RawManifest::new(MediaType::OCI_MANIFEST, canonical(&manifest));
        let mut blobs: BTreeMap<Digest, Arc<dyn Blob>> = self
            .layers
            .into_iter()
            .map(|(descriptor, blob)| (*descriptor.digest(), blob))
            .collect();
        blobs.insert(*config.descriptor().digest(), Arc::new(config));
        Ok(Image {
            manifest,
            config: parsed,
            blobs,
        })
    }

    pub(super) fn push(&mut self, layer: &Layer) {
        let old = layer.blob.descriptor();
        let mut descriptor =
            Descriptor::new(oci_media_type(old.media_type()), *old.digest(), old.size());
        for (key, value) in old.annotations().iter().chain(&layer.annotations) {
            descriptor = descriptor.with_annotation(key, value);
        }
        self.layers.push((descriptor, Arc::clone(&layer.blob)));
        self.diff_ids.push(layer.diff_id);
    }

    fn set(self, key: &str, value: Value) -> Self {
        self.edit_execution(|config| {
            config.insert(key.to_owned(), value);
        })
    }

    /// Adds to one of the maps of the config.
    fn add(self, map: &str, key: &str, value: Value) -> Self {
        self.edit_execution(
            |config| match config.entry(map).or_insert_with(|| json!({})) {
                Value::Object(map) => {
                    map.insert(key.to_owned(), value);
                }
                other => *other = json!({ key: value }),
            },
        )
    }

    fn edit_execution(mut self, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let config = self.config.entry("config").or_insert_with(|| json!({}));
        if !config.is_object() {
            *config = json!({});
        }
        if let Value::Object(config) = config {
            edit(config);
        }
        self
    }
}

/// `created` as RFC 3339 in UTC, in whole seconds.
fn rfc3339(time: Option<SystemTime>) -> String {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = since.map_or(1, |since| since.as_secs());
    let timestamp = i64::try_from(seconds)
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok());
    timestamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Cx, Error, ImageSink, ImageSource, Memory, Name, Place};

    fn layer(text: &'static str) -> Layer {
        let blob = BytesBlob::new(MediaType::OCI_LAYER, text);
        let diff_id = *blob.descriptor().digest();
        Layer::new(Arc::new(blob), diff_id).with_created_by(format!("layer {text}"))
    }

    #[test]
    fn the_same_steps_give_the_same_bytes() {
        let build = || {
            ImageBuilder::scratch(&"linux/arm/v7".parse().unwrap())
                .append(layer("a"))
                .env("B", "1")
                .env("A", "2")
                .env("B", "3")
                .entrypoint(["/run"])
                .cmd(["--help"])
                .user("65532:65532")
                .working_dir("/work")
                .expose("80/tcp")
                .volume("/data")
                .label("z", "1")
                .label("a", "2")
                .annotation("k", "v")
                .created(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
                .build()
                .unwrap()
        };
        let image = build();
        assert_eq!(image.digest(), build().digest());
        let config: Value = serde_json::from_slice(image.config().bytes()).unwrap();
        insta::assert_snapshot!(format!("{config:#}"));
        assert_eq!(image.config().env(), ["B=3", "A=2"]);
        assert_eq!(image.config().platform().to_string(), "linux/arm/v7");
    }

    /// A Docker image with what the OCI specification does not know.
    async fn docker_base(store: &Memory) -> Image {
        let cx = Cx::default();
        let bottom = BytesBlob::new(MediaType::DOCKER_LAYER, "bottom");
        let config = json!({
            "os": "linux", "architecture": "amd64", "container": "1234",
            "config": {
                "Healthcheck": {"Test": ["CMD", "true"]}, "OnBuild": ["RUN x"],
                "Shell": ["/bin/bash"], "Cmd": ["sh"], "Env": null, "Labels": null,
            },
            "history": [{"created_by": "base"}, {"created_by": "env", "empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": [bottom.descriptor().digest()]},
        });
        let config = BytesBlob::new(MediaType::DOCKER_CONFIG, config.to_string());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::DOCKER_MANIFEST,
            "config": config.descriptor(), "layers": [bottom.descriptor()],
        });
        let manifest = RawManifest::new(MediaType::DOCKER_MANIFEST, manifest.to_string());
        store.put_blob(&cx, &bottom).await.unwrap();
        store.put_blob(&cx, &config).await.unwrap();
        store
            .put_manifest(&cx, &manifest, Place::Root(&[]))
            .await
            .unwrap();
        let name = Name::Digest(*manifest.digest());
        Image::open(&cx, store, &name, &Platform::new("linux", "amd64"))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn unknown_fields_of_a_base_survive() {
        let base = docker_base(&Memory::default()).await;
        let builder = ImageBuilder::from_base(&base).unwrap().append(layer("top"));
        let image = builder
            .label("l", "1")
            .env("K", "v")
            .entrypoint(["/x"])
            .build()
            .unwrap();
        let config: Value = serde_json::from_slice(image.config().bytes()).unwrap();
        insta::assert_snapshot!(format!("{config:#}"));
        let links = image.manifest().links().unwrap();
        assert!(
            links
                .layers
                .iter()
                .all(|l| *l.media_type() == MediaType::OCI_LAYER)
        );
        assert_eq!(links.layers.len(), 2);
    }

    #[tokio::test]
    async fn an_image_is_opened_for_its_platform_only() {
        let (cx, store) = (Cx::default(), Memory::default());
        let fixture = crate::conformance::Fixture::index();
        fixture.fill(&cx, &store).await.unwrap();
        let name = Name::Tag("v1".parse().unwrap());
        let arm = "linux/arm64/v8".parse().unwrap();
        let image = Image::open(&cx, &store, &name, &arm).await.unwrap();
        assert_eq!(image.config().platform().architecture(), "arm64");
        let own = Name::Digest(*image.digest());
        assert_eq!(
            image.manifest(),
            &ImageSource::manifest(&image, &cx, &own).await.unwrap()
        );
        let error = Image::open(&cx, &store, &name, &"linux/s390x".parse().unwrap()).await;
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::Platform { .. }));
        insta::assert_snapshot!(error);
    }
}
