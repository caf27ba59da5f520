//! An engine in memory that fails as it is told to.
//!
//! It is for tests of what a program does when an engine fails, without one. It knows names, labels
//! and states, and runs nothing: a build that does not fail makes an image whose id follows from the
//! context and the spec, a container ends with exit code 0 at once. That a build or a command really
//! works is for a real engine to show.
//!
//! ```
//! use std::sync::Arc;
//! use engine::{ContainerEngine, Error, Owner, fake::{Fake, Fault}, log::Log, spec::BuildSpec};
//! use ocicore::{BytesBlob, Cx, MediaType};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Fake::new(Owner::new("test")?);
//! // The second build loses its engine after one event.
//! engine.fail("build", 2, Fault::Vanish { after: 1 });
//!
//! let cx = Cx::default();
//! let context = Arc::new(BytesBlob::new(MediaType::OCI_LAYER, "a tar"));
//! let spec = BuildSpec::new(context).tag("example/app".parse()?);
//! engine.build(&cx, &spec, &Log::discard()).await?;
//! let error = engine.build(&cx, &spec, &Log::discard()).await.unwrap_err();
//! assert!(matches!(error, Error::Vanished { .. }));
//! # Ok(())
//! # }
//! ```

mod engine;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future;
use ocicore::{Cx, Digest, Platform, Reference};

use crate::{
    ContainerInfo, Error, ImageInfo, Label, Owner, Result, VolumeInfo,
    log::{Event, Log, Tail},
    spec::{ContainerId, ImageId, ImageName, VolumeName},
};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection breaks after this many events.
    Vanish {
        /// Events before.
        after: usize,
    },
    /// The answer ends after this many events as if all were well, but without its result.
    Truncate {
        /// Events before.
        after: usize,
    },
    /// The engine's disk is full.
    DiskFull,
    /// The state of things forbids it, such as a container that does not run yet.
    Conflict,
    /// Nothing happens for this long, then it succeeds. Cancelling ends it, as everything.
    Slow(Duration),
    /// A command ends with this exit code; of a build, the last step.
    Exit(i64),
}

/// The engine. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Fake {
    owner: Owner,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Operations so far, by name.
    calls: BTreeMap<&'static str, u32>,
    faults: BTreeMap<(&'static str, u32), Fault>,
    count: u32,
    containers: BTreeMap<ContainerId, ContainerInfo>,
    images: BTreeMap<ImageId, ImageInfo>,
    volumes: BTreeMap<VolumeName, VolumeInfo>,
}

impl Fake {
    /// An engine without anything.
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            state: Arc::default(),
        }
    }

    /// Makes the `n`th call, from 1, of an operation fail. Operations are called like the methods of
    /// the port.
    pub fn fail(&self, operation: &'static str, n: u32, fault: Fault) {
        self.state().faults.insert((operation, n), fault);
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: &str) -> u32 {
        self.state().calls.get(operation).copied().unwrap_or(0)
    }

    /// Adds an image, as if it had been loaded.
    pub fn add_image(&self, name: &Reference) -> ImageId {
        let id = Digest::of(name.to_string().as_bytes()).into();
        self.state().keep_image(id, Some(name), BTreeMap::new());
        id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and does what was ordered for it; gives the exit code of its command.
    async fn call(
        &self,
        cx: &Cx,
        action: &'static str,
        subject: &str,
        events: Vec<Event>,
        log: &Log,
    ) -> Result<(i64, Tail)> {
        cx.check()?;
        let fault = {
            let mut state = self.state();
            let n = state.calls.entry(action).or_default();
            *n += 1;
            let n = *n;
            state.faults.get(&(action, n)).copied()
        };
        let shown = match fault {
            Some(Fault::Vanish { after } | Fault::Truncate { after }) => after,
            Some(Fault::DiskFull | Fault::Conflict) => 0,
            _ => usize::MAX,
        };
        let mut tail = Tail::default();
        for event in events.into_iter().take(shown) {
            tail.push(&event);
            log.send(event).await;
        }
        let subject = subject.to_owned();
        match fault {
            None => Ok((0, tail)),
            Some(Fault::Exit(code)) => Ok((code, tail)),
            Some(Fault::Slow(time)) => {
                let stopped = std::pin::pin!(cx.cancelled());
                let slept = std::pin::pin!(tokio::time::sleep(time));
                match future::select(stopped, slept).await {
                    future::Either::Left(_) => Err(Error::Cancelled),
                    future::Either::Right(_) => Ok((0, tail)),
                }
            }
            Some(Fault::DiskFull) => Err(Error::DiskFull {
                action,
                subject,
                message: "no space left on device".to_owned(),
            }),
            Some(Fault::Conflict) => Err(Error::Conflict {
                action,
                subject,
                message: "it is in the wrong state".to_owned(),
            }),
            Some(Fault::Vanish { .. }) => Err(Error::Vanished {
                action,
                subject,
                tail,
                source: Some("connection reset".into()),
            }),
            Some(Fault::Truncate { .. }) => Err(Error::Vanished {
                action,
                subject,
                tail,
                source: None,
            }),
        }
    }

    async fn quiet(&self, cx: &Cx, action: &'static str, subject: impl ToString) -> Result<()> {
        let (subject, log) = (subject.to_string(), Log::discard());
        let done = self.call(cx, action, &subject, Vec::new(), &log).await;
        done.map(drop)
    }
}

