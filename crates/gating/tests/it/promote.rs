use gating::{
    Error, Refusal,
    artifacts::Record,
    cleanup::Removal,
    promote::{self, Outcome, Promoted},
    temp_tag::Prefix,
    upload,
};
use ocicore::{
    Class, Cx, ImageStore, MediaType, Name, Place, RawManifest, Reference, Repositories,
    conformance::Fixture,
};
use std::sync::Arc;

use crate::counting::Counting;

const TEMPORARY: &str = "change_7_1_x_";

/// A registry to which `h.io/app` was uploaded with these tags.
struct Gate {
    cx: Cx,
    registry: Counting,
    record: Record,
    root: RawManifest,
}

impl Gate {
    async fn with(tags: &[&str]) -> Self {
        let (cx, registry, fixture) = (Cx::default(), Counting::default(), Fixture::index());
        let built = registry.repository(&"b.io/app".parse().unwrap()).unwrap();
        fixture.fill(&cx, &*built).await.unwrap();
        let images: Vec<_> = tags
            .iter()
            .map(|tag| {
                let target = format!("h.io/app:{tag}").parse().unwrap();
                upload::Image::new("b.io/app:v1".parse().unwrap(), target).unwrap()
            })
            .collect();
        let prefix = Prefix::change(7, "1", "x").unwrap();
        let plan = upload::plan(&cx, &registry, &registry, &prefix, &images)
            .await
            .unwrap();
        let record = upload::run(&cx, plan, &registry, &registry).await.unwrap();
        registry.take_log();
        let root = fixture.root().clone();
        Self {
            cx,
            registry,
            record,
            root,
        }
    }

    async fn promote(&self) -> gating::Result<Vec<Promoted>> {
        let plan = promote::plan(&self.cx, &self.registry, self.record.artifacts()).await?;
        promote::run(&self.cx, &plan, &self.registry).await
    }

    fn store(&self) -> Arc<dyn ImageStore> {
        let reference: Reference = "h.io/app".parse().unwrap();
        self.registry.repository(reference.repository()).unwrap()
    }

    /// What a tag is now, without a trace in the log.
    async fn manifest(&self, tag: &str) -> Option<RawManifest> {
        let before = self.registry.take_log();
        let name: Name = tag.parse().unwrap();
        let found = self.store().manifest(&self.cx, &name).await;
        self.registry.take_log();
        assert!(before.is_empty(), "take the log first: {before:?}");
        found.ok()
    }

