use std::sync::Arc;

use ocicore::Cx;
use tokio::runtime::Handle;

use crate::{
    ContainerEngine, Result,
    spec::{ContainerId, ContainerSpec, ImageId, VolumeName, VolumeSpec},
};

/// Something at an engine that is removed when this is dropped.
///
/// A drop cannot wait: it starts the removal on the runtime. [`Temporary::remove`] waits for it,
/// and tells whether it worked.
#[derive(Debug)]
pub struct Temporary<T: Removable> {
    engine: Arc<dyn ContainerEngine>,
    /// None once it is removed or kept.
    thing: Option<T>,
}

impl Temporary<ContainerId> {
    /// Makes a container.
    ///
    /// # Errors
    /// As [`ContainerEngine::create_container`].
    pub async fn container(
        cx: &Cx,
        engine: &Arc<dyn ContainerEngine>,
        spec: &ContainerSpec,
    ) -> Result<Self> {
        let id = engine.create_container(cx, spec).await?;
        Ok(Self::new(engine, id))
    }
}

impl Temporary<VolumeName> {
    /// Makes a volume.
    ///
    /// # Errors
    /// As [`ContainerEngine::create_volume`].
    pub async fn volume(
        cx: &Cx,
        engine: &Arc<dyn ContainerEngine>,
        spec: &VolumeSpec,
    ) -> Result<Self> {
        let name = engine.create_volume(cx, spec).await?;
        Ok(Self::new(engine, name))
    }
}

impl<T: Removable> Temporary<T> {
    /// Something that is there already.
    pub fn new(engine: &Arc<dyn ContainerEngine>, thing: T) -> Self {
        Self {
            engine: Arc::clone(engine),
            thing: Some(thing),
        }
    }

    /// Removes it now.
    ///
    /// # Errors
    /// If that fails for another reason than that it is gone.
    pub async fn remove(mut self) -> Result<()> {
        // A context of its own: a cancelled one would leave it.
        let cx = Cx::default();
        match &self.thing {
            Some(thing) => {
                let removed = ignore_missing(thing.remove(&cx, &*self.engine).await);
                self.thing = None;
                removed
            }
            None => Ok(()),
        }
    }

    /// Keeps it.
    pub fn keep(mut self) -> T {
        self.thing
            .take()
            .expect("only `remove` and `keep` take it, and both end this")
    }

    /// What it is.
    pub fn get(&self) -> &T {
        self.thing
            .as_ref()
            .expect("only `remove` and `keep` take it, and both end this")
    }
}

impl<T: Removable> Drop for Temporary<T> {
    fn drop(&mut self) {
        let Some(thing) = self.thing.take() else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let removed = ignore_missing(thing.remove(&Cx::default(), &*engine).await);
                if let Err(error) = removed {
                    tracing::warn!(?thing, %error, "was not removed; `reap` will find it");
                }
            })),
            Err(_) => tracing::warn!(?thing, "no runtime to remove it; `reap` will find it"),
        }
    }
}

/// What a [`Temporary`] can hold; sealed, for the engine's port is.
pub trait Removable: private::Remove {}

impl Removable for ContainerId {}
impl Removable for VolumeName {}
impl Removable for ImageId {}

mod private {
    use std::fmt;

    use async_trait::async_trait;
    use ocicore::Cx;

    use super::{ContainerId, ImageId, VolumeName};
    use crate::{ContainerEngine, Result};

    #[async_trait]
    pub trait Remove: fmt::Debug + Clone + Send + Sync + 'static {
        async fn remove(&self, cx: &Cx, engine: &dyn ContainerEngine) -> Result<()>;
    }

    #[async_trait]
    impl Remove for ContainerId {
        async fn remove(&self, cx: &Cx, engine: &dyn ContainerEngine) -> Result<()> {
            engine.remove_container(cx, self).await
        }
    }

    #[async_trait]
    impl Remove for VolumeName {
        async fn remove(&self, cx: &Cx, engine: &dyn ContainerEngine) -> Result<()> {
            engine.remove_volume(cx, self).await
        }
    }

    #[async_trait]
    impl Remove for ImageId {
        async fn remove(&self, cx: &Cx, engine: &dyn ContainerEngine) -> Result<()> {
            engine.remove_image(cx, &(*self).into()).await
        }
    }
}

pub(crate) fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.class() == ocicore::Class::NotFound => Ok(()),
        result => result,
    }
}
