mod builder;
mod config;
mod rebase;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{
    Blob, BoxStream, BytesBlob, Cx, Descriptor, Digest, Error, ImageSource, MediaType, Name,
    Platform, RawManifest, Result, SizeLimits, Tag, blob::failed, read,
};

pub use builder::ImageBuilder;
pub use config::Config;
#[cfg(feature = "fs")]
pub(crate) use config::canonical;

/// A layer: its content, and the digest of the tar in it.
#[derive(Clone, Debug)]
pub struct Layer {
    blob: Arc<dyn Blob>,
    diff_id: Digest,
    created_by: String,
    annotations: BTreeMap<String, String>,
}

impl Layer {
    /// A layer; `diff_id` is the digest of the uncompressed tar (image-spec config.md §Layer
    /// DiffID).
    pub fn new(blob: Arc<dyn Blob>, diff_id: Digest) -> Self {
        Self {
            blob,
            diff_id,
            created_by: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Says in the image's history what made it.
    pub fn with_created_by(mut self, command: impl Into<String>) -> Self {
        self.created_by = command.into();
        self
    }

    /// With an annotation on its descriptor.
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// The content.
    pub fn blob(&self) -> &Arc<dyn Blob> {
        &self.blob
    }

    /// Digest of the uncompressed tar.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }
}

/// One image for one platform: manifest, config, and where its layers are. It is an
/// [`ImageSource`] whose only root is itself, by digest.
#[derive(Clone, Debug)]
pub struct Image {
    manifest: RawManifest,
    config: Config,
    blobs: BTreeMap<Digest, Arc<dyn Blob>>,
}

impl Image {
    /// Opens an image of `source`; of an index, the one for `platform`. Where `name` is an image itself, it is taken
    /// whatever its platform, as Docker does; its [config](Self::config) tells it. Layers are not read.
    ///
    /// # Errors
    /// [`Error::Platform`] if an index has nothing for the platform, [`Error::Document`] if it is
    /// no image.
    pub async fn open(
        cx: &Cx,
        source: &dyn ImageSource,
        name: &Name,
        platform: &Platform,
    ) -> Result<Self> {
        let mut manifest = source.manifest(cx, name).await?;
        let mut links = manifest.links()?;
        // An index may hold an index; a fault or malice could make that endless.
        for _ in 0..4 {
            if !manifest.media_type().is_index() {
                break;
            }
            let entry = links.pick(platform).ok_or_else(|| {
                let platforms = links.manifests.iter().filter_map(Descriptor::platform);
                let available: Vec<_> = platforms.map(ToString::to_string).collect();
                Error::Platform {
                    digest: (*manifest.digest()).into(),
                    platform: platform.to_string(),
                    available: available.join(", "),
                }
            })?;
            manifest = source.manifest(cx, &Name::Digest(*entry.digest())).await?;
            links = manifest.links()?;
        }
        let fault = |text: &str| Error::Document {
            what: "manifest",
            digest: (*manifest.digest()).into(),
            source: text.into(),
        };
        let config = links
            .config
            .as_ref()
            .ok_or_else(|| fault("it is no image"))?;
        let config_blob = source.blob(config);
        let bytes = read(&*config_blob, SizeLimits::default().config()).await?;
        let parsed = Config::parse(bytes.clone(), config)?;
        if parsed.diff_ids().len() != links.layers.len() {
            return Err(fault(
                "it has not as many layers as its config has diff_ids",
            ));
        }
        let layers = links
            .layers
            .iter()
            .map(|layer| (*layer.digest(), source.blob(layer)));
        let mut blobs: BTreeMap<_, _> = layers.collect();
        blobs.insert(
            *config.digest(),
            Arc::new(BytesBlob::described(config.clone(), bytes)),
        );
        Ok(Self {
            manifest,
            config: parsed,
            blobs,
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &RawManifest {
        &self.manifest
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> &Digest {
        self.manifest.digest()
    }

    /// The config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The layers from the bottom up.
    ///
    /// # Errors
    /// [`Error::Document`], which an image that was opened or built does not have.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        let links = self.manifest.links()?;
        let layers = links.layers.iter().zip(self.config.diff_ids());
        Ok(layers
            .map(|(descriptor, diff_id)| {
                let mut layer = Layer::new(self.blob(descriptor), *diff_id);
                layer.annotations = descriptor.annotations().clone();
                layer
            })
            .collect())
    }

    fn check(&self, action: &'static str, name: &Name) -> Result<()> {
        if name.digest() == Some(self.digest()) {
            return Ok(());
        }
        Err(Error::not_found(
            action,
            name,
            format_args!("image {}", self.digest().short()),
        ))
    }
}

#[async_trait]
impl ImageSource for Image {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        cx.check()?;
        self.check("resolve", name)?;
        Ok(self.manifest.descriptor().clone())
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        cx.check()?;
        self.check("read", name)?;
        Ok(self.manifest.clone())
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        match self.blobs.get(descriptor.digest()) {
            Some(blob) => Arc::clone(blob),
            None => Arc::new(Absent(descriptor.clone())),
        }
    }

    async fn referrers(&self, cx: &Cx, _: &Digest) -> Result<Vec<Descriptor>> {
        cx.check()?;
        Ok(Vec::new())
    }

    fn tags(&self, _: &Cx) -> BoxStream<Tag> {
        stream::empty().boxed()
    }
}

/// A blob that the image does not have.
#[derive(Debug)]
struct Absent(Descriptor);

impl Blob for Absent {
    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn open(&self, _: std::ops::Range<u64>) -> BoxStream<Bytes> {
        failed(Error::not_found("read", self.0.digest(), "an image"))
    }
}

/// The OCI name of a Docker media type; all others stay.
fn oci_media_type(media_type: &MediaType) -> MediaType {
    match media_type {
        t if *t == MediaType::DOCKER_LAYER_GZIP => MediaType::OCI_LAYER_GZIP,
        t if *t == MediaType::DOCKER_LAYER => MediaType::OCI_LAYER,
        t if *t == MediaType::DOCKER_CONFIG => MediaType::OCI_CONFIG,
        other => other.clone(),
    }
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod tests {
    use super::*;
    use crate::{
        Memory,
        conformance::{Fixture, Suite},
    };

    #[tokio::test]
    async fn an_image_is_a_source() {
        let (cx, store) = (Cx::default(), Memory::default());
        let fixture = Fixture::image();
        fixture.fill(&cx, &store).await.unwrap();
        let name = Name::Digest(*fixture.root().digest());
        let image = Image::open(&cx, &store, &name, &Platform::host()).await;
        let fixture = fixture.untagged();
        Suite::default().source(&image.unwrap(), &fixture).await;
    }
}
