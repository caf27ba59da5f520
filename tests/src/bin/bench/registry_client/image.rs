//! The images that are moved, written as OCI layouts.

use std::path::Path;

use ocicore::{
    Blob, BytesBlob, Cx, ImageSink, Layout, MediaType, Place, Platform, RawManifest, Tag,
};
use serde_json::json;

use crate::Result;

/// How all images are called.
pub(super) const TAG: &str = "v1";

/// An image, or an index of some.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) what: &'static str,
    pub(super) name: &'static str,
    manifests: usize,
    layers: usize,
    size: fn(usize) -> usize,
}

impl Image {
    /// The images of the benchmark; small ones are of the same shape.
    pub(super) fn all(small: Small) -> [Self; 3] {
        let small = small == Small::Yes;
        let spread: fn(usize) -> usize = |n| 4096 + (n * 7919) % 61_440;
        [
            Self {
                what: "big: 8 layers of random bytes, 1 GiB in all",
                name: "big",
                manifests: 1,
                layers: 8,
                size: if small { |_| 1 << 20 } else { |_| 1 << 27 },
            },
            Self {
                what: "layers: 500 layers of 4 to 64 KiB",
                name: "layers",
                manifests: 1,
                layers: if small { 30 } else { 500 },
                size: spread,
            },
            Self {
                what: "index: 100 manifests with 5 layers of 4 to 64 KiB each",
                name: "index",
                manifests: if small { 6 } else { 100 },
                layers: 5,
                size: spread,
            },
        ]
    }

    /// Layers and configs.
    pub(super) fn blobs(&self) -> u64 {
        (self.manifests * (self.layers + 1)) as u64
    }

    /// Manifests and the index.
    pub(super) fn documents(&self) -> u64 {
        self.manifests as u64 + u64::from(self.manifests > 1)
    }

    /// Bytes of the largest layer.
    pub(super) fn largest_layer(&self) -> u64 {
        let layers = 0..self.manifests * self.layers;
        layers.map(self.size).max().unwrap_or(0) as u64
    }

    /// Writes the image; `seed` decides about its last layer, so that images with two seeds differ
    /// in one layer only.
    pub(super) async fn write(&self, path: &Path, seed: u64) -> Result<()> {
        let (cx, layout) = (Cx::default(), Layout::open_or_create(path)?);
        let (mut entries, tags) = (Vec::new(), [tag()]);
        let last = self.manifests * self.layers - 1;
        for image in 0..self.manifests {
            let config = BytesBlob::new(
                MediaType::OCI_CONFIG,
                json!({"n": image, "rootfs": {"type": "layers", "diff_ids": []}}).to_string(),
            );
            layout.put_blob(&cx, &config).await?;
            let mut layers = Vec::new();
            for layer in 0..self.layers {
                let n = image * self.layers + layer;
                let own = if n == last { seed } else { 0 };
                let bytes = random((self.size)(n), n as u64 + (own << 32));
                let blob = BytesBlob::new(MediaType::OCI_LAYER, bytes);
                layout.put_blob(&cx, &blob).await?;
                layers.push(blob.descriptor().clone());
            }
            let json = json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
                "config": config.descriptor(), "layers": layers,
            });
            let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
            let place = match self.manifests {
                1 => Place::Root(&tags),
                _ => Place::Child,
            };
            layout.put_manifest(&cx, &manifest, place).await?;
            let platform = Platform::new("linux", format!("arch{image}"));
            entries.push(manifest.descriptor().clone().with_platform(platform));
        }
        if self.manifests > 1 {
            let json = json!({
                "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
            });
            let index = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            layout.put_manifest(&cx, &index, Place::Root(&tags)).await?;
        }
        Ok(())
    }
}

/// Whether images are small. Closed: they are or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Small {
    Yes,
    No,
}

pub(super) fn tag() -> Tag {
    TAG.parse().expect("the tag is valid")
}

/// Bytes that nobody can compress (xorshift).
fn random(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(6_364_136_223_846_793_005) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
