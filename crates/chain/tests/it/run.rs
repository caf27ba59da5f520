use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chain::{
    Builder, Error, Plan, Report, Result, RunOptions, Selection, Step,
    report::Outcome,
    run::{Event, Events},
};
use engine::{log::Log, spec::ImageId};
use ocicore::{Algorithm, Class, Cx};
use proptest::prelude::*;
use tokio::sync::Barrier;

use crate::directory::{plan, project};

/// A builder that records what it is asked for.
#[derive(Debug, Default)]
struct Recorder {
    fails: BTreeSet<String>,
    cancels: Option<String>,
    /// All that reach it wait for each other.
    barrier: Option<Barrier>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    order: Vec<String>,
    built: BTreeSet<String>,
    running: usize,
    most: usize,
}

#[async_trait]
impl Builder for Recorder {
    fn check(&self, _: &Plan) -> Result<()> {
        Ok(())
    }

    async fn build(&self, cx: &Cx, step: &Step, log: &Log) -> Result<ImageId> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.order.push(step.label());
            seen.running += 1;
            seen.most = seen.most.max(seen.running);
            for parent in step.needs() {
                assert!(seen.built.contains(parent), "{} before {parent}", step.key);
            }
        }
        log.send(engine::log::Event::Message("working".to_owned()))
            .await;
        if let Some(barrier) = &self.barrier {
            barrier.wait().await;
        }
        tokio::task::yield_now().await;
        let mut seen = self.seen.lock().unwrap();
        seen.running -= 1;
        if self.cancels.as_ref() == Some(&step.label()) {
            cx.cancel();
            return Err(Error::Cancelled);
        }
        if self.fails.contains(&step.label()) {
            return Err(Error::Builder("no space left".into()));
        }
        seen.built.insert(step.key.clone());
        Ok(Algorithm::Sha256.digest(step.key.as_bytes()).into())
    }
}

