//! The suite that every implementation of the ports runs in its own tests.
//!
//! Two levels: [`Suite::source`] checks a source that holds a [`Fixture`], [`Suite::store`] checks
//! everything of a store. Both panic at the first deviation, naming the case.
//!
//! ```
//! use std::sync::Arc;
//! use ocicore::{Memory, conformance::Suite};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! Suite::default().store(async || Arc::new(Memory::default()) as _).await;
//! # Ok(())
//! # }
//! ```

#![expect(clippy::unwrap_used, reason = "a suite fails by its panics")]

mod blobs;
pub mod errors;
mod fixture;
mod manifests;
pub mod peer;

use std::{future::Future, sync::Arc, time::Duration};

use crate::{Class, Cx, ImageSource, ImageStore, Name, Result};

pub use fixture::Fixture;

/// What is to be checked. By default all of it; a foreign server that cannot do a thing is told
/// apart here, so that the gap is seen in the test that runs the suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    sha512: bool,
    referrers: bool,
    delete_tag: bool,
    foreign_manifests: bool,
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            sha512: true,
            referrers: true,
            delete_tag: true,
            foreign_manifests: true,
        }
    }
}

impl Suite {
    /// For a store that knows no SHA-512.
    pub fn without_sha512(mut self) -> Self {
        self.sha512 = false;
        self
    }

    /// For a store that lists no referrers.
    pub fn without_referrers(mut self) -> Self {
        self.referrers = false;
        self
    }

    /// For a store that cannot delete a tag alone.
    pub fn without_delete_tag(mut self) -> Self {
        self.delete_tag = false;
        self
    }

    /// For a store that takes manifests of well-known media types only.
    pub fn without_foreign_manifests(mut self) -> Self {
        self.foreign_manifests = false;
        self
    }

    /// Level `source`: `source` holds `fixture`, and all of it can be read.
    ///
    /// # Panics
    /// If it deviates from the port's documentation.
    pub async fn source(&self, source: &dyn ImageSource, fixture: &Fixture) {
        within("source", fixture::holds(source, fixture)).await;
        within("missing content", fixture::misses(source)).await;
    }

    /// Level `store`: `new` makes an empty store for each case.
    ///
    /// # Panics
    /// If it deviates from the ports' documentation.
    pub async fn store(&self, new: impl AsyncFn() -> Arc<dyn ImageStore>) {
        macro_rules! cases {
            ($($module:ident::$case:ident),* $(,)?) => {$(
                within(stringify!($case), $module::$case(&*new().await)).await;
            )*};
        }
        cases![
            blobs::an_empty_store_has_nothing,
            blobs::a_blob_is_written_once,
            blobs::an_empty_blob_is_a_blob,
            blobs::a_large_blob_comes_in_pieces,
            blobs::any_range_can_be_read,
            blobs::wrong_content_is_refused,
            blobs::a_failing_source_leaves_nothing,
            blobs::a_dropped_write_leaves_nothing,
            blobs::a_cancelled_write_leaves_nothing,
            blobs::one_blob_may_come_from_many,
            manifests::an_image_is_read_as_it_was_written,
            manifests::a_docker_image_keeps_its_types,
            manifests::children_have_no_tags,
            manifests::a_tag_moves,
            manifests::an_untagged_root_is_found_by_digest,
            manifests::writing_twice_is_writing_once,
            manifests::many_tags_are_listed_in_order,
            manifests::a_deleted_manifest_takes_its_tags,
        ];
        if self.foreign_manifests {
            cases![manifests::an_artifact_is_kept_byte_for_byte];
        }
        if self.sha512 {
            cases![
                blobs::sha512_names_content,
                manifests::sha512_names_manifests
            ];
        }
        if self.referrers {
            cases![
                manifests::referrers_are_listed,
                manifests::a_referrer_may_come_before_its_subject,
                manifests::a_deleted_referrer_is_no_more_listed,
            ];
        }
        if self.delete_tag {
            cases![manifests::a_deleted_tag_leaves_the_manifest];
        }
        let store = new().await;
        let fixture = Fixture::index();
        fixture
            .fill(&Cx::default(), &*store)
            .await
            .expect("the fixture can be written");
        self.source(&*store, &fixture).await;
    }
}

/// A case that hangs is a failure, too.
async fn within(case: &str, work: impl Future<Output = ()>) {
    let limit = Duration::from_secs(60);
    let in_time = tokio::time::timeout(limit, work).await;
    assert!(in_time.is_ok(), "`{case}` was not done within {limit:?}");
}

#[track_caller]
fn expect_class<T: std::fmt::Debug>(result: Result<T>, class: Class, what: &str) {
    match result {
        Err(error) => assert_eq!(error.class(), class, "{what}: {error:?}"),
        Ok(value) => panic!("{what}: expected an error of class {class:?}, got {value:?}"),
    }
}

fn tag(text: &str) -> crate::Tag {
    text.parse().expect("the suite's tags are valid")
}

fn by_tag(text: &str) -> Name {
    Name::Tag(tag(text))
}
