//! Stores that give other content than they should.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use layerpkg::{Error, install::InstallSpec};
use ocicore::{
    Blob, BoxStream, Class, Cx, Descriptor, Digest, ImageSink, ImageSource, ImageStore, Name,
    Place, RawManifest, Repositories, Repository, Result, Stored, Tag,
};

use crate::support::{House, image, install_from, layer, tar};

/// What of the content is another.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// A bit in the middle.
    Bit,
    /// It ends early.
    Short,
    /// It goes on.
    Long,
}

#[derive(Debug)]
struct Lying<T>(T, Lie);

impl Repositories for Lying<ocicore::MemoryRepositories> {
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>> {
        Ok(Arc::new(Lying(self.0.repository(name)?, self.1)))
    }

    fn catalog(&self, cx: &Cx) -> BoxStream<Repository> {
        self.0.catalog(cx)
    }
}

#[async_trait]
impl ImageSource for Lying<Arc<dyn ImageStore>> {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        self.0.resolve(cx, name).await
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        self.0.manifest(cx, name).await
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        Arc::new(Lying(self.0.blob(descriptor), self.1))
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.0.referrers(cx, subject).await
    }

    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        self.0.tags(cx)
    }
}

#[async_trait]
impl ImageSink for Lying<Arc<dyn ImageStore>> {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        self.0.has_blob(cx, descriptor).await
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        self.0.put_blob(cx, blob).await
    }

    async fn put_manifest(&self, cx: &Cx, raw: &RawManifest, place: Place<'_>) -> Result<()> {
        self.0.put_manifest(cx, raw, place).await
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        self.0.delete(cx, name).await
    }
}

impl Blob for Lying<Arc<dyn Blob>> {
    fn descriptor(&self) -> &Descriptor {
        self.0.descriptor()
    }

    fn open(&self, range: Range<u64>) -> BoxStream<Bytes> {
        let (content, lie) = (self.0.open(range), self.1);
        if !self.descriptor().media_type().as_str().contains("layer") {
            return content;
        }
        let changed = async move {
            let mut bytes = content.try_collect::<Vec<_>>().await?.concat();
            let half = bytes.len() / 2;
            match lie {
                Lie::Bit => bytes[half] ^= 1,
                Lie::Short => bytes.truncate(half),
                Lie::Long => bytes.extend([0; 512]),
            }
            Ok(bytes.into())
        };
        futures_util::stream::once(changed).boxed()
    }
}

#[tokio::test]
async fn a_store_that_lies_about_a_layer_is_found_out_and_nothing_is_visible() {
    for lie in [Lie::Bit, Lie::Short, Lie::Long] {
        let house = House::new();
        house
            .publish(&house.package("1", &["hello"]), "h.io/demo:1.0")
            .await;
        house.install("h.io/demo:1.0").await.unwrap();
        let before = house.visible();
        house
            .publish(&house.package("2", &["hello"]), "h.io/demo:2.0")
            .await;
        let lying = Lying(house.repositories.clone(), lie);
        let spec = InstallSpec::new("h.io/demo:2.0".parse().unwrap());
        let error = install_from(&house.cx, &house.prefix, &lying, &spec).await;
        let error = error.unwrap_err();
        assert_eq!(error.class(), Class::Invalid);
        match (lie, error) {
            (Lie::Bit, Error::Store(ocicore::Error::Digest { .. })) => {}
            (Lie::Short | Lie::Long, Error::Store(ocicore::Error::Size { .. })) => {}
            (_, other) => panic!("{lie:?}: {other:?}"),
        }
        assert_eq!(house.visible(), before, "{lie:?}");
        let staging = house.prefix.root().join("staging");
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
        // And an honest store mends it.
        house.install("h.io/demo:2.0").await.unwrap();
    }
}

#[tokio::test]
async fn a_config_that_lies_about_a_layer_is_found_out() {
    let house = House::new();
    let content = layer(&tar(|_| {}));
    let lie = ocicore::Layer::new(Arc::clone(content.blob()), Digest::of(b"other"));
    let base = image(&[]);
    let image = ocicore::ImageBuilder::from_base(&base).unwrap().append(lie);
    house.push(image.build().unwrap(), "h.io/demo:1").await;
    let error = house.install("h.io/demo:1").await.unwrap_err();
    assert!(matches!(error, Error::DiffId { .. }));
    insta::assert_snapshot!(error);
    assert_eq!(house.visible(), Vec::<String>::new());
}
