use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use ocicore::Cx;

use crate::{
    Result,
    links::keys,
    storage::{Storage, Version, When, conflict},
};

/// A run that takes longer is thought dead.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

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
                let age = age.unwrap_or_else(|_| {
                    SystemTime::now()
                        .duration_since(meta.modified)
                        .unwrap_or_default()
                });
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

    pub(super) async fn release(self) -> Result<()> {
        let unchanged = When::Unchanged(&self.version);
        Ok(self.storage.delete(&keys::lease(), unchanged).await?)
    }
}