impl State {
    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn keep_image(
        &mut self,
        id: ImageId,
        name: Option<&Reference>,
        labels: BTreeMap<String, String>,
    ) {
        let image = self.images.entry(id).or_insert_with(|| ImageInfo {
            id,
            references: Vec::new(),
            digests: Vec::new(),
            platform: Platform::host(),
            size: 0,
            labels,
            env: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
            diff_ids: vec![*id.digest()],
        });
        image.references.extend(name.cloned());
        for (other, image) in &mut self.images {
            // A name moves.
            image
                .references
                .retain(|known| *other == id || Some(known) != name);
            image.references.sort();
            image.references.dedup();
        }
    }

    fn image(&self, name: &ImageName) -> Result<&ImageInfo> {
        let found = match name {
            ImageName::Id(id) => self.images.get(id),
            ImageName::Reference(reference) => self
                .images
                .values()
                .find(|image| image.references.contains(reference)),
        };
        found.ok_or_else(|| missing("image", name))
    }

    fn container(&mut self, id: &ContainerId) -> Result<&mut ContainerInfo> {
        self.containers
            .values_mut()
            .find(|container| container.id == *id || container.name == id.as_str())
            .ok_or_else(|| missing("container", id))
    }
}

fn missing(kind: &'static str, name: impl ToString) -> Error {
    Error::NotFound {
        kind,
        name: name.to_string(),
    }
}

fn has_all(labels: &BTreeMap<String, String>, wanted: &[Label]) -> bool {
    wanted.iter().all(|label| label.matches(labels))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use ocicore::{BytesBlob, Class, MediaType};

    use super::*;
    use crate::{
        ContainerEngine,
        spec::{BuildSpec, ContainerSpec},
    };

    fn fake() -> (Arc<dyn ContainerEngine>, Fake) {
        let fake = Fake::new(Owner::new("test").unwrap());
        (Arc::new(fake.clone()), fake)
    }

    fn spec() -> BuildSpec {
        let context = BytesBlob::new(MediaType::OCI_LAYER, "a tar");
        BuildSpec::new(Arc::new(context)).tag("a/b".parse().unwrap())
    }

    #[tokio::test]
    async fn each_fault_is_an_error_of_its_kind() {
        let (engine, fake) = fake();
        let cases = [
            (Fault::Vanish { after: 1 }, Class::Transient, 1),
            (Fault::Truncate { after: 2 }, Class::Transient, 2),
            (Fault::DiskFull, Class::Exhausted, 0),
            (Fault::Exit(3), Class::Other, 3),
        ];
        for (n, (fault, class, events)) in (1..).zip(cases) {
            fake.fail("build", n, fault);
            let (log, seen) = Log::channel(10);
            let error = engine
                .build(&Cx::default(), &spec(), &log)
                .await
                .unwrap_err();
            drop(log);
            assert_eq!(error.class(), class, "{error:?}");
            assert_eq!(seen.collect::<Vec<_>>().await.len(), events);
            assert!(engine.images(&Cx::default(), &[]).await.unwrap().is_empty());
        }
        engine
            .build(&Cx::default(), &spec(), &Log::discard())
            .await
            .unwrap();
        assert_eq!(fake.calls("build"), 5);
    }

    #[tokio::test]
    async fn a_container_is_gone_after_any_fault() {
        let (engine, fake) = fake();
        let name: Reference = "a/b".parse().unwrap();
        fake.add_image(&name);
        fake.fail("run_container", 1, Fault::Vanish { after: 1 });
        fake.fail("run_container", 2, Fault::Slow(Duration::from_secs(3600)));
        let spec = ContainerSpec::new(name);
        let cx = Cx::default();
        let error = crate::run(&cx, &engine, &spec, &Log::discard())
            .await
            .unwrap_err();
        assert_eq!(error.tail(), ["line 1"]);
        let running = tokio::spawn({
            let (cx, engine, spec) = (cx.clone(), Arc::clone(&engine), spec.clone());
            async move { crate::run(&cx, &engine, &spec, &Log::discard()).await }
        });
        tokio::task::yield_now().await;
        cx.cancel();
        assert!(matches!(running.await.unwrap(), Err(Error::Cancelled)));
        let cx = Cx::default();
        assert_eq!(engine.containers(&cx, &[]).await.unwrap(), []);
        let exit = crate::run(&cx, &engine, &spec, &Log::discard())
            .await
            .unwrap();
        exit.success().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_limit_kills() {
        let (engine, fake) = fake();
        let name: Reference = "a/b".parse().unwrap();
        fake.add_image(&name);
        fake.fail("run_container", 1, Fault::Slow(Duration::from_secs(100)));
        // It has not started yet.
        fake.fail("signal", 1, Fault::Conflict);
        let spec = ContainerSpec::new(name).time_limit(Duration::from_secs(1));
        let error = crate::run(&Cx::default(), &engine, &spec, &Log::discard()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, Error::TimeLimit { .. }), "{error:?}");
        assert_eq!(error.tail().len(), 3);
        assert_eq!(fake.calls("signal"), 2);
    }
}