/// Images `0`, `1`, … with their parents.
fn chain(parents: &[&[usize]]) -> Plan {
    let images: Vec<_> = (0..parents.len())
        .map(|n| format!("{{\"tag\": \"i/{n}:1\", \"dockerfile\": \"Dockerfile.{n}\"}}"))
        .collect();
    let mut files = vec![(
        "docker/IMAGES.json".to_owned(),
        format!("{{\"images\": [{}]}}", images.join(",")),
    )];
    for (n, parents) in parents.iter().enumerate() {
        let copies = parents
            .iter()
            .map(|parent| format!("COPY --from=i/{parent}:1 / /\n"));
        files.push((
            format!("Dockerfile.{n}"),
            format!("FROM scratch\n{}", copies.collect::<String>()),
        ));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    plan(&project(&files), &Selection::all()).unwrap()
}

fn jobs(jobs: usize) -> RunOptions {
    RunOptions::default().jobs(NonZero::new(jobs).unwrap())
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Built { .. } => "built".to_owned(),
        Outcome::Failed { errors, .. } => format!("failed {}", errors.join(": ")),
        Outcome::Blocked { by } => format!("blocked by {by}"),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Skipped => "skipped".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn shorts(report: &Report) -> Vec<String> {
    report
        .images
        .iter()
        .map(|image| format!("{} {}", image.image, short(&image.outcome)))
        .collect()
}

#[tokio::test]
async fn one_job_builds_in_the_order_of_the_plan() {
    let plan = chain(&[&[3], &[], &[1], &[]]);
    let builder = Recorder::default();
    let report = chain::run(&Cx::default(), &plan, &builder, &jobs(1))
        .await
        .unwrap();
    assert_eq!(report.failure(), None);
    let seen = builder.seen.into_inner().unwrap();
    assert_eq!(seen.order, ["i/1:1", "i/2:1", "i/3:1", "i/0:1"]);
    assert_eq!(seen.most, 1);
}

#[tokio::test]
async fn as_many_are_built_at_once_as_there_are_jobs() {
    let plan = chain(&[&[], &[], &[], &[], &[], &[]]);
    // Nobody gets through the barrier alone, so that this ends only if three run at once.
    let builder = Recorder {
        barrier: Some(Barrier::new(3)),
        ..Recorder::default()
    };
    let report = chain::run(&Cx::default(), &plan, &builder, &jobs(3))
        .await
        .unwrap();
    assert_eq!(report.failure(), None);
    assert_eq!(builder.seen.into_inner().unwrap().most, 3);
}

#[tokio::test]
async fn a_failed_image_blocks_its_descendants_and_nothing_else() {
    // 0 <- 1 <- 2, 1 <- 3, 4 needs 2 and 5; 5 and 6 are free of it.
    let plan = chain(&[&[], &[0], &[1], &[1], &[2, 5], &[], &[5, 0]]);
    for count in [1, 2, 4] {
        let builder = Recorder {
            fails: ["i/1:1".to_owned()].into(),
            ..Recorder::default()
        };
        let report = chain::run(&Cx::default(), &plan, &builder, &jobs(count))
            .await
            .unwrap();
        assert_eq!(report.failure(), Some(Class::Other));
        let by = "blocked by dockerfile__i/1:1";
        assert_eq!(
            shorts(&report),
            [
                "i/0:1 built".to_owned(),
                "i/1:1 failed no space left".to_owned(),
                format!("i/2:1 {by}"),
                format!("i/3:1 {by}"),
                "i/5:1 built".to_owned(),
                format!("i/4:1 {by}"),
                "i/6:1 built".to_owned(),
            ]
        );
    }
}

#[tokio::test]
async fn a_cancelled_run_reports_what_was_done() {
    let plan = chain(&[&[], &[], &[0], &[]]);
    let builder = Recorder {
        cancels: Some("i/1:1".to_owned()),
        ..Recorder::default()
    };
    let report = chain::run(&Cx::default(), &plan, &builder, &jobs(1))
        .await
        .unwrap();
    assert_eq!(report.failure(), Some(Class::Cancelled));
    assert_eq!(
        shorts(&report),
        [
            "i/0:1 built",
            "i/1:1 cancelled",
            "i/2:1 cancelled",
            "i/3:1 cancelled"
        ]
    );
}

#[tokio::test]
async fn events_tell_each_image() {
    let plan = chain(&[&[], &[0], &[1]]);
    let builder = Recorder {
        fails: ["i/1:1".to_owned()].into(),
        ..Recorder::default()
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = Events::to({
        let seen = Arc::clone(&seen);
        move |event| {
            seen.lock().unwrap().push(match event {
                Event::Started { key } => format!("{key} started"),
                Event::Log { key, event } => format!("{key} {event:?}"),
                Event::Finished { key, outcome } => format!("{key} {}", short(&outcome)),
                other => panic!("{other:?}"),
            });
        }
    });
    chain::run(&Cx::default(), &plan, &builder, &jobs(2).events(events))
        .await
        .unwrap();
    insta::assert_snapshot!(seen.lock().unwrap().join("\n"));
}

#[tokio::test]
async fn a_report_is_data() {
    let plan = chain(&[&[], &[0]]);
    let builder = Recorder {
        fails: ["i/0:1".to_owned()].into(),
        ..Recorder::default()
    };
    let report = chain::run(&Cx::default(), &plan, &builder, &jobs(1))
        .await
        .unwrap();
    insta::assert_json_snapshot!(report, {".images[].duration" => "[duration]"});
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_built_on_a_parent_that_failed(
        edges in prop::collection::vec((0..8_usize, 0..8_usize), 0..14),
        fails in prop::collection::btree_set(0..8_usize, 0..4),
        count in 1..5_usize,
    ) {
        let mut parents = vec![Vec::new(); 8];
        for (a, b) in edges {
            if a != b {
                parents[a.max(b)].push(a.min(b));
            }
        }
        let parents: Vec<_> = parents.iter().map(|parents| &**parents).collect();
        let plan = chain(&parents);
        // The builder itself checks that all that an image needs is built.
        let builder = Recorder {
            fails: fails.iter().map(|n| format!("i/{n}:1")).collect(),
            ..Recorder::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(chain::run(&Cx::default(), &plan, &builder, &jobs(count))).unwrap();
        let seen = builder.seen.into_inner().unwrap();
        prop_assert!(seen.most <= count);
        let doomed = |n: usize| {
            let mut left = vec![n];
            let mut doomed = false;
            while let Some(n) = left.pop() {
                doomed |= fails.contains(&n);
                left.extend(parents[n]);
            }
            doomed
        };
        for image in &report.images {
            let n: usize = image.image[2..3].parse().unwrap();
            let built = matches!(image.outcome, Outcome::Built { .. });
            prop_assert_eq!(built, !doomed(n), "{}", image.image);
        }
    }
}
