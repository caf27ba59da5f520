use std::{fs, io, path::PathBuf, time::SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{BoxStream, Error};

use super::{FsStorage, Key, Meta, UploadId, is_missing, stat};

/// Objects that one step looks at.
const BATCH: usize = 256;

/// What is still to be visited, the next at the end.
struct Walk {
    root: PathBuf,
    after: Option<Key>,
    stack: Vec<Entry>,
}

enum Entry {
    File(Key),
    Directory(Key),
}

pub(super) fn list(
    storage: FsStorage,
    prefix: &Key,
    after: Option<&Key>,
) -> BoxStream<(Key, Meta)> {
    let walk = Walk {
        root: storage.inner.root.clone(),
        after: after.cloned(),
        stack: vec![Entry::Directory(prefix.clone())],
    };
    let prefix = prefix.clone();
    stream::try_unfold(Some(walk), move |walk| {
        let (storage, prefix) = (storage.clone(), prefix.clone());
        async move {
            let Some(mut walk) = walk else {
                return Ok::<_, Error>(None);
            };
            let step = storage
                .run("list", &prefix, move |_| {
                    let batch = walk.step()?;
                    Ok((batch, (!walk.stack.is_empty()).then_some(walk)))
                })
                .await?;
            Ok(Some(step))
        }
    })
    .map_ok(|batch| stream::iter(batch.into_iter().map(Ok)))
    .try_flatten()
    .boxed()
}

impl Walk {
    fn step(&mut self) -> io::Result<Vec<(Key, Meta)>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(entry) = self.stack.pop()
        {
            match entry {
                Entry::File(key) => {
                    // It may be gone by now.
                    if let Some(meta) = stat(&self.root.join(key.as_str()))? {
                        batch.push((key, meta));
                    }
                }
                Entry::Directory(key) => self.visit(&key)?,
            }
        }
        Ok(batch)
    }

    fn visit(&mut self, directory: &Key) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(directory.as_str())) {
            Ok(entries) => entries,
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // What is no key was not put here by a storage.
            let key = name
                .to_str()
                .and_then(|name| format!("{directory}/{name}").parse::<Key>().ok());
            let Some(key) = key else { continue };
            let is_directory = entry.file_type()?.is_dir();
            let order = if is_directory {
                format!("{key}/")
            } else {
                key.as_str().to_owned()
            };
            let wanted = self.after.as_ref().is_none_or(|after| {
                order.as_str() > after.as_str()
                    || after.as_str().starts_with(&order) && is_directory
            });
            if wanted {
                let entry = if is_directory {
                    Entry::Directory(key)
                } else {
                    Entry::File(key)
                };
                found.push((order, entry));
            }
        }
        found.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.stack.extend(found.into_iter().map(|(_, entry)| entry));
        Ok(())
    }
}

pub(super) fn uploads(storage: FsStorage) -> BoxStream<(UploadId, SystemTime)> {
    let all = async move {
        let found = storage
            .run("list", "uploads", |inner| {
                let mut found = Vec::new();
                for entry in fs::read_dir(inner.root.join(".uploads"))? {
                    let entry = entry?;
                    let id = entry
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse().ok());
                    if let Some(id) = id
                        && let Some(meta) = stat(&entry.path())?
                    {
                        found.push((id, meta.modified));
                    }
                }
                found.sort();
                Ok(found)
            })
            .await?;
        Ok::<_, Error>(stream::iter(found.into_iter().map(Ok)))
    };
    stream::once(all).try_flatten().boxed()
}
