use std::{collections::BTreeMap, sync::Arc, time::Duration};

use engine::{
    EngineKind, ReapOptions, Temporary,
    owner::{LEASE, OWNER},
    spec::VolumeSpec,
};
use futures_util::{StreamExt, TryStreamExt};

use crate::bench::Bench;

pub(crate) async fn what_a_killed_process_left_is_removed(bench: Arc<Bench>) {
    let (cx, engine) = (&bench.cx, &bench.engine);
    // Labels of a spec win, so that we can pretend to be a process that has gone.
    let ours = engine.owner().lease(cx.now());
    let mut parts: Vec<&str> = ours[LEASE].split('/').collect();
    let dead = "4194304";
    parts[2] = dead;
    let gone = parts.join("/");
    let far = ["another-boot", "1", dead, "1", "1000000000"].join("/");
    let spec = |lease: &str| bench.shell("sleep 60").label(LEASE, lease);
    let alive = Temporary::container(cx, engine, &bench.shell("sleep 60"))
        .await
        .unwrap();
    let kept = engine
        .create_container(cx, &bench.shell("sleep 60").kept())
        .await
        .unwrap();
    let left = engine.create_container(cx, &spec(&gone)).await.unwrap();
    engine.start(cx, &left).await.unwrap();
    let from_afar = engine.create_container(cx, &spec(&far)).await.unwrap();
    let volume = engine
        .create_volume(cx, &VolumeSpec::anonymous().label(LEASE, &gone))
        .await
        .unwrap();
    let own_volume = Temporary::volume(cx, engine, &VolumeSpec::anonymous())
        .await
        .unwrap();

    let patient = ReapOptions::default().older_than(Duration::from_secs(100 * 365 * 24 * 3600));
    let found = engine::leftovers(cx, &**engine, &patient).await.unwrap();
    assert_eq!(found.containers, [left]);
    assert_eq!(found.volumes, [volume]);
    let removed = engine::reap(cx, &**engine, &patient).await.unwrap();
    assert_eq!(removed, found);
    // By age only.
    let removed = engine::reap(cx, &**engine, &ReapOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (removed.containers, removed.volumes),
        (vec![from_afar], vec![])
    );

    assert_eq!(bench.things().await.len(), 3);
    engine.remove_container(cx, &kept).await.unwrap();
    alive.remove().await.unwrap();
    own_volume.remove().await.unwrap();
}

pub(crate) async fn events_are_told(bench: Arc<Bench>) {
    let (cx, engine) = (bench.cx.child(), &bench.engine);
    let ours = [engine::Label::with(OWNER, engine.owner().name())];
    let events = engine.events(&cx, &ours).await.unwrap();
    // Nobody reads yet.
    bench.run(&bench.shell("exit 3")).await.unwrap();
    let mut events = events.try_filter(|event| {
        let wanted = event.kind == "container" && event.action == "die";
        std::future::ready(wanted)
    });
    let event = events.next().await.unwrap().unwrap();
    let attributes: BTreeMap<String, String> = event.attributes;
    assert_eq!(attributes[OWNER], engine.owner().name());
    let code = attributes
        .get("exitCode")
        .or_else(|| attributes.get("containerExitCode"));
    assert_eq!(code.map(String::as_str), Some("3"), "{attributes:?}");
    cx.cancel();
    let last = events.collect::<Vec<_>>().await.pop().unwrap();
    assert!(matches!(last, Err(ocicore::Error::Cancelled)), "{last:?}");
}

pub(crate) async fn the_engine_says_what_it_is(bench: Arc<Bench>) {
    let version = bench.engine.version(&bench.cx).await.unwrap();
    assert_eq!(version.platform.os(), "linux");
    assert!(!version.version.is_empty());
    let (major, minor) = version.api.split_once('.').unwrap();
    assert_eq!(major, "1");
    assert!(minor.parse::<u32>().unwrap() >= 41);
    assert!(matches!(
        version.kind,
        EngineKind::Docker | EngineKind::Podman
    ));
}
