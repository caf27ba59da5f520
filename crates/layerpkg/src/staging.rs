//! Where content is put together before it is visible.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use ocicore::{Cx, Digest};

use crate::{
    Prefix, Result,
    commit::{create_directory, names, remove_directory},
    lock::Lock,
};

const LOCK: &str = ".lock";

/// A directory for the content of one digest. Its lock tells others that somebody works in it. All
/// threads that do hold it, also those whose future was dropped; the last one removes it.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    /// There until it is dropped.
    lock: Option<Lock>,
}

impl Staging {
    /// Takes the directory, which is empty then, waiting for whoever has it.
    pub(crate) async fn acquire(cx: &Cx, prefix: &Prefix, digest: &Digest) -> Result<Arc<Self>> {
        let root = prefix.staging();
        create_directory(&root)?;
        let path = root.join(digest.hex());
        let lock = Lock::acquire(cx, &lock_of(&path)).await?;
        let staging = Self {
            path,
            lock: Some(lock),
        };
        // Who had it may have been killed.
        remove_directory(&staging.path)?;
        create_directory(&staging.path)?;
        Ok(Arc::new(staging))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // In this order: a directory without its lock would be nobody's.
        let removed = remove_directory(&self.path)
            .and_then(|()| self.lock.take().map_or(Ok(()), Lock::remove));
        if let Err(error) = removed {
            let path = self.path.display();
            tracing::warn!(%path, %error, "staging is left for the next install to remove");
        }
    }
}

/// Removes what processes that were killed have left, at whatever moment.
pub(crate) fn sweep(prefix: &Prefix) -> Result<()> {
    let root = prefix.staging();
    let names = names(&root)?;
    let left: BTreeSet<&str> = names
        .iter()
        .map(|name| name.strip_suffix(LOCK).unwrap_or(name))
        .collect();
    for name in left {
        let path = root.join(name);
        if let Some(lock) = Lock::try_acquire(&lock_of(&path))? {
            tracing::debug!(name, "removing what a killed install left");
            remove_directory(&path)?;
            lock.remove()?;
        }
    }
    Ok(())
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOCK);
    name.into()
}
