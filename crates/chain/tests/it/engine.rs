//! What becomes of a chain when its engine fails.

use std::{num::NonZero, sync::Arc, time::Duration};

use chain::{
    EngineBuilder, Error, Plan, Report, RunOptions, Selection,
    report::Outcome,
    run::{Event, Events},
};
use engine::{
    ContainerEngine, Owner,
    fake::{Fake, Fault},
};
use ocicore::{Class, Cx, Reference};
use tempfile::TempDir;

use crate::directory::{plan, project};

/// base <- mid <- leaf, free.
fn chain() -> (TempDir, Plan) {
    let root = project(&[
        (
            "docker/IMAGES.json",
            r#"{"images": [
  {"tag": "demo/base:1", "dockerfile": "Dockerfile"},
  {"tag": "demo/mid:1", "dockerfile": "Dockerfile.mid"},
  {"tag": "demo/leaf:1", "dockerfile": "Dockerfile.leaf"},
  {"tag": "demo/free:1", "dockerfile": "Dockerfile", "extra_args": "--label a=b --tag demo/also:1"}
]}"#,
        ),
        ("Dockerfile", "FROM scratch\n"),
        ("Dockerfile.mid", "FROM demo/base:1\n"),
        ("Dockerfile.leaf", "FROM demo/mid:1\n"),
    ]);
    let plan = plan(&root, &Selection::all()).unwrap();
    (root, plan)
}

fn fake() -> Fake {
    Fake::new(Owner::new("test").unwrap())
}

async fn run(cx: &Cx, fake: &Fake, root: &TempDir, plan: &Plan, events: Events) -> Report {
    let builder = EngineBuilder::new(Arc::new(fake.clone()), root.path());
    // One at a time, so that the order of calls is that of the plan.
    let options = RunOptions::default()
        .jobs(NonZero::<usize>::MIN)
        .events(events);
    chain::run(cx, plan, &builder, &options).await.unwrap()
}

fn words(report: &Report) -> Vec<String> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Built { .. } => "built".to_owned(),
        Outcome::Failed { class, .. } => format!("failed {class:?}"),
        Outcome::Blocked { by } => format!("blocked by {by}"),
        Outcome::Cancelled => "cancelled".to_owned(),
        other => panic!("{other:?}"),
    };
    report
        .images
        .iter()
        .map(|image| word(&image.outcome))
        .collect()
}

#[tokio::test]
async fn images_get_their_names_and_labels() {
    let (root, plan) = chain();
    let fake = fake();
    let report = run(&Cx::default(), &fake, &root, &plan, Events::discard()).await;
    assert_eq!(words(&report), ["built"; 4]);
    for (name, index) in [("demo/base:1", 0), ("demo/free:1", 3), ("demo/also:1", 3)] {
        let name: Reference = name.parse().unwrap();
        let info = fake
            .inspect_image(&Cx::default(), &name.into())
            .await
            .unwrap();
        assert_eq!(Outcome::Built { id: info.id }, report.images[index].outcome);
        assert_eq!(info.labels.contains_key("a"), index == 3);
    }
}

#[tokio::test]
async fn each_failure_of_the_engine_is_reported_and_blocks() {
    for (fault, class) in [
        (Fault::Exit(7), Class::Other),
        (Fault::Vanish { after: 2 }, Class::Transient),
        (Fault::Truncate { after: 3 }, Class::Transient),
        (Fault::DiskFull, Class::Exhausted),
    ] {
        let (root, plan) = chain();
        let fake = fake();
        fake.fail("build", 2, fault);
        let report = run(&Cx::default(), &fake, &root, &plan, Events::discard()).await;
        let failed = format!("failed {class:?}");
        let blocked = "blocked by dockerfile__demo/mid:1";
        assert_eq!(words(&report), ["built", &failed, blocked, "built"]);
        assert_eq!(
            fake.calls("build"),
            3,
            "what is blocked never reaches the engine"
        );
        assert_eq!(report.failure(), Some(Class::Other));
        let Outcome::Failed { tail, errors, .. } = &report.images[1].outcome else {
            panic!("{report:?}");
        };
        let causes = usize::from(fault == Fault::Vanish { after: 2 });
        assert_eq!(errors.len(), 1 + causes, "{errors:?}");
        assert_eq!(tail.is_empty(), fault == Fault::DiskFull, "{tail:?}");
    }
}

#[tokio::test]
async fn cancelling_ends_the_build_that_runs() {
    let (root, plan) = chain();
    let fake = fake();
    fake.fail("build", 2, Fault::Slow(Duration::from_secs(3600)));
    let cx = Cx::default();
    let events = Events::to({
        let cx = cx.clone();
        move |event| {
            if matches!(event, Event::Log { key, .. } if key == "dockerfile__demo/mid:1") {
                cx.cancel();
            }
        }
    });
    let report = run(&cx, &fake, &root, &plan, events).await;
    assert_eq!(
        words(&report),
        ["built", "cancelled", "cancelled", "cancelled"]
    );
    assert_eq!(report.failure(), Some(Class::Cancelled));
    assert_eq!(fake.calls("build"), 2);
}

#[tokio::test]
async fn packer_entries_are_refused_before_anything_is_built() {
    let root = project(&[
        (
            "docker/IMAGES.json",
            r#"{"images": [{"tag": "demo/base:1", "dockerfile": "Dockerfile"}, {"file": "pg-9.json"}]}"#,
        ),
        ("Dockerfile", "FROM scratch\n"),
        (
            "docker/packer/pg-9.json",
            r#"{"builders": [{"image": "demo/base:1"}], "variables": {"tag": "demo/pg:9"}}"#,
        ),
    ]);
    let plan = plan(&root, &Selection::all()).unwrap();
    let fake = fake();
    let builder = EngineBuilder::new(Arc::new(fake.clone()), root.path());
    let error = chain::run(&Cx::default(), &plan, &builder, &RunOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Unsupported { keys, .. } if keys == &["packer__pg-9.json"]));
    assert_eq!(error.class(), Class::Unsupported);
    assert_eq!(fake.calls("build"), 0);
}