    async fn move_tag(&self, tag: &str) -> RawManifest {
        let other = RawManifest::new(MediaType::OCI_INDEX, r#"{ "manifests": [] }"#);
        let tags = [tag.parse().unwrap()];
        self.store()
            .put_manifest(&self.cx, &other, Place::Root(&tags))
            .await
            .unwrap();
        self.registry.take_log();
        other
    }
}

#[tokio::test]
async fn one_get_one_put_and_the_temporary_tag_goes() {
    let gate = Gate::with(&["latest"]).await;
    let done = gate.promote().await.unwrap();
    assert_eq!(
        gate.registry.take_log(),
        [
            "GET manifest change_7_1_x_latest",
            "PUT manifest latest",
            "DELETE manifest change_7_1_x_latest",
        ]
    );
    assert_eq!(done[0].outcome, Outcome::Promoted);
    assert_eq!(done[0].removal, Removal::Removed);
    let promoted = gate.manifest("latest").await.unwrap();
    assert_eq!(promoted, gate.root, "bytes and media type are the same");
    assert_eq!(gate.manifest("change_7_1_x_latest").await, None);
}

#[tokio::test]
async fn to_run_again_changes_nothing() {
    let gate = Gate::with(&["latest"]).await;
    gate.promote().await.unwrap();
    gate.registry.take_log();
    let again = gate.promote().await.unwrap();
    assert_eq!(
        gate.registry.take_log(),
        ["GET manifest change_7_1_x_latest", "HEAD manifest latest"]
    );
    assert_eq!(again[0].outcome, Outcome::Present);
    assert_eq!(again[0].removal, Removal::Gone);
}

#[tokio::test]
async fn a_tag_that_moved_stops_all_images() {
    let gate = Gate::with(&["1", "2", "3"]).await;
    gate.move_tag("change_7_1_x_2").await;
    gate.store()
        .delete(&gate.cx, &"change_7_1_x_3".parse().unwrap())
        .await
        .unwrap();
    gate.registry.take_log();
    let error = gate.promote().await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    insta::assert_snapshot!(error);
    let Error::Refused(refusals) = error else {
        panic!("{error}");
    };
    assert!(matches!(refusals[0], Refusal::Moved { .. }));
    assert!(matches!(refusals[1], Refusal::Gone { found: None, .. }));
    let log = gate.registry.take_log();
    assert!(
        log.iter().all(|call| !call.starts_with("PUT")),
        "nothing is written: {log:?}"
    );
}

#[tokio::test]
async fn a_lost_tag_is_no_promotion_of_something_else() {
    let gate = Gate::with(&["latest"]).await;
    let other = gate.move_tag("latest").await;
    gate.store()
        .delete(&gate.cx, &"change_7_1_x_latest".parse().unwrap())
        .await
        .unwrap();
    let error = gate.promote().await.unwrap_err();
    insta::assert_snapshot!(error);
    gate.registry.take_log();
    assert_eq!(gate.manifest("latest").await, Some(other));
}

#[tokio::test]
async fn a_registry_that_cannot_remove_a_tag_keeps_it() {
    for class in [Class::Unsupported, Class::Denied] {
        let gate = Gate::with(&["latest"]).await;
        gate.registry
            .fail("DELETE manifest change_7_1_x_latest", class);
        let done = gate.promote().await.unwrap();
        assert_eq!(done[0].outcome, Outcome::Promoted);
        let reason = "failed to do `DELETE manifest change_7_1_x_latest` in the test: told to";
        assert_eq!(
            done[0].removal,
            Removal::Kept {
                reason: reason.to_owned()
            }
        );
        gate.registry.take_log();
        assert_eq!(gate.manifest("latest").await, Some(gate.root.clone()));
        // The manifest is never deleted by digest to get rid of the tag.
        assert!(gate.promote().await.is_ok());
    }
}

#[tokio::test]
async fn a_promotion_that_broke_off_is_finished_by_the_next() {
    let gate = Gate::with(&["1", "2"]).await;
    gate.registry.fail("PUT manifest 2", Class::Transient);
    assert_eq!(gate.promote().await.unwrap_err().class(), Class::Transient);
    let log = gate.registry.take_log();
    assert!(
        log.iter().all(|call| !call.starts_with("DELETE")),
        "no tag goes before all images are promoted: {log:?}"
    );
    gate.registry.heal();
    gate.promote().await.unwrap();
    gate.registry.take_log();
    for tag in ["1", "2"] {
        assert_eq!(gate.manifest(tag).await, Some(gate.root.clone()));
        assert_eq!(gate.manifest(&format!("{TEMPORARY}{tag}")).await, None);
    }
}

#[tokio::test]
async fn a_plan_is_data() {
    let gate = Gate::with(&["latest", "2"]).await;
    let artifacts = gate.record.artifacts();
    let plan = promote::plan(&gate.cx, &gate.registry, artifacts)
        .await
        .unwrap();
    insta::assert_json_snapshot!(plan);
    let log = gate.registry.take_log();
    assert!(log.iter().all(|call| call.starts_with("GET")), "{log:?}");
}

#[tokio::test]
async fn a_cancelled_promotion_says_so() {
    let gate = Gate::with(&["latest"]).await;
    gate.cx.cancel();
    assert_eq!(gate.promote().await.unwrap_err().class(), Class::Cancelled);
}

#[test]
fn futures_can_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let (cx, many) = (Cx::default(), Counting::default());
    spawnable(async move {
        let plan = promote::plan(&cx, &many, &[]).await?;
        promote::run(&cx, &plan, &many).await
    });
}
