use std::time::Duration;

use ocicore::{Class, Cx};

use crate::{
    ContainerEngine, Error, Label, Result,
    owner::{Holder, LEASE, Lease, OWNER},
    spec::{ContainerId, VolumeName},
};

/// What is taken for left behind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReapOptions {
    older_than: Duration,
}

impl Default for ReapOptions {
    fn default() -> Self {
        Self {
            older_than: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl ReapOptions {
    /// Age from which things are removed whose holder cannot be asked, because it runs on another
    /// machine or in another container, or ran before the last boot; 24 hours.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = age;
        self
    }
}

/// What was, or would be, removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// Containers, in the order of their ids.
    pub containers: Vec<ContainerId>,
    /// Volumes, in the order of their names.
    pub volumes: Vec<VolumeName>,
}

/// Finds what killed processes of the engine's owner left, removing nothing.
///
/// # Errors
/// If things cannot be listed.
pub async fn leftovers(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    options: &ReapOptions,
) -> Result<Leftovers> {
    let ours = [
        Label::with(OWNER, engine.owner().name()),
        Label::named(LEASE),
    ];
    let now = cx.now();
    let left = |lease: Option<&String>| {
        // A lease that cannot be read is of a later version of this crate, which will reap it.
        lease
            .and_then(|text| Lease::parse(text))
            .is_some_and(|lease| match lease.holder() {
                Holder::Alive => false,
                Holder::Dead => true,
                Holder::Unknown => lease.age(now) > options.older_than,
            })
    };
    let containers = engine.containers(cx, &ours).await?;
    let volumes = engine.volumes(cx, &ours).await?;
    Ok(Leftovers {
        containers: containers
            .into_iter()
            .filter(|container| left(container.labels.get(LEASE)))
            .map(|container| container.id)
            .collect(),
        volumes: volumes
            .into_iter()
            .filter(|volume| left(volume.labels.get(LEASE)))
            .map(|volume| volume.name)
            .collect(),
    })
}

/// Removes what killed processes of the engine's owner left, and tells what that was. What somebody
/// else removes at the same time is not counted.
///
/// # Errors
/// The first one, after all that can be removed is.
pub async fn reap(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    options: &ReapOptions,
) -> Result<Leftovers> {
    let found = leftovers(cx, engine, options).await?;
    let mut removed = Leftovers::default();
    let mut first: Option<Error> = None;
    let mut note = |result: Result<()>| match result {
        Ok(()) => true,
        Err(error) if error.class() == Class::NotFound => false,
        Err(error) => {
            first.get_or_insert(error);
            false
        }
    };
    for container in found.containers {
        if note(engine.remove_container(cx, &container).await) {
            removed.containers.push(container);
        }
    }
    // Volumes last: a container that uses one protects it.
    for volume in found.volumes {
        if note(engine.remove_volume(cx, &volume).await) {
            removed.volumes.push(volume);
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(removed),
    }
}
