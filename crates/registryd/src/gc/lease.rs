use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use ocicore::Cx;

use crate::{
    Result,
    links::keys,
    storage::{Storage, Version, When, conflict},
};

/// How often who holds it says so.
const RENEWAL: Duration = Duration::from_secs(60);
/// Who has not said so for that long is thought dead.
const LONGEST: Duration = Duration::from_secs(600);

/// The right to collect, which one has at a time over all processes.
pub(super) struct Lease {
    storage: Arc<dyn Storage>,
    version: Version,
}

impl Lease {
    pub(super) async fn take(cx: &Cx, storage: &Arc<dyn Storage>) -> Result<Self> {
        let key = keys::lease();
        let taken = match storage.head(&key).await? {
            None => storage.put(&key, Bytes::new(), When::Absent).await?,
            Some(meta) => {
                let age = cx.now().duration_since(meta.modified);
                // Of the future is none: clocks differ a little.
                let age = age.unwrap_or_default();
                if age < LONGEST {
                    return Err(
                        conflict("start", "garbage collection, which runs elsewhere").into(),
                    );
                }
                storage
                    .put(&key, Bytes::new(), When::Unchanged(&meta.version))
                    .await?
            }
        };
        Ok(Self {
            storage: Arc::clone(storage),
            version: taken,
        })
    }

    /// Says again and again that it is held; ends with an error when it no longer is.
    pub(super) async fn keep(&mut self) -> Result<Infallible> {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let key = keys::lease();
            let unchanged = When::Unchanged(&self.version);
            self.version = self.storage.put(&key, Bytes::new(), unchanged).await?;
        }
    }

    pub(super) async fn release(self) -> Result<()> {
        let unchanged = When::Unchanged(&self.version);
        Ok(self.storage.delete(&keys::lease(), unchanged).await?)
    }
}
