use bytes::Bytes;
use futures_util::TryStreamExt;
use serde_json::json;

use super::{by_tag, expect_class, tag};
use crate::{
    Blob, BytesBlob, Class, Cx, Descriptor, Digest, ImageSink, ImageSource, MediaType, Name, Place,
    Platform, RawManifest, Result, Tag, read,
};

/// Content that a source can be checked against.
#[derive(Clone, Debug, Default)]
pub struct Fixture {
    blobs: Vec<BytesBlob>,
    /// Children before what points to them; without tags, it is a child.
    manifests: Vec<(RawManifest, Vec<Tag>)>,
}

impl Fixture {
    /// One image with two layers, tagged `v1`.
    pub fn image() -> Self {
        let mut fixture = Self::default();
        let image = fixture.add_image("image", &Platform::host());
        fixture.manifests.push((image, vec![tag("v1")]));
        fixture
    }

    /// An index of two images, tagged `v1` and `latest`.
    pub fn index() -> Self {
        let mut fixture = Self::default();
        let mut entries = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let platform = Platform::new("linux", architecture);
            let image = fixture.add_image(architecture, &platform);
            entries.push(image.descriptor().clone().with_platform(platform));
            fixture.manifests.push((image, Vec::new()));
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
        });
        let index = RawManifest::new(MediaType::OCI_INDEX, index.to_string());
        fixture
            .manifests
            .push((index, vec![tag("latest"), tag("v1")]));
        fixture
    }

    /// The same without tags, as of a source that knows digests only.
    pub fn untagged(mut self) -> Self {
        for (_, tags) in &mut self.manifests {
            tags.clear();
        }
        self
    }

    /// Writes it all.
    ///
    /// # Errors
    /// The sink's.
    pub async fn fill(&self, cx: &Cx, sink: &dyn ImageSink) -> Result<()> {
        for blob in &self.blobs {
            sink.put_blob(cx, blob).await?;
        }
        for (manifest, tags) in &self.manifests {
            let place = if tags.is_empty() {
                Place::Child
            } else {
                Place::Root(tags)
            };
            sink.put_manifest(cx, manifest, place).await?;
        }
        Ok(())
    }

    /// The one root.
    pub fn root(&self) -> &RawManifest {
        &self.manifests.last().expect("a fixture has a root").0
    }

    /// Config and layers of all images.
    pub fn blobs(&self) -> &[BytesBlob] {
        &self.blobs
    }

    fn add_image(&mut self, text: &str, platform: &Platform) -> RawManifest {
        let layers: Vec<_> = ["base", text]
            .iter()
            .map(|text| BytesBlob::new(MediaType::OCI_LAYER, tar_of(text)))
            .collect();
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|layer| *layer.descriptor().digest())
            .collect();
        let config = json!({
            "architecture": platform.architecture(), "os": platform.os(),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = BytesBlob::new(MediaType::OCI_CONFIG, config.to_string());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        self.blobs.push(config);
        self.blobs.extend(layers);
        RawManifest::new(MediaType::OCI_MANIFEST, manifest.to_string())
    }
}

/// A minimal ustar archive (POSIX.1-1988) of one file, named and filled with `text`.
fn tar_of(text: &str) -> Bytes {
    let mut header = [0u8; 512];
    header[..text.len()].copy_from_slice(text.as_bytes());
    let size = format!("{:011o}", text.len());
    let fields: [(usize, &str); 7] = [
        (100, "0000644"),
        (108, "0000000"),
        (116, "0000000"),
        (124, &size),
        (136, "00000000001"),
        (148, "        "),
        (257, "ustar\x0000"),
    ];
    for (at, field) in fields {
        header[at..at + field.len()].copy_from_slice(field.as_bytes());
    }
    header[156] = b'0';
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(text.as_bytes());
    archive.resize(2048, 0);
    archive.into()
}

/// Everything of `fixture` is in `source`.
pub(super) async fn holds(source: &dyn ImageSource, fixture: &Fixture) {
    let cx = Cx::default();
    let mut all_tags = Vec::new();
    for (manifest, tags) in &fixture.manifests {
        let names = tags
            .iter()
            .cloned()
            .map(Name::Tag)
            .chain([Name::Digest(*manifest.digest())]);
        for name in names {
            let descriptor = source
                .resolve(&cx, &name)
                .await
                .expect("what is there resolves");
            assert_eq!(descriptor.digest(), manifest.digest(), "resolve {name}");
            assert_eq!(
                descriptor.size(),
                manifest.descriptor().size(),
                "resolve {name}"
            );
            assert_eq!(
                descriptor.media_type(),
                manifest.media_type(),
                "resolve {name}"
            );
            let read = source
                .manifest(&cx, &name)
                .await
                .expect("what is there is read");
            assert_eq!(read.bytes(), manifest.bytes(), "manifest {name}");
            assert_eq!(read.media_type(), manifest.media_type(), "manifest {name}");
        }
        all_tags.extend(tags.iter().cloned());
    }
    for expected in &fixture.blobs {
        let blob = source.blob(expected.descriptor());
        let bytes = read(&*blob, u64::MAX).await.expect("a blob is read");
        let same = read(expected, u64::MAX)
            .await
            .expect("the fixture is whole");
        assert_eq!(bytes, same, "blob {}", expected.descriptor().digest());
    }
    all_tags.sort();
    let listed: Vec<Tag> = source
        .tags(&cx)
        .try_collect()
        .await
        .expect("tags are listed");
    assert_eq!(listed, all_tags, "tags");
}

/// What is not there is of class `NotFound`, or an empty list.
pub(super) async fn misses(source: &dyn ImageSource) {
    let cx = Cx::default();
    let nowhere = Digest::of(b"nowhere");
    for name in [by_tag("nowhere"), Name::Digest(nowhere)] {
        expect_class(source.resolve(&cx, &name).await, Class::NotFound, "resolve");
        expect_class(
            source.manifest(&cx, &name).await,
            Class::NotFound,
            "manifest",
        );
    }
    let blob = source.blob(&Descriptor::new(MediaType::OCI_LAYER, nowhere, 7));
    expect_class(
        blob.open(0..7).try_collect::<Vec<_>>().await,
        Class::NotFound,
        "blob",
    );
    let referrers = source
        .referrers(&cx, &nowhere)
        .await
        .expect("no referrers is no error");
    assert_eq!(referrers, [], "referrers of nothing");
}
