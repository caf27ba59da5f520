//! Stores that write down each call, and can be told to refuse one.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ocicore::{
    Blob, BoxStream, Class, Cx, Descriptor, Digest, Error, ImageSink, ImageSource, ImageStore,
    MemoryRepositories, Name, Place, RawManifest, Repositories, Repository, Result, Stored, Tag,
};

/// Calls, each as the request that a registry would see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counting {
    inner: MemoryRepositories,
    log: Arc<Mutex<Vec<String>>>,
    /// A call that fails, and how.
    fault: Arc<Mutex<Option<(String, Class)>>>,
}

impl Counting {
    /// The calls since the last time.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// Lets a call fail from now on.
    pub(crate) fn fail(&self, call: &str, class: Class) {
        *self.fault.lock().unwrap() = Some((call.to_owned(), class));
    }

    /// Lets all calls work again.
    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn note(&self, call: String) -> Result<()> {
        let fault = self.fault.lock().unwrap().clone();
        let result = match fault {
            Some((faulty, class)) if faulty == call => {
                Err(Error::store("do", &call, "the test", class, "told to"))
            }
            _ => Ok(()),
        };
        self.log.lock().unwrap().push(call);
        result
    }
}

#[deny(clippy::missing_trait_methods)]
impl Repositories for Counting {
    fn repository(&self, name: &Repository) -> Result<Arc<dyn ImageStore>> {
        Ok(Arc::new(Store {
            inner: self.inner.repository(name)?,
            all: self.clone(),
        }))
    }

    fn catalog(&self, cx: &Cx) -> BoxStream<Repository> {
        self.inner.catalog(cx)
    }
}

#[derive(Debug)]
struct Store {
    inner: Arc<dyn ImageStore>,
    all: Counting,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ImageSource for Store {
    async fn resolve(&self, cx: &Cx, name: &Name) -> Result<Descriptor> {
        self.all.note(format!("HEAD manifest {name}"))?;
        self.inner.resolve(cx, name).await
    }

    async fn manifest(&self, cx: &Cx, name: &Name) -> Result<RawManifest> {
        self.all.note(format!("GET manifest {name}"))?;
        self.inner.manifest(cx, name).await
    }

    fn blob(&self, descriptor: &Descriptor) -> Arc<dyn Blob> {
        self.inner.blob(descriptor)
    }

    async fn referrers(&self, cx: &Cx, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.all.note(format!("GET referrers {subject}"))?;
        self.inner.referrers(cx, subject).await
    }

    fn tags(&self, cx: &Cx) -> BoxStream<Tag> {
        self.inner.tags(cx)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ImageSink for Store {
    async fn has_blob(&self, cx: &Cx, descriptor: &Descriptor) -> Result<bool> {
        self.all
            .note(format!("HEAD blob {}", descriptor.digest()))?;
        self.inner.has_blob(cx, descriptor).await
    }

    async fn put_blob(&self, cx: &Cx, blob: &dyn Blob) -> Result<Stored> {
        self.all
            .note(format!("POST blob {}", blob.descriptor().digest()))?;
        self.inner.put_blob(cx, blob).await
    }

    async fn put_manifest(&self, cx: &Cx, manifest: &RawManifest, place: Place<'_>) -> Result<()> {
        let tags = match place {
            Place::Root(tags) => tags.iter().map(ToString::to_string).collect(),
            Place::Child => vec![manifest.digest().to_string()],
        };
        for tag in tags {
            self.all.note(format!("PUT manifest {tag}"))?;
        }
        self.inner.put_manifest(cx, manifest, place).await
    }

    async fn delete(&self, cx: &Cx, name: &Name) -> Result<()> {
        self.all.note(format!("DELETE manifest {name}"))?;
        self.inner.delete(cx, name).await
    }
}
